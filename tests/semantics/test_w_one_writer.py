"""W1-W4: one writer, nothing half-written is seen, close publishes, the writer sees its own work."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import programs
from tests.support.targets import Place
from tests.support.waiting import stays, wait_until
from tests.support.worker import Worker

NewWorker = Callable[..., Worker]


@pytest.mark.parametrize("second", ["w", "r+", "w+", "rw"])
@pytest.mark.parametrize("first", ["w", "r+"])
def test_W1_second_writer_waits_for_the_first(mount: Place, worker: NewWorker, first: str, second: str) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"old old old\n")
    one, two = worker(), worker()
    fd = one.open(path, first)
    pending = two.begin_open(path, second)
    mount.wait_for_waiters(two.pid)
    one.write(fd, b"first 1\n")
    assert not pending.done
    one.write(fd, b"end\n")
    one.close(fd)
    mine = pending.result()
    assert path.read_bytes() == b"first 1\nend\n"
    two.write(mine, b"SECOND\n")
    two.close(mine)
    assert path.read_bytes() == (b"SECOND\n" if second.startswith("w") else b"SECOND\n\nend\n")


def test_W1_new_file_has_one_writer_too(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "new"
    one, two = worker(), worker()
    fd = one.open(path, "w")
    pending = two.begin_open(path, "w")
    mount.wait_for_waiters(two.pid)
    one.write(fd, b"one\n")
    one.close(fd)
    mine = pending.result()
    assert path.read_bytes() == b"one\n"
    two.write(mine, b"two\n")
    two.close(mine)
    assert path.read_bytes() == b"two\n"


def test_W1_truncate_by_path_does_not_reach_into_a_session(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"old")
    holder, stranger = worker(), worker()
    fd = holder.open(path, "r+")
    holder.write(fd, b"brand new")
    pending = stranger.begin("truncate", path, 0)
    if not _done_soon(pending):
        assert holder.fstat(fd).st_size == 9
        holder.close(fd)
        pending.result()
        assert path.read_bytes() == b""
    else:
        assert pending.error() == "EBUSY"
        holder.close(fd)
        assert path.read_bytes() == b"brand new"


def _done_soon(pending: object, within_s: float = 1.5) -> bool:
    try:
        wait_until(lambda: pending.done, within_s)  # type: ignore[attr-defined]
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("mode", ["w", "r+"])
def test_W2_others_see_the_old_version_until_close(mount: Place, worker: NewWorker, mode: str) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"old version")
    writer, reader = worker(), worker()
    fd = writer.open(path, mode)
    for piece in (b"new ", b"version, ", b"and a longer one"):
        writer.write(fd, piece)
        assert reader.read_file(path) == b"old version"
        assert reader.stat(path).st_size == len(b"old version")
        assert reader.do("listdir", mount.mnt) == ["f"]
    writer.do("fsync", fd)
    assert reader.read_file(path) == b"old version"
    writer.close(fd)
    assert reader.read_file(path) == b"new version, and a longer one"
    assert reader.stat(path).st_size == len(b"new version, and a longer one")


def test_W2_new_file_does_not_exist_for_others_until_close(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    writer, reader = worker(), worker()
    fd = writer.open(path, "w")
    writer.write(fd, b"half")
    for command in ("stat", "read_file"):
        with pytest.raises(FileNotFoundError):
            reader.do(command, path)
    assert reader.do("listdir", mount.mnt) == []
    writer.close(fd)
    assert reader.read_file(path) == b"half"
    assert reader.do("listdir", mount.mnt) == ["f"]


@pytest.mark.parametrize("mode", ["w", "r+"])
def test_W2_open_handle_and_mmap_read_the_old_version_to_its_end(mount: Place, worker: NewWorker, mode: str) -> None:
    path = mount.mnt / "f"
    old = b"".join(b"old line %06d\n" % number for number in range(20_000))
    path.write_bytes(old)
    writer, reader = worker(), worker()
    handle, mapped = reader.open(path, "r"), reader.open(path, "r")
    start = reader.do("read", handle, 1000)
    key = reader.do("map_open", mapped, len(old), False, False)
    fd = writer.open(path, mode)
    writer.write(fd, b"N" * 100_000)
    writer.close(fd)
    assert path.read_bytes()[:100_000] == b"N" * 100_000
    assert start + reader.read_all(handle) == old
    assert reader.fstat(handle).st_size == len(old)
    assert reader.do("map_read", key) == old


def test_W2_a_handle_outlives_many_commits(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    writer, reader = worker(), worker()
    handles = []
    for number in range(20):
        writer.write_file(path, b"version %d" % number)
        handles.append(reader.open(path, "r"))
    assert [reader.read_all(handle) for handle in handles] == [b"version %d" % n for n in range(20)]


def test_W3_close_of_a_duplicate_publishes_nothing(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"old")
    writer = worker()
    fd = writer.open(path, "w")
    copy = writer.do("dup", fd)
    writer.write(fd, b"a")
    writer.close(copy)
    assert path.read_bytes() == b"old"
    writer.write(fd, b"b")
    writer.close(fd)
    assert path.read_bytes() == b"ab"


def test_W3_shell_block_appears_once_and_whole(mount: Place, tmp_path: Path) -> None:
    path = mount.mnt / "f"
    go = tmp_path / "go"
    os.mkfifo(go)
    process = programs.start(
        ["sh", "-c", '{ echo a; cat "$1" > /dev/null; echo b; } > "$0"; echo done', path, go],
        stdout=subprocess.PIPE,
    )
    try:
        wait_until(lambda: mount.stats()["sessions"]["open"] == 1, what="the shell's session")
        with go.open("wb"):  # returns once cat has opened it: 'a' is written
            stays(lambda: not path.exists(), 0.2, "the half-written file hidden")
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        assert path.read_bytes() == b"a\nb\n"
    finally:
        programs.finish([process])


def test_W3_descriptor_inherited_by_a_child_keeps_the_session_open(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"old")
    script = (
        'exec 3> "$0"; echo parent >&3; sh -c "echo child >&3"; echo done; read line; exec 3>&-; echo closed; read l'
    )
    process = programs.start(["sh", "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"done\n"
        assert path.read_bytes() == b"old"
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"closed\n"
        assert path.read_bytes() == b"parent\nchild\n"
        process.stdin.close()
    finally:
        programs.finish([process], ok=False)


def test_W3_whoever_opens_after_close_reads_the_new_version(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    writer, reader = worker(), worker()
    for number in range(300):
        content = b"%d" % number * (1 + number % 7)
        writer.write_file(path, content)
        assert reader.stat(path).st_size == len(content)
        assert reader.read_file(path) == content


CYCLES = """
import os, sys
folder, me, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
path = os.path.join(folder, f"f{me}")
for number in range(rounds):
    text = f"{me} {number} " + "x" * (number % 50)
    with open(path, "w") as file:
        file.write(text)
    with open(path) as file:
        got = file.read()
    assert got == text, (got, text)
    assert os.stat(path).st_size == len(text)
"""


def test_W3_no_stale_read_in_write_close_open_read_cycles(mount: Place) -> None:
    rounds = 150
    programs.finish(
        [programs.start([sys.executable, "-I", "-S", "-c", CYCLES, mount.mnt, str(me), str(rounds)]) for me in range(4)]
    )
    assert sorted(os.listdir(mount.mnt)) == ["f0", "f1", "f2", "f3"]


def test_W4_writer_sees_its_own_size_and_bytes(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"old content")
    writer = worker()
    fd = writer.open(path, "w+")
    assert writer.fstat(fd).st_size == 0
    writer.write(fd, b"0123456789")
    assert writer.fstat(fd).st_size == 10
    assert writer.stat(path).st_size == 10
    assert writer.do("lseek", fd, 0, os.SEEK_END) == 10
    writer.do("ftruncate", fd, 4)
    assert writer.fstat(fd).st_size == 4
    writer.do("ftruncate", fd, 6)
    assert writer.do("pread", fd, 100, 0) == b"0123\0\0"
    writer.do("posix_fallocate", fd, 0, 9)
    assert writer.fstat(fd).st_size == 9
    writer.do("truncate", path, 5)
    assert writer.fstat(fd).st_size == 5
    assert path.read_bytes() == b"old content"
    writer.close(fd)
    assert path.read_bytes() == b"0123\0"


def test_W4_editor_reads_the_old_content_and_changes_the_middle(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    old = bytes(range(256)) * 1000
    path.write_bytes(old)
    writer = worker()
    fd = writer.open(path, "r+")
    assert writer.do("pread", fd, 10, 100) == old[100:110]
    writer.do("pwrite", fd, b"MIDDLE", 100_000)
    assert writer.do("pread", fd, 8, 99_999) == old[99_999:100_000] + b"MIDDLE" + old[100_006:100_007]
    assert writer.fstat(fd).st_size == len(old)
    assert path.read_bytes() == old
    writer.close(fd)
    assert path.read_bytes() == old[:100_000] + b"MIDDLE" + old[100_006:]


def test_W4_shared_mapping_of_the_writer_is_published_by_close(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    old = b"o" * mmap.PAGESIZE * 3
    path.write_bytes(old)
    writer = worker()
    fd = writer.open(path, "r+")
    key = writer.do("map_open", fd, len(old), False, True)
    writer.do("map_write", key, mmap.PAGESIZE, b"mapped")
    assert writer.do("pread", fd, 6, mmap.PAGESIZE) == b"mapped"
    assert path.read_bytes() == old
    writer.do("map_close", key)
    writer.close(fd)
    expected = old[: mmap.PAGESIZE] + b"mapped" + old[mmap.PAGESIZE + 6 :]
    wait_until(lambda: path.read_bytes() == expected, what="the mapping's bytes in the committed file")


def test_W4_the_path_is_the_writers_own_file(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "new"
    writer = worker()
    fd = writer.open(path, "w")
    writer.write(fd, b"mine")
    assert writer.read_file(path) == b"mine"
    assert writer.do("listdir", mount.mnt) == ["new"]
    assert writer.stat(path).st_ino == writer.fstat(fd).st_ino
    writer.close(fd)
    assert path.read_bytes() == b"mine"
