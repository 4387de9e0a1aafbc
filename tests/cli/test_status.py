"""`lockfs status` and `lockfs umount` on mounts that answer, are dead, or say nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lockfs.cli import checks, mounts, probe, umount
from lockfs.cli.main import main
from lockfs.cli.probe import Answer

STATS: dict[str, Any] = {
    "schema": 1,
    "pid": 123,
    "uptime_s": 61.0,
    "sessions": {"open": 2, "commits": 7, "aborts": 1},
    "waits": {"count": 40, "now": 3, "longest_s": 1.5, "median_s": 0.01},
    "appends": {"records": 10, "bytes": 120, "open": 1},
    "holders": [{"path": "a/b", "pid": 77, "command": "python3 w.py", "kind": "editor", "held_s": 0.1, "waiting": 2}],
    "waiters": [{"path": "a/b", "pid": 78, "command": "sh", "kind": "pen", "waited_s": 0.05}],
    "contended": [{"path": "a/\x1bb", "waits": 3, "waited_s": 0.2, "refusals": 0}],
}

FakeMount = Callable[[Answer], Path]


@pytest.fixture
def fake_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMount:
    """A mountinfo with one lockfs mount, which answers as told."""

    def make(answer: Answer) -> Path:
        mountpoint = tmp_path / "work"
        mountpoint.mkdir()
        table = tmp_path / "mountinfo"
        table.write_text(f"90 1 0:99 / {mountpoint} rw - fuse.lockfs /the/source rw\n")
        monkeypatch.setattr(mounts, "MOUNTINFO", table)
        monkeypatch.setattr(probe, "ask", lambda *_: answer)
        monkeypatch.setattr(probe, "ask_all", lambda found: [answer for _ in found])
        return mountpoint

    return make


def test_no_mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mountinfo").write_text("")
    monkeypatch.setattr(mounts, "MOUNTINFO", tmp_path / "mountinfo")
    assert main(["status"]) == 0
    assert main(["status", "--json"]) == 0
    assert capfd.readouterr().out == "no lockfs mounts\n[]\n"


def test_the_table_has_a_row_for_each_mount(fake_mount: FakeMount, capfd: pytest.CaptureFixture[str]) -> None:
    mountpoint = fake_mount(Answer("mounted", STATS))
    assert main(["status"]) == 0
    head, row = capfd.readouterr().out.splitlines()
    assert head.split() == ["MOUNTPOINT", "SOURCE", "PID", "UPTIME", "SESSIONS", "WAITING"]
    assert row.split() == [str(mountpoint), "/the/source", "123", "61.0", "s", "2", "3"]


def test_a_dead_mount_is_called_dead(fake_mount: FakeMount, capfd: pytest.CaptureFixture[str]) -> None:
    mountpoint = fake_mount(Answer("dead", {}))
    assert main(["status"]) == 0
    assert capfd.readouterr().out.splitlines()[1].split()[2] == "dead"
    assert main(["status", str(mountpoint)]) == 3
    assert "dead: its daemon has gone" in capfd.readouterr().out
    assert main(["status", "--json", str(mountpoint)]) == 3
    assert json.loads(capfd.readouterr().out) == {
        "mountpoint": str(mountpoint),
        "source": "/the/source",
        "state": "dead",
        "stats": None,
    }


def test_details_name_holders_and_waiters(fake_mount: FakeMount, capfd: pytest.CaptureFixture[str]) -> None:
    mountpoint = fake_mount(Answer("mounted", STATS))
    assert main(["status", str(mountpoint)]) == 0
    out = capfd.readouterr().out
    assert "a/b: pid 77 (python3 w.py), editor, for 0.1 s, 2 waiting" in out
    assert "a/b: pid 78 (sh), pen, for 0.05 s" in out
    assert "a/\\x1bb: 3 waits, 0.2 s in all, 0 refusals" in out
    assert "3 now, 40 in all, longest 1.5 s, median 0.01 s" in out


def test_stats_with_fields_missing_or_odd_do_not_break_it(
    fake_mount: FakeMount, capfd: pytest.CaptureFixture[str]
) -> None:
    mountpoint = fake_mount(Answer("mounted", {"holders": [{}, 3], "waits": None, "pid": "x"}))
    assert main(["status", str(mountpoint)]) == 0
    assert main(["status"]) == 0
    assert "?: pid ? (?), ?" in capfd.readouterr().out


def test_json_gives_the_stats_as_they_are(fake_mount: FakeMount, capfd: pytest.CaptureFixture[str]) -> None:
    mountpoint = fake_mount(Answer("mounted", STATS))
    assert main(["status", "--json"]) == 0
    [entry] = json.loads(capfd.readouterr().out)
    assert entry == {
        "mountpoint": str(mountpoint),
        "source": "/the/source",
        "state": "mounted",
        "stats": STATS,
    }


def test_a_working_mount_is_not_mounted_over(fake_mount: FakeMount, capfd: pytest.CaptureFixture[str]) -> None:
    mountpoint = fake_mount(Answer("mounted", STATS))
    assert main(["mount", "/usr", str(mountpoint)]) == 1
    assert f"{mountpoint} is already mounted by pid 123 (source /the/source)" in capfd.readouterr().err


def test_a_dead_mount_is_taken_away_before_mounting(
    fake_mount: FakeMount,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    mountpoint = fake_mount(Answer("dead", {}))
    detached = []

    def detach(path: str) -> None:
        detached.append(path)
        (tmp_path / "mountinfo").write_text("")

    monkeypatch.setattr(checks, "detach", detach)
    assert checks.resolve_pair("/usr", str(mountpoint)) == (Path("/usr"), mountpoint)
    assert detached == [str(mountpoint)]
    assert "removed the dead mount" in capfd.readouterr().err


def test_umount_of_a_dead_mount_detaches_it(
    fake_mount: FakeMount, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    mountpoint = fake_mount(Answer("dead", {}))
    detached: list[str] = []
    monkeypatch.setattr(checks, "detach", detached.append)
    assert main(["umount", str(mountpoint)]) == 0
    assert detached == [str(mountpoint)]
    assert capfd.readouterr().out == f"unmounted {mountpoint} (its daemon had gone)\n"


def test_umount_of_a_mount_that_does_not_say_its_pid(fake_mount: FakeMount, capfd: pytest.CaptureFixture[str]) -> None:
    mountpoint = fake_mount(Answer("silent", {}))
    assert main(["umount", str(mountpoint)]) == 1
    assert "does not answer" in capfd.readouterr().err


def test_N7_asking_a_process_to_end_waits_for_it() -> None:
    process = subprocess.Popen(["sleep", "60"])
    try:
        assert umount.ask_to_end(process.pid, 10.0)
        assert process.wait(10) == -signal.SIGTERM
    finally:
        process.kill()
        process.wait(10)


def test_asking_a_process_that_ignores_it_gives_up_in_time() -> None:
    process = subprocess.Popen(["sh", "-c", "trap '' TERM; echo; exec sleep 60"], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        assert not umount.ask_to_end(process.pid, 0.2)
    finally:
        process.kill()
        process.communicate(timeout=10)


def test_grace_is_the_settings_own() -> None:
    assert umount.grace_s() == 5.0


def test_the_probe_reads_what_is_there(tmp_path: Path) -> None:
    assert probe.ask(str(tmp_path)).state == "unknown"
    (tmp_path / ".lockfs").mkdir()
    file = tmp_path / ".lockfs" / "stats.json"
    file.write_text("[1]")
    assert probe.ask(str(tmp_path)).state == "unknown"
    file.write_text("{")
    assert probe.ask(str(tmp_path)).state == "unknown"
    file.write_text(json.dumps({"pid": 5, "big": "x" * 300_000}))
    answer = probe.ask(str(tmp_path))
    assert answer.state == "mounted"
    assert answer.pid == 5


def test_the_probe_gives_up_on_a_mount_that_hangs(tmp_path: Path) -> None:
    (tmp_path / ".lockfs").mkdir()
    os.mkfifo(tmp_path / ".lockfs" / "stats.json")  # opening it waits for a writer for ever
    start_s = time.monotonic()
    assert probe.ask(str(tmp_path), 0.2).state == "silent"
    assert time.monotonic() - start_s < 5


def test_a_pid_in_the_lock_file_counts_only_for_a_lockfs_process(tmp_path: Path) -> None:
    (tmp_path / ".lockfs").mkdir()
    mount = mounts.Mount(1, 1, "/", "/mnt/work", mounts.FSTYPE, str(tmp_path))
    assert probe.daemon_in_lock_file(mount) is None
    process = subprocess.Popen(["sleep", "60"])
    try:
        lock = tmp_path / ".lockfs" / "lock"
        lock.write_text(json.dumps({"pid": process.pid, "mountpoint": "/mnt/work", "since": ""}))
        assert probe.daemon_in_lock_file(mount) is None
    finally:
        process.kill()
        process.wait(10)
