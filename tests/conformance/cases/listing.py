"""getdents(2): what a listing says, and positions in it."""

from __future__ import annotations

import os

from tests.conformance.acting import Act
from tests.conformance.case import ALL_RULES, case
from tests.conformance.entries import Dir, Fifo, File, Node, Symlink
from tests.conformance.people import OTHER, OWNER, ROOT


@case(
    File("{x}"), Dir("d"), Symlink("l", "{x}"), Symlink("ld", "d"), Symlink("away", "no"), Fifo("p"), Node("s"),
    Dir("shut", 0o711), File("shut/f"), Dir("read", 0o744), File("read/f"), Dir("empty", 0o755), each=ALL_RULES,
)  # fmt: skip
def names_and_types(act: Act) -> None:
    """Every type's d_type; directories that may be searched but not read and the reverse; what is no directory."""
    for path in (".", "d", "shut", "read", "empty", act.x, "l", "ld", "away", "nowhere", "p", ""):
        act.call(f"list {path}", _names, path)
    act.entries(".")
    act.entries("ld")


def _names(path: str) -> list[str]:
    return sorted(os.listdir(path)) if path else os.listdir(path)


@case(Dir("d", 0o777), *[File(f"d/f{number}") for number in range(20)], each=ALL_RULES, people=(ROOT, OTHER))
def listing_follows_changes(act: Act) -> None:
    """A directory that is listed again shows what came and went, by path and by descriptor."""
    fd = act.open("d", os.O_RDONLY)
    act.listdir(fd)
    act.unlink("d/f3")
    act.close(act.open("d/new" + act.x, os.O_WRONLY | os.O_CREAT, 0o644))
    act.rename("d/f4", "d/renamed")
    act.mkdir("d/sub", 0o755)
    act.listdir(fd)
    act.listdir("d")
    act.call("inode numbers agree", _numbers_agree, "d")


def _numbers_agree(path: str) -> bool:
    with os.scandir(path) as found:
        return all(entry.inode() == os.lstat(entry.path).st_ino for entry in found)


@case(Dir("d", 0o777), each=ALL_RULES, people=(ROOT, OWNER))
def a_file_that_is_being_made(act: Act) -> None:
    """Its maker sees a new file in the listing before it is closed (F2)."""
    fd = act.open("d/" + act.x, os.O_WRONLY | os.O_CREAT, 0o644)
    act.listdir("d")
    act.stat("d/" + act.x)
    act.rmdir("d")
    act.close(fd)
    act.listdir("d")


@case(Dir("d", 0o755), File("d/f"))
def reading_a_directory_as_a_file(act: Act) -> None:
    """read(2), write(2), pread(2), mmap of a directory's descriptor: EISDIR and EBADF; fsync works."""
    fd = act.open("d", os.O_RDONLY)
    act.read(fd, 10)
    act.pread(fd, 10, 0)
    act.write(fd, b"x")
    act.fsync(fd)
    act.fdatasync(fd)
    act.ftruncate(fd, 0)
    act.call("list a file", os.listdir, act.open("d/f", os.O_RDONLY))
    act.call("list a path descriptor", os.listdir, act.open("d", os.O_PATH))
