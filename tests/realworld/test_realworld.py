"""The scenarios whose programs are here, on a mount; and that the runner itself can fail, skip and give up."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.realworld.scenario import Run, Scenario, all_scenarios
from tests.realworld.supervisor import Result, run_scenario, supervise
from tests.support import programs
from tests.support.mounting import ROOT, Mount, mounted

LEFT_OUT = """
venv-and-pip notebook-save joblib-memory git-clone-and-push git-parallel-push git-patches-and-config bsdtar-archives
pandas-and-numpy excel-and-zarr parquet-and-arrow cargo-build pytest-xdist npm-install-offline go-program gpg-keyring
"""
"""Too long for every run of the tests; `scripts/realworld` has them."""

CHOSEN = [one for one in all_scenarios().values() if not one.extended and one.name not in LEFT_OUT.split()]


@pytest.fixture(scope="module")
def open_mount() -> Iterator[Mount]:
    """A mount for all users where root runs the tests: some programs run as others, or have a set-id bit."""
    from tests.conftest import live_mounts

    base = Path(tempfile.mkdtemp(prefix="lockfs-test-"))
    base.chmod(0o755)
    try:
        with mounted(base, *(["--allow-other"] if os.geteuid() == 0 else [])) as mount:
            live_mounts.append(mount)
            yield mount
    finally:
        shutil.rmtree(base, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.limit(330)
@pytest.mark.parametrize("one", CHOSEN, ids=lambda one: one.name)
def test_D3_real_program(open_mount: Mount, one: Scenario) -> None:
    result = run_scenario(one, open_mount.mnt, 300.0, extended=False)
    if result.verdict == "SKIP":
        pytest.skip(result.reason)
    assert result.verdict == "PASS", result.reason


def _realworld(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    return programs.run(sys.executable, "-m", "tests.realworld", *arguments, cwd=ROOT, status=None)


def test_realworld_script_on_a_directory(tmp_path: Path) -> None:
    done = _realworld(tmp_path, "tee-together", "sqlite-killed-writer")
    lines = done.stdout.decode().splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["PASS", "tee-together"], ["PASS", "sqlite-killed-writer"]]
    assert (lines[2], done.returncode) == ("2 PASS, 0 FAIL, 0 SKIP", 0)
    assert list(tmp_path.iterdir()) == []


def test_realworld_script_as_json_and_list(tmp_path: Path) -> None:
    (result,) = json.loads(_realworld(tmp_path, "--json", "tee-*").stdout)
    assert (result["name"], result["verdict"], result["reason"]) == ("tee-together", "PASS", "")
    assert any(line.startswith("git-history ") for line in _realworld("--list").stdout.decode().splitlines())
    assert _realworld(tmp_path, "no-such-thing").returncode == 1


def test_realworld_script_fails_after_a_fail(tmp_path: Path) -> None:
    done = _realworld(tmp_path, "tee-together", "--timeout", "0.01")
    assert done.returncode == 1
    assert done.stdout.decode().startswith("FAIL tee-together")
    assert "not done within 0.01 s" in done.stdout.decode()


def _own(body: object) -> Scenario:
    return Scenario("own", body, "", (), (), 20.0, False, False)  # type: ignore[arg-type]


def _supervised(one: Scenario, directory: Path, limit_s: float) -> Result:
    """In a process of its own, as ever: it takes away all children that its process has."""
    from multiprocessing import get_context

    receive, send = get_context("fork").Pipe(duplex=False)
    process = get_context("fork").Process(target=lambda: send.send(supervise(one, directory, limit_s, False)))
    process.start()
    assert receive.poll(30.0)
    verdict, reason = receive.recv()
    process.join(30.0)
    return Result(one.name, verdict, reason, 0.0)


def test_realworld_failure_has_a_reason(tmp_path: Path) -> None:
    result = _supervised(_own(lambda run: run.sh("echo what went wrong >&2; false")), tmp_path, 20.0)
    assert result.verdict == "FAIL"
    assert "ended with 1: what went wrong" in result.reason


def test_realworld_time_limit_leaves_no_process(tmp_path: Path) -> None:
    def hang(run: Run) -> None:
        run.sh("setsid sleep 1000 & echo $! > pid; trap '' TERM HUP INT; wait")

    start_s = time.monotonic()
    result = _supervised(_own(hang), tmp_path, 2.0)
    assert (result.verdict, result.reason) == ("FAIL", "not done within 2 s")
    assert time.monotonic() - start_s < 20
    pid = int((tmp_path / "own" / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()


def test_realworld_says_what_is_missing(tmp_path: Path) -> None:
    one = replace(_own(lambda run: None), needs=("sh", "no-such-program"), modules=("no_such_module",))
    result = run_scenario(one, tmp_path, 20.0, extended=False)
    assert (result.verdict, result.reason) == ("SKIP", "missing: no-such-program, Python module no_such_module")
