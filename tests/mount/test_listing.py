"""Directories as they are read: positions, types, what stays while others change them, and what is not committed."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import programs
from tests.support.dirstream import DirStream, all_dents
from tests.support.targets import Place, Target
from tests.support.worker import Worker

NewWorker = Callable[..., Worker]
DOTS = [b".", b".."]


def fill(folder: Path, count: int) -> list[bytes]:
    """A folder (made behind the mount) with `count` empty files; all its names, dots included."""
    folder.mkdir(exist_ok=True)
    names = [b"file %06d" % number for number in range(count)]
    for name in names:
        os.close(os.open(os.fsencode(folder) + b"/" + name, os.O_CREAT | os.O_WRONLY))
    return sorted(names + DOTS)


def behind(target: Target) -> Path:
    """Where to make many files quickly."""
    return target.mnt if target.place is None else target.place.source


def test_entries_agree_with_stat(target: Target) -> None:
    """d_type and d_ino are what stat(2) says; a mere listing shows all kinds of files."""
    root = target.mnt
    (root / "file").write_bytes(b"x")
    (root / "folder").mkdir()
    (root / "folder" / "inner").mkdir()
    (root / "link").symlink_to("file")
    (root / "hard").hardlink_to(root / "file")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(root / "socket"))
    for folder in (root, root / "folder"):
        found = all_dents(folder, 32768)
        assert len(found) == len(os.listdir(folder)) + 2
        for name, number, kind in found:
            status = os.lstat(os.fsencode(folder) + b"/" + name)
            assert (number, kind) == (status.st_ino, stat.S_IFMT(status.st_mode) >> 12), name


@pytest.mark.parametrize("size", [32, 280, 1000, 4096])
def test_small_buffers(target: Target, size: int) -> None:
    names = fill(behind(target) / "folder", 300)
    assert sorted(name for name, _, _ in all_dents(target.mnt / "folder", size)) == names
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        all_dents(target.mnt / "folder", 24)  # room for "." and "..", not for the others


def test_telldir_seekdir_and_rewinddir(target: Target) -> None:
    names = fill(behind(target) / "folder", 3000)
    stream = DirStream(target.mnt / "folder")
    found: list[tuple[int, bytes]] = []
    while True:
        position, name = stream.tell(), stream.read()
        if name is None:
            break
        found.append((position, name))
    assert sorted(name for _, name in found) == names
    order = [name for _, name in found]
    for index in (*range(0, 3000, 499), 2999, 1, 0, 1500):
        stream.seek(found[index][0])
        assert stream.rest() == order[index:]
    stream.seek(found[7][0])
    (target.mnt / "folder" / "new").touch()
    (target.mnt / "folder" / "file 000000").unlink()
    stream.rewind()
    assert sorted(stream.rest()) == sorted({*names, b"new"} - {b"file 000000"})
    stream.close()


def test_F2_entries_not_yet_committed_have_positions_types_and_numbers(mount: Place) -> None:
    """In a listing of the writer's family, where they stand among the others."""
    names = fill(mount.source / "folder", 500)
    folder = mount.mnt / "folder"
    fds = [os.open(folder / f"pending {number}", os.O_WRONLY | os.O_CREAT, 0o644) for number in range(100)]
    rewritten = os.open(folder / "file 000007", os.O_WRONLY | os.O_TRUNC)
    try:
        pending = [b"pending %d" % number for number in range(100)]
        stream = DirStream(folder)
        positions = []
        order = []
        while (name := stream.read()) is not None:
            order.append(name)
            positions.append(stream.tell())
        assert sorted(order) == sorted(names + pending)
        for index in (100, 450, 501, 510, 580, 601):
            stream.seek(positions[index])
            assert stream.rest() == order[index + 1 :]
        stream.close()
        for name, number, kind in all_dents(folder, 4096):
            if name not in DOTS:
                assert (number, kind) == (os.stat(os.fsencode(folder) + b"/" + name).st_ino, 8)
        child = programs.run(sys.executable, "-c", "import os, sys; print(len(os.listdir(sys.argv[1])))", folder).stdout
        assert int(child) == 600
    finally:
        for fd in (*fds, rewritten):
            os.close(fd)
    assert len(os.listdir(folder)) == 600


def test_removed_while_open(target: Target, worker: NewWorker) -> None:
    folder = target.mnt / "folder"
    folder.mkdir()
    fd = os.open(folder, os.O_RDONLY)
    stream = DirStream(folder)
    worker().do("rmdir", folder)
    assert stream.rest() in ([], DOTS)
    stream.rewind()
    assert stream.rest() in ([], DOTS)
    stream.close()
    assert os.listdir(fd) == []
    os.close(fd)


def test_names_of_all_bytes_and_of_255(target: Target) -> None:
    root = os.fsencode(behind(target))
    names = [bytes([byte]) * length for byte in range(1, 256) if byte != 47 for length in (1, 254, 255)]
    names = [name for name in names if name != b"."]
    for name in names:
        os.close(os.open(root + b"/" + name, os.O_CREAT | os.O_WRONLY))
    assert sorted(os.listdir(os.fsencode(target.mnt))) == sorted(names)
    assert sorted(name for name, _, _ in all_dents(target.mnt, 300)) == sorted(names + DOTS)


CHURN = """
import os, sys
folder, part = sys.argv[1], sys.argv[2]
for number in range(60):
    path = f"{folder}/churn {part} {number}"
    with open(path, "w") as file:
        file.write("x")
    with open(f"{folder}/file {number * 17:06d}", "w") as file:  # stays, and is merely rewritten
        file.write("rewritten")
    os.rename(path, path + " renamed")
    os.unlink(path + " renamed")
"""


def test_W2_what_stays_is_listed_once_whatever_others_do(mount: Place) -> None:
    names = fill(mount.source / "folder", 3000)
    folder = mount.mnt / "folder"
    churners = [programs.start([sys.executable, "-c", CHURN, folder, str(part)]) for part in range(2)]
    listings = 0
    while listings < 5 or any(one.poll() is None for one in churners):
        found = Counter(name for name, _, _ in all_dents(folder, 32768) if not name.startswith(b"churn"))
        assert sorted(found.elements()) == names
        listings += 1
    programs.finish(churners)


def test_many_listings_at_once(mount: Place) -> None:
    names = fill(mount.source / "folder", 3000)
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda _: all_dents(mount.mnt / "folder", 32768), range(60)))
    assert all(sorted(name for name, _, _ in one) == names for one in found)


def test_programs_that_walk(target: Target) -> None:
    """find, ls -R, du, git status and rm -rf say the same about a tree as about its copy elsewhere."""
    programs.need("find", "ls", "du", "git")
    top = target.mnt / "tree"
    for number in range(30):
        (top / f"folder {number}" / "deep" / "er").mkdir(parents=True)
        (top / f"folder {number}" / "file").write_text("content\n")
        (top / f"folder {number}" / "deep" / "link").symlink_to("er")
    everything = sorted(str(path.relative_to(top)) for path in top.rglob("*"))
    assert len(everything) == 150
    found = programs.run("find", top, "-mindepth", "1", "-printf", "%P\\n").stdout.decode().splitlines()
    assert sorted(found) == everything
    assert len(programs.run("find", top, "-type", "d", "-name", "er").stdout.splitlines()) == 30
    assert len(programs.run("find", top, "-type", "l").stdout.splitlines()) == 30
    assert programs.run("ls", "-R", top).stdout.count(b"link\n") == 30
    assert len(programs.run("du", "-a", top).stdout.splitlines()) == 151
    programs.run("git", "-C", top, "init", "-q")
    assert len(programs.run("git", "-C", top, "status", "--short", "-uall").stdout.splitlines()) == 60
    programs.run("rm", "-rf", top)
    assert not top.exists()


@pytest.mark.slow  # making them takes a while
@pytest.mark.limit(300)
def test_Q2_a_hundred_thousand_entries(mount: Place) -> None:
    """Complete, positions included, and the daemon keeps next to nothing of a mere listing."""
    names = fill(mount.source / "folder", 100_000)

    def memory_kb() -> int:
        status = Path(f"/proc/{mount.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0])

    before_kb = memory_kb()
    stream = DirStream(mount.mnt / "folder")
    found = []
    while (name := stream.read()) is not None:
        found.append(name)
        if len(found) == 77_777:
            position = stream.tell()
    assert sorted(found) == names
    stream.seek(position)
    assert stream.rest() == found[77_777:]
    stream.close()
    assert memory_kb() - before_kb < 40_000
