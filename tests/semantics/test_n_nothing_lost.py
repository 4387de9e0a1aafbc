"""N1, N2, N4, N7: killed writers, full disks, the daemon's own end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Mounter
from tests.support import programs
from tests.support.mounting import Mount
from tests.support.targets import Place
from tests.support.waiting import wait_until
from tests.support.worker import Worker

NewWorker = Callable[..., Worker]

FATAL = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGSEGV, signal.SIGABRT]


def notes(mount: Mount | Place) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in mount.orphans() if path.suffix == ".json"]


@pytest.mark.parametrize("number", FATAL)
@pytest.mark.parametrize("mode", ["w", "r+"])
def test_N1_killed_writer_publishes_nothing(mount: Place, worker: NewWorker, number: signal.Signals, mode: str) -> None:
    path = mount.mnt / f"file-{number}-{mode}"
    path.write_bytes(b"the old version, whole")
    before = mount.stats()
    writer = worker()
    half = b"half of signal %d and mode %s" % (number, mode.encode())
    writer.write(writer.open(path, mode), half)
    assert writer.kill_and_wait(number) == -number
    wait_until(lambda: mount.stats()["sessions"]["aborts"] > before["sessions"]["aborts"], what="the abort")
    assert path.read_bytes() == b"the old version, whole"
    assert mount.stats()["orphans"] > before["orphans"]
    kept = [orphan for orphan in mount.orphans() if orphan.read_bytes().startswith(half)]
    assert len(kept) == 1
    note = next(note for note in notes(mount) if str(note["path"]).endswith(path.name))
    assert note["reason"]
    assert note["time"]
    assert str(writer.pid) in json.dumps(note)
    assert path.name in mount.log  # the event


def test_N1_killed_writer_of_a_new_file_leaves_no_file(mount: Place, worker: NewWorker) -> None:
    writer = worker()
    writer.write(writer.open(mount.mnt / "new", "w"), b"half of a new file")
    writer.kill_and_wait()
    wait_until(lambda: any(o.read_bytes() == b"half of a new file" for o in mount.orphans()), what="the orphan")
    assert os.listdir(mount.mnt) == []
    worker().write_file(mount.mnt / "new", b"by somebody else")
    assert (mount.mnt / "new").read_bytes() == b"by somebody else"


def test_N1_next_waiter_goes_on_when_the_holder_is_killed(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"old")
    holder, waiter = worker(), worker()
    holder.write(holder.open(path, "w"), b"half")
    wait = waiter.begin_open(path, "r+")
    mount.wait_for_waiters(waiter.pid)
    holder.kill_and_wait()
    fd = wait.result(5.0)
    assert waiter.read_all(fd) == b"old"
    waiter.close(fd)


@pytest.mark.parametrize("status", [0, 1, 3])
def test_N1_exit_commits_whatever_its_status(mount: Place, worker: NewWorker, status: int) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"old")
    writer = worker()
    writer.write(writer.open(path, "w"), b"new")
    assert writer.exit(status) == status
    wait_until(lambda: path.read_bytes() == b"new", what="the commit")


def test_N1_failing_command_in_a_redirection_commits(mount: Place) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"old")
    programs.run("sh", "-c", 'echo partial > "$0"; exit 1', path, status=1)
    assert path.read_bytes() == b"partial\n"
    programs.run("sh", "-c", '{ echo more; false; } > "$0"', path, status=1)
    assert path.read_bytes() == b"more\n"


def test_N1_death_by_sigpipe_commits(mount: Place) -> None:
    """`cmd | tee f | head`: tee dies of SIGPIPE, and what it wrote is wanted."""
    path = mount.mnt / "f"
    path.write_bytes(b"old")
    programs.run("bash", "-c", 'yes | tee "$0" | head -n 1', path, status=None)
    wait_until(lambda: path.read_bytes().startswith(b"y\ny\n"), what="what tee wrote")


def test_N1_shell_command_killed_in_a_redirection(mount: Place) -> None:
    """The command that has the file open is killed; the shell, which opened it in its child, lives."""
    path = mount.mnt / "f"
    path.write_bytes(b"old\n")
    script = '(echo half; kill -9 $(cut -d" " -f4 /proc/self/stat)) > "$0"; echo $?'
    out = programs.run("bash", "-c", script, path).stdout
    assert out.strip() == b"137"
    wait_until(lambda: mount.stats()["sessions"]["open"] == 0, what="the session's end")
    assert path.read_bytes() == b"old\n"


@pytest.mark.parametrize("mode", ["w", "r+"])
def test_N2_empty_or_unchanged_staged_file_leaves_no_orphan(mount: Place, worker: NewWorker, mode: str) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"old")
    before = mount.orphans()
    aborts = mount.stats()["sessions"]["aborts"]
    writer = worker()
    writer.open(path, mode)
    writer.kill_and_wait()
    wait_until(lambda: mount.stats()["sessions"]["open"] == 0, what="the session's end")
    assert mount.orphans() == before
    assert path.read_bytes() == b"old"
    assert mount.stats()["sessions"]["aborts"] >= aborts


def test_N2_staging_is_empty_when_nobody_writes(mount: Place, worker: NewWorker) -> None:
    one, two = worker(), worker()
    for _ in range(10):
        one.write_file(mount.mnt / "f", b"x")
    two.write(two.open(mount.mnt / "g", "w"), b"x")
    two.kill_and_wait()
    wait_until(lambda: mount.stats()["sessions"]["open"] == 0, what="the session's end")
    # Prepared empty files for the next writers are allowed; bytes are not.
    assert [path for path in mount.mount.staged() if path.stat().st_size] == []


@pytest.fixture
def small_disk(tmp_path: Path) -> object:
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    programs.run("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder)
    yield folder
    programs.run("umount", "-l", folder)


@pytest.mark.parametrize(
    ("durability", "exists"), [("none", True), ("replace", True), ("replace", False), ("commit", False)]
)
def test_N4_full_disk_reaches_the_writer_and_leaves_the_old_file(
    mount_with: Mounter, worker: NewWorker, small_disk: Path, durability: str, exists: bool
) -> None:
    with mount_with("--durability", durability, source=small_disk) as mount:
        path = mount.mnt / "f"
        if exists:
            path.write_bytes(b"old")
        writer = worker()
        fd = writer.open(path, "w")
        errors: list[str | None] = []
        for _ in range(64):
            error = writer.begin("write", fd, b"x" * 65536).error()
            if error:
                errors.append(error)
                break
        errors.append(writer.begin("close", fd).error())
        assert "ENOSPC" in errors, errors
        assert (path.read_bytes() == b"old") if exists else not path.exists()
        wait_until(lambda: mount.stats()["sessions"]["open"] == 0, what="the session's end")
        for orphan in mount.orphans():
            orphan.unlink()
        worker().write_file(path, b"there is room again")
        assert path.read_bytes() == b"there is room again"


def test_N4_full_disk_reaches_the_appender(mount_with: Mounter, worker: NewWorker, small_disk: Path) -> None:
    with mount_with(source=small_disk) as mount:
        path = mount.mnt / "f"
        path.write_bytes(b"old\n")
        appender = worker()
        fd = appender.open(path, "a")
        record = b"r" * 65535 + b"\n"
        done = 0
        for _ in range(64):
            if appender.begin("write", fd, record).error() == "ENOSPC":
                break
            done += 1
        assert done < 64
        data = path.read_bytes()
        assert data.startswith(b"old\n" + record * done)
        os.truncate(path, 4)
        appender.write(fd, b"again\n")
        assert path.read_bytes() == b"old\nagain\n"


@pytest.mark.parametrize("unmounted", [True, False])
def test_N3_killed_daemon_leaves_old_versions_and_the_next_mount_sweeps(
    mount_with: Mounter, worker: NewWorker, unmounted: bool
) -> None:
    with mount_with() as first:
        path = first.mnt / "f"
        path.write_bytes(b"old")
        writer = worker()
        fd = writer.open(path, "r+")
        writer.write(fd, b"staged bytes")
        first.kill_daemon()
        assert writer.begin("write", fd, b"more").error() in ("ENOTCONN", "ECONNABORTED")
        assert worker().begin("listdir", first.mnt).error() == "ENOTCONN"  # not silently an empty directory
        assert (first.source / "f").read_bytes() == b"old"
        writer.close_down()
        if unmounted:
            programs.run("fusermount3", "-uz", first.mnt)
        with mount_with() as second:
            assert (second.mnt / "f").read_bytes() == b"old"
            kept = [orphan for orphan in second.orphans() if orphan.read_bytes() == b"staged bytes"]
            assert len(kept) == 1
            assert any("f" in str(note.get("path")) for note in notes(second))
            assert "orphan" in second.log.lower()
            assert second.stats()["orphans"] >= 1
            worker().write_file(second.mnt / "f", b"new")
            assert (second.mnt / "f").read_bytes() == b"new"


@pytest.mark.slow
def test_N7_sigterm_ends_the_mount_and_keeps_what_was_open(mount_with: Mounter, worker: NewWorker) -> None:
    with mount_with() as mount:
        path = mount.mnt / "f"
        path.write_bytes(b"old")
        writer = worker()
        fd = writer.open(path, "w")
        writer.write(fd, b"not finished")
        mount.terminate()
        assert mount.wait(20.0) == 0
        assert (mount.source / "f").read_bytes() == b"old"
        assert any(orphan.read_bytes() == b"not finished" for orphan in mount.orphans())


def test_N7_sigterm_lets_an_open_session_finish(mount_with: Mounter, worker: NewWorker) -> None:
    with mount_with() as mount:
        path = mount.mnt / "f"
        path.write_bytes(b"old")
        writer, waiter, late = worker(), worker(), worker()
        fd = writer.open(path, "w")
        writer.write(fd, b"finished ")
        wait = waiter.begin_open(path, "w")
        mount.wait_for_waiters(waiter.pid)
        mount.terminate()
        assert wait.error(10.0) is not None  # nobody is left hanging
        # New write opens are refused, with whatever errno says so.
        wait_until(lambda: late.begin_open(mount.mnt / "g", "w").error() is not None, 2.0, "a refusal")
        writer.write(fd, b"in time")
        writer.close(fd)
        assert mount.wait(10.0) == 0
        assert (mount.source / "f").read_bytes() == b"finished in time"


def test_N1_python_program_that_raises_commits_what_it_wrote(mount: Place) -> None:
    script = "import sys; f = open(sys.argv[1], 'w'); f.write('before the error'); raise SystemExit(2)"
    subprocess.run([sys.executable, "-c", script, mount.mnt / "f"], check=False, timeout=20)
    wait_until(lambda: (mount.mnt / "f").exists(), 2.0, "the commit")
    assert (mount.mnt / "f").read_text() == "before the error"
