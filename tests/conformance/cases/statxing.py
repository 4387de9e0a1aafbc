"""stat(2), fstat(2), lstat(2), statx(2), statfs(2), name_to_handle_at(2)."""

from __future__ import annotations

import os

from tests.conformance.acting import Act
from tests.conformance.calls import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW
from tests.conformance.case import ALL_RULES, case, differs
from tests.conformance.entries import Dir, Fifo, File, Link, Node, Symlink
from tests.conformance.named import NO_BIRTH_TIME
from tests.conformance.people import OTHER, ROOT

BASIC = 0x7FF
FORCE_SYNC, DONT_SYNC = 0x2000, 0x4000


@case(
    File("{x}", 0o640), Link("{y}", "{x}"), Dir("d"), Symlink("l", "{x}"), Symlink("away", "n"), Fifo("p"), Node("s"),
    Dir("shut", 0o700), File("shut/f"), each=ALL_RULES,
)  # fmt: skip
def statx_of_every_type(act: Act) -> None:
    """statx(2): the basic fields and their mask, through and of links, without permission on the file itself."""
    for path in (act.x, act.y, "d", "l", "away", "p", "s", "shut", "shut/f", "nowhere", act.x + "/"):
        for flags in (0, AT_SYMLINK_NOFOLLOW, FORCE_SYNC, DONT_SYNC):
            act.statx(AT_FDCWD, path, flags, BASIC)
        act.stat(path)
        act.lstat(path)
    fd = act.open(act.x, os.O_PATH)
    act.statx(fd, "", AT_EMPTY_PATH, BASIC)
    act.statx(fd, "", 0, BASIC)
    act.statx(AT_FDCWD, act.x, FORCE_SYNC | DONT_SYNC, BASIC)
    act.statx(AT_FDCWD, act.x, 0, 1 << 31)
    act.statx(AT_FDCWD, act.x, 0x8, BASIC)
    act.fstat(987)


@case(File("{x}"), Dir("d"), Dir("e", 0o777), each=ALL_RULES, people=(ROOT, OTHER))
def inode_numbers(act: Act) -> None:
    """st_dev and st_ino tell files apart, by every way of asking, and stay the same over a rename."""
    number = os.stat(act.x).st_ino
    fd = act.open(act.x, os.O_RDONLY)
    act.note("fstat", os.fstat(fd).st_ino == number)
    act.note("differs from the directory", number != os.stat("d").st_ino)
    act.note("device", os.stat(act.x).st_dev == os.stat("d").st_dev == os.stat(".").st_dev)
    act.call("rename", os.rename, act.x, "e/" + act.x)
    act.note("renamed", os.stat("e/" + act.x).st_ino == number)
    with os.scandir("e") as found:
        act.note("listed", [entry.inode() == number for entry in found] == [True])


@case(File("{x}"), Dir("d"), Symlink("l", "{x}"), each=ALL_RULES, people=(ROOT, OTHER))
def file_handles(act: Act) -> None:
    """name_to_handle_at(2) and open_by_handle_at(2) (EPERM but for root), while the file is in use."""
    keep = act.open(act.x, os.O_RDONLY)
    act.by_handle(act.x)
    act.by_handle("d")
    act.by_handle("nowhere")
    act.close(keep)


@case(File("{x}"), each=ALL_RULES, people=(ROOT,), differs=[differs(NO_BIRTH_TIME, "statx(*) mask")])
def time_of_birth(act: Act) -> None:
    """statx(2) with all fields: the time of birth, and which attributes the filesystem knows."""
    act.statx(AT_FDCWD, act.x, 0, 0xFFF)


@case(File("{x}"), people=(ROOT, OTHER))
def filesystem_limits(act: Act) -> None:
    """statvfs(3): the limits and sizes that are the backing filesystem's."""
    found = os.statvfs(act.x)
    act.note("name limit", found.f_namemax)
    act.note("block size", found.f_frsize)
    act.note("blocks", found.f_blocks)
    act.note("files", found.f_files)
    act.note("read-only", found.f_flag & os.ST_RDONLY)
    act.call("name limit by pathconf", os.pathconf, act.x, "PC_NAME_MAX")
    act.call("path limit by pathconf", os.pathconf, act.x, "PC_PATH_MAX")
