"""F1, F2: a writer and its descendants share a session; ancestors and strangers do not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from tests.support import programs
from tests.support.targets import Place
from tests.support.worker import Worker

NewWorker = Callable[..., Worker]


def test_F2_child_sees_the_staged_file_by_path_and_strangers_do_not(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"old")
    writer, stranger = worker(), worker()
    fd = writer.open(path, "w")
    writer.write(fd, b"staged content")
    assert writer.run("cat", path) == b"staged content"
    assert writer.run("stat", "-c", "%s", path) == b"14\n"
    assert writer.run("sh", "-c", 'sh -c "cat $0"', path) == b"staged content"
    assert stranger.run("cat", path) == b"old"
    assert path.read_bytes() == b"old"  # this process is the writer's parent
    writer.close(fd)
    assert stranger.run("cat", path) == b"staged content"


TEMPORARY = """
import subprocess, sys, tempfile
with tempfile.NamedTemporaryFile("w", dir=sys.argv[1], suffix=".txt") as file:
    file.write("for the child")
    file.flush()
    out = subprocess.run(["cat", file.name], check=True, capture_output=True).stdout
    assert out == b"for the child", out
    print(file.name, flush=True)
    sys.stdin.readline()
"""


def test_F2_named_temporary_file_and_cat(mount: Place, worker: NewWorker) -> None:
    process = programs.start(
        [sys.executable, "-c", TEMPORARY, mount.mnt], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdin is not None
    name = process.stdout.readline().decode().strip()
    assert name.startswith(str(mount.mnt))
    assert worker().begin("stat", name).error() == "ENOENT"
    process.stdin.close()
    programs.finish([process])
    assert list(mount.mnt.iterdir()) == []


def test_F2_scratch_files_of_python(mount: Place) -> None:
    """TemporaryFile, SpooledTemporaryFile and TemporaryDirectory leave nothing behind, open handles or not."""
    script = """
import os, sys, tempfile
with tempfile.TemporaryFile(dir=sys.argv[1]) as file:
    file.write(b"x" * 100000)
    file.seek(0)
    assert len(file.read()) == 100000
folder = tempfile.TemporaryDirectory(dir=sys.argv[1])
kept = open(os.path.join(folder.name, "open"), "w")
kept.write("still open")
kept.flush()
folder.cleanup()
kept.close()
"""
    programs.run(sys.executable, "-c", script, mount.mnt)
    assert list(mount.mnt.iterdir()) == []


def test_F1_write_open_of_a_child_joins_the_session(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"old")
    writer = worker()
    fd = writer.open(path, "w")
    writer.write(fd, b"parent\n")
    writer.run("sh", "-c", 'echo child >> "$0"', path)
    writer.run("dd", f"of={path}", "conv=notrunc", "bs=1", "count=6", data=b"PARENT")
    assert writer.read_file(path) == b"PARENT\nchild\n"
    assert path.read_bytes() == b"old"
    writer.close(fd)
    assert path.read_bytes() == b"PARENT\nchild\n"


def test_F1_child_that_truncates_starts_the_staged_file_anew(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"old")
    writer = worker()
    fd = writer.open(path, "w")
    writer.write(fd, b"something long from the parent")
    writer.run("sh", "-c", 'echo child > "$0"', path)
    assert path.read_bytes() == b"old"
    assert writer.fstat(fd).st_size == 6
    writer.close(fd)
    assert path.read_bytes() == b"child\n"


def test_F1_session_outlives_its_first_handle_while_a_child_writes(mount: Place, worker: NewWorker) -> None:
    """`w` is closed by the parent while its child still has the file open: one session, one commit."""
    path = mount.mnt / "f"
    script = 'exec 3> "$0"; echo parent >&3; { read go; echo child; } >&3 & exec 3>&-; echo closed; wait; echo end'
    process = programs.start(["bash", "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        assert process.stdout.readline() == b"closed\n"
        process.stdin.close()
        assert process.stdout.readline() == b"end\n"
        assert path.read_bytes().startswith(b"parent\n")
    finally:
        programs.finish([process], ok=False)


def test_F1_ancestor_waits_like_a_stranger(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    ancestor = worker()
    child = ancestor.do("fork_writer", path)
    wait = ancestor.begin_open(path, "w")
    mount.wait_for_waiters(ancestor.pid)
    assert not wait.done
    ancestor_kill = worker()
    ancestor_kill.do("kill", child, 10)  # SIGUSR1: the child writes its end and closes
    ancestor.close(wait.result())
    assert path.read_bytes() == b""


def test_F2_family_of_a_new_file_reads_and_lists_it(mount: Place, worker: NewWorker) -> None:
    writer, stranger = worker(), worker()
    fd = writer.open(mount.mnt / "new", "w")
    writer.write(fd, b"staged")
    assert writer.do("listdir", mount.mnt) == ["new"]
    assert writer.run("ls", mount.mnt) == b"new\n"
    assert stranger.do("listdir", mount.mnt) == []
    assert writer.run("cp", mount.mnt / "new", mount.mnt / "copy") == b""
    assert (mount.mnt / "copy").read_bytes() == b"staged"
    writer.close(fd)
