"""Starting in the background, logging, and the small commands."""

from __future__ import annotations

import importlib.resources
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import lockfs
from lockfs.cli import daemonize, logs
from lockfs.cli.aside import StderrAside
from lockfs.cli.main import main
from lockfs.cli.mount import split_options, with_reason
from lockfs.cli.say import Failure, seconds, shown
from tests.support.mounting import lockfs_environment
from tests.support.waiting import wait_until

Ready = Callable[[], None]


def test_semantics_prints_the_promises(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["semantics"]) == 0
    text = capfd.readouterr().out
    assert text == importlib.resources.files("lockfs").joinpath("SEMANTICS.md").read_text()
    for name in ["W1", "W8", "Q1", "Q7", "A1", "A6", "F1", "F2", "N1", "N7", "D1", "D4", "C1", "C3", "M1", "M2"]:
        assert f"**{name}" in text


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capfd.readouterr().out == f"lockfs {lockfs.__version__}\n"


def test_help_works_where_pyfuse3_cannot_be_loaded() -> None:
    code = (
        "import sys; sys.modules['pyfuse3'] = None; from lockfs.cli.main import main; "
        "sys.exit(main(['mount', '--help']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=lockfs_environment(), capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_closed_pipe_is_no_error_message() -> None:
    command = f"{sys.executable} -m lockfs.cli.main semantics | head -n 1"
    done = subprocess.run(command, shell=True, env=lockfs_environment(), capture_output=True, timeout=30, check=True)
    assert done.stderr == b""


def test_options_are_split_and_own_ones_refused() -> None:
    assert split_options(["ro,noatime", "max_idle_threads=4", ",", ""]) == ("ro", "noatime", "max_idle_threads=4")


def test_the_library_s_own_words_are_added_once() -> None:
    assert with_reason("cannot mount", []) == "cannot mount"
    assert with_reason("cannot mount", ["first", "mount failed: no"]) == "cannot mount (mount failed: no)"
    assert with_reason("cannot mount: no", ["no"]) == "cannot mount: no"


def test_stderr_is_turned_aside_and_given_back(capfd: pytest.CaptureFixture[str]) -> None:
    with StderrAside() as aside:
        os.write(2, b"fuse: unknown option\n\nfusermount3: mount failed\n")
        aside.stop()
        os.write(2, b"after\n")
        assert aside.said() == ["unknown option", "mount failed"]
    assert capfd.readouterr().err == "after\n"


def test_names_and_times_for_people() -> None:
    assert shown(os.fsdecode(b"/a\xffb\n")) == "/a\\xffb\\n"
    assert shown("/ä") == "/ä"
    assert [seconds(s) for s in (0.05, 12.34, 240, 7200, 200000)] == ["0.05 s", "12.3 s", "4 min", "2.0 h", "2.3 d"]


# --- the daemon -------------------------------------------------------------------------------------------------------


def _reaped(pid: int) -> bool:
    return os.waitpid(pid, os.WNOHANG)[0] == pid


def test_the_daemon_keeps_nothing_of_its_caller(tmp_path: Path) -> None:
    report = tmp_path / "report"
    secret_r, secret_w = os.pipe()

    def serve(ready: Ready) -> None:
        links = {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _open(fd)}
        report.write_text(f"{os.getcwd()}\n{os.getsid(0) == os.getpid()}\n{sorted(links.values())}\n")
        ready()

    pid = daemonize.start(serve)
    cwd, own_session, links = report.read_text().splitlines()
    os.close(secret_r)
    os.close(secret_w)
    assert cwd == "/"
    assert own_session == "True"
    assert links.count("/dev/null") >= 3
    assert links.count("pipe:") == 1  # the one it says "ready" on
    wait_until(lambda: _reaped(pid), 10.0, "the daemon's end")


def _open(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


def test_a_daemon_s_reason_comes_back_as_one_line() -> None:
    def serve(_: Ready) -> None:
        raise Failure("no\nway")

    with pytest.raises(Failure) as caught:
        daemonize.start(serve)
    assert caught.value.message == "no way"


def test_a_daemon_that_dies_without_a_word_is_told() -> None:
    def serve(_: Ready) -> None:
        os.kill(os.getpid(), 9)

    with pytest.raises(Failure, match="killed by signal 9"):
        daemonize.start(serve)


def test_a_daemon_that_is_not_ready_in_time_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemonize, "READY_DEADLINE_S", 0.2)

    def serve(_: Ready) -> None:
        time.sleep(30)

    with pytest.raises(Failure, match="not ready"):
        daemonize.start(serve)


# --- logs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def handler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> logs.BoundedFile:
    monkeypatch.setattr(logs, "LIMIT", 100)
    return logs.BoundedFile(tmp_path / "log")


def _emit(handler: logs.BoundedFile, text: str) -> None:
    handler.handle(logging.LogRecord("t", logging.INFO, "f", 1, text, None, None))


def test_a_log_file_stays_bounded(handler: logs.BoundedFile, tmp_path: Path) -> None:
    for number in range(50):
        _emit(handler, f"{number:03d} " + "x" * 30)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["log", "log.1", "log.2", "log.3"]
    assert all(path.stat().st_size < 200 for path in tmp_path.iterdir())
    kept = [line.split()[0] for name in reversed(files) for line in (tmp_path / name).read_text().splitlines()]
    assert kept == sorted(kept)
    assert kept[-1] == "049"


def test_a_log_file_needs_its_path_only_once(handler: logs.BoundedFile, tmp_path: Path) -> None:
    """Mounted over itself, the path leads through the mount after the start."""
    moved = tmp_path.with_name(tmp_path.name + "-moved")
    tmp_path.rename(moved)
    for number in range(20):
        _emit(handler, f"{number:03d} " + "x" * 30)
    assert (moved / "log.1").exists()
    assert not tmp_path.exists()


def test_a_log_file_is_for_its_owner_only(handler: logs.BoundedFile, tmp_path: Path) -> None:
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_a_log_file_that_is_full_already_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LIMIT", 100)
    (tmp_path / "log").write_text("y" * 150)
    logs.BoundedFile(tmp_path / "log")
    assert (tmp_path / "log").stat().st_size == 0
    assert (tmp_path / "log.1").stat().st_size == 150
