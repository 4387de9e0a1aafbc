"""chmod(2), fchmod(2), fchmodat2(2), access(2), faccessat2(2), umask(2)."""

from __future__ import annotations

import os

from tests.conformance.acting import Act
from tests.conformance.calls import AT_EACCESS, AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW
from tests.conformance.case import ALL_RULES, case
from tests.conformance.entries import Dir, Fifo, File, Node, Symlink
from tests.conformance.people import MEMBER, OTHER, OWNER, ROOT, STAFF

MODES = (0o000, 0o777, 0o644, 0o4755, 0o2755, 0o2644, 0o1777, 0o7777)


@case(
    File("{x}"), Dir("d"), Fifo("p"), Node("s"), Symlink("l", "{x}"), File("of other{x}", 0o644, OTHER),
    Dir("of other", 0o755, OTHER), each=ALL_RULES,
)  # fmt: skip
def chmod_of_every_type(act: Act) -> None:
    """chmod(2): all bits on every type, by owner and others; it follows links; S_ISGID needs the group."""
    for path in (act.x, "d", "p", "s", "l", "of other" + act.x, "of other", "nowhere"):
        for mode in MODES:
            act.chmod(path, mode)
            act.call("mode", lambda path=path: oct(os.stat(path).st_mode))


@case(File("{x}", 0o644, OWNER, gid=1999), Dir("d", 0o755, OWNER, gid=1999), each=ALL_RULES)
def setgid_by_a_stranger_to_the_group(act: Act) -> None:
    """chmod(2) by an owner who is not in the file's group clears S_ISGID, silently, on files, not on directories."""
    for path in (act.x, "d"):
        for mode in (0o2755, 0o2644, 0o6755):
            act.chmod(path, mode)
            act.stat(path)
    fd = act.open(act.x, os.O_RDONLY)
    act.fchmod(fd, 0o2755)
    act.fstat(fd)


@case(File("{x}"), Dir("d"), each=ALL_RULES)
def chmod_changes_ctime(act: Act) -> None:
    """chmod(2) changes ctime, also to the same mode; a refused one nothing; nor the parent's times."""
    for path in (act.x, "d"):
        for mode in (0o600, 0o600, 0o755):
            with act.times(path, "."):
                act.chmod(path, mode)


@case(File("{x}", 0o644), Dir("d"), each=ALL_RULES)
def fchmod_by_descriptors(act: Act) -> None:
    """fchmod(2) on readers, writers, appenders and directories; the path shows it at once."""
    for flags in (os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND):
        fd = act.open(act.x, flags)
        act.fchmod(fd, 0o640 | flags & 7)
        act.fstat(fd)
        act.stat(act.x)
        act.close(fd)
        act.stat(act.x)
        act.chmod(act.x, 0o644)
    fd = act.open("d", os.O_RDONLY)
    act.fchmod(fd, 0o1700)
    act.fstat(fd)
    act.fchmod(-1, 0o644)


@case(File("{x}"), Symlink("l", "{x}"), Symlink("away", "no"), each=ALL_RULES)
def fchmodat_flags(act: Act) -> None:
    """fchmodat2(2): AT_SYMLINK_NOFOLLOW on a link is EOPNOTSUPP, AT_EMPTY_PATH, unknown flags."""
    fd = act.open(act.x, os.O_RDONLY)
    path_fd = act.open(act.x, os.O_PATH)
    for path in (act.x, "l", "away"):
        for flags in (0, AT_SYMLINK_NOFOLLOW, 0x8000):
            act.fchmodat2(AT_FDCWD, path, 0o640, flags)
    act.fchmodat2(fd, "", 0o600, AT_EMPTY_PATH)
    act.stat(act.x)
    act.fchmodat2(path_fd, "", 0o604, AT_EMPTY_PATH)
    act.stat(act.x)
    act.fchmodat2(fd, "", 0o600, 0)


@case(Dir("sgid", 0o2777, gid=STAFF), File("sgid/{x}", 0o2755, gid=STAFF), Dir("other", 0o2777, OTHER), each=ALL_RULES)
def setgid_directories_keep_their_bit(act: Act) -> None:
    """chmod(2) of setgid directories and files in them."""
    for mode in (0o755, 0o2755, 0o777):
        act.chmod("sgid", mode)
        act.chmod("other", mode)
        act.chmod("sgid/" + act.x, mode)
        act.stat("sgid")
        act.stat("sgid/" + act.x)


ALL_MODES = (*range(0, 0o1000, 0o111), 0o700, 0o070, 0o007, 0o640, 0o751)


@case(*[File(f"{mode:o}{{x}}", mode) for mode in ALL_MODES], *[Dir(f"d{mode:o}", mode) for mode in ALL_MODES])
def access_of_all_modes(act: Act) -> None:
    """access(2) for every combination of R_OK, W_OK, X_OK on files and directories."""
    for mode in ALL_MODES:
        for path in (f"{mode:o}{act.x}", f"d{mode:o}"):
            for wanted in range(8):
                act.may(path, wanted)


@case(
    File("{x}", 0o640), Symlink("l", "{x}"), Symlink("away", "no"), Dir("shut", 0o700), File("shut/f"), each=ALL_RULES
)
def faccessat_flags(act: Act) -> None:
    """faccessat2(2): AT_EACCESS, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH, invalid modes and flags, shut directories."""
    fd = act.open(act.x, os.O_PATH)
    for path in (act.x, "l", "away", "shut/f", "shut", "no", act.x + "/", "."):
        for flags in (0, AT_EACCESS, AT_SYMLINK_NOFOLLOW, AT_EACCESS | AT_SYMLINK_NOFOLLOW, 0x8000):
            act.faccessat2(AT_FDCWD, path, os.R_OK | os.W_OK, flags)
    act.faccessat2(fd, "", os.R_OK, AT_EMPTY_PATH)
    act.faccessat2(fd, "", os.R_OK, 0)
    act.faccessat2(AT_FDCWD, act.x, 8, 0)


@case(
    File("{x}", 0o640),
    File("run{x}", 0o755, content=b"#!/bin/sh\nexit 7\n"),
    each=ALL_RULES,
    people=(ROOT, MEMBER, OTHER),
)
def real_and_effective_user(act: Act) -> None:
    """access(2) asks for the real user, AT_EACCESS for the effective one; exec needs the execute bit."""
    act.call("run it", lambda: os.waitstatus_to_exitcode(os.spawnv(os.P_WAIT, "./run" + act.x, ["run"]) << 8))
    if act.person is not ROOT and os.getuid() != 0:
        act.faccessat2(AT_FDCWD, act.x, os.W_OK, AT_EACCESS)
        return
    try:
        os.setegid(OTHER.gid)
        os.seteuid(OTHER.uid)
        act.faccessat2(AT_FDCWD, act.x, os.W_OK, 0)
        act.faccessat2(AT_FDCWD, act.x, os.W_OK, AT_EACCESS)
        act.close(act.open(act.x, os.O_WRONLY))
        act.close(act.open("new" + act.x, os.O_WRONLY | os.O_CREAT, 0o644))
        act.mkdir("by euid", 0o755)
    finally:
        os.seteuid(0)
        os.setegid(0)


@case(Dir("d", 0o777), each=ALL_RULES)
def umasks(act: Act) -> None:
    """umask(2) applies to open, mkdir, mknod, mkfifo; not to chmod or symlink."""
    for umask in (0, 0o002, 0o027, 0o077, 0o777):
        act.umask(umask)
        act.close(act.open(f"f{umask:o}{act.x}", os.O_WRONLY | os.O_CREAT, 0o666))
        act.mkdir(f"d{umask:o}", 0o777)
        act.mkfifo(f"p{umask:o}", 0o666)
        act.mknod(f"n{umask:o}{act.x}", 0o100666)
        act.symlink("x", f"l{umask:o}")
        act.close(act.open(f"a{umask:o}{act.x}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666))
        act.chmod(f"d{umask:o}", 0o777)
