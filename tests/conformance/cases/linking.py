"""link(2), linkat(2), symlink(2), readlink(2)."""

from __future__ import annotations

import os
import stat

from tests.conformance.acting import Act
from tests.conformance.calls import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_FOLLOW
from tests.conformance.case import ALL_RULES, case
from tests.conformance.entries import Dir, Fifo, File, Link, Node, Symlink
from tests.conformance.people import OTHER, OWNER, ROOT


@case(File("{x}", 0o666), Dir("d", 0o777), each=ALL_RULES)
def links_of_a_file(act: Act) -> None:
    """link(2): one file with two names, its ctime and the new name's directory change; contents by both names."""
    with act.times(act.x, ".", "d"):
        act.link(act.x, "d/second" + act.x)
    act.stat(act.x)
    act.stat("d/second" + act.x)
    act.same_file(act.x, "d/second" + act.x)
    with act.times("d/second" + act.x, ".", "d"):
        act.unlink(act.x)
    act.stat("d/second" + act.x)
    fd = act.open("d/second" + act.x, os.O_RDONLY)
    act.read(fd, 100)


@case(
    File("x", 0o666), Dir("d", 0o777), Symlink("l", "x"), Symlink("away", "nowhere"), Fifo("p", 0o666),
    Node("s", 0o666), Dir("shut", 0o700), File("shut/f", 0o666), File("other", 0o644, OTHER),
)  # fmt: skip
def link_what_to_where(act: Act) -> None:
    """link(2) of every type, to names that are there, below files, in directories that are shut or not there."""
    for number, old in enumerate(("x", "d", "l", "away", "p", "s", "nowhere", "x/", "l/", "shut/f", "", ".", "other")):
        act.link(old, f"new{number}", follow_symlinks=False)
        act.link(old, f"slash{number}/", follow_symlinks=False)
    for new in ("x", "d", "l", "away", "p", "no/where", "x/below", "shut/in", "", ".", "d/", "d/."):
        act.link("x", new)
    act.stat("x")


@case(File("{x}", 0o644), File("r{x}", 0o600), File("s{x}", 0o4755), File("g{x}", 0o2755), File("g2{x}", 0o2644))
def linking_the_files_of_others(act: Act) -> None:
    """fs.protected_hardlinks: a file that one does not own, may not read and write, or that is setuid."""
    for prefix in ("", "r", "s", "g", "g2"):
        act.link(prefix + act.x, "new-" + prefix)
        act.stat(prefix + act.x)


@case(File("{x}", 0o666), Symlink("l", "{x}"), Symlink("away", "nowhere"), Dir("d", 0o777), each=ALL_RULES)
def linkat_follow(act: Act) -> None:
    """linkat(2): symbolic links are linked themselves, unless AT_SYMLINK_FOLLOW says otherwise; unknown flags."""
    for number, path in enumerate((act.x, "l", "away", "d")):
        for flags in (0, AT_SYMLINK_FOLLOW, 0x8000):
            act.linkat(AT_FDCWD, path, AT_FDCWD, f"new{number}-{flags}{act.x}", flags)
    act.lstat("new1-0" + act.x)
    act.lstat(f"new1-{AT_SYMLINK_FOLLOW}{act.x}")


@case(File("{x}", 0o666), Dir("d", 0o777), each=ALL_RULES)
def linkat_descriptors(act: Act) -> None:
    """linkat(2) by descriptor: AT_EMPTY_PATH, /proc/self/fd/N, and directories on both sides."""
    fd = act.open(act.x, os.O_RDONLY)
    act.linkat(fd, "", AT_FDCWD, "empty" + act.x, AT_EMPTY_PATH)
    act.linkat(fd, "", AT_FDCWD, "empty2" + act.x, 0)
    act.linkat(AT_FDCWD, f"/proc/self/fd/{fd}", AT_FDCWD, "magic" + act.x, AT_SYMLINK_FOLLOW)
    act.linkat(AT_FDCWD, f"/proc/self/fd/{fd}", AT_FDCWD, "magic2" + act.x, 0)
    directory = act.open("d", os.O_RDONLY | os.O_DIRECTORY)
    act.linkat(AT_FDCWD, act.x, directory, "in" + act.x, 0)
    act.linkat(directory, "in" + act.x, AT_FDCWD, "out" + act.x, 0)
    act.linkat(directory, "", AT_FDCWD, "directory", AT_EMPTY_PATH)
    act.linkat(fd, "x", AT_FDCWD, "not a directory", 0)
    act.linkat(-1, act.x, AT_FDCWD, "bad", 0)
    act.fstat(fd)


@case(File("{x}", 0o666), each=ALL_RULES)
def linking_what_has_no_name(act: Act) -> None:
    """A file whose last name went cannot get one again (ENOENT), by either way."""
    fd = act.open(act.x, os.O_RDONLY)
    act.unlink(act.x)
    act.fstat(fd)
    act.linkat(fd, "", AT_FDCWD, "again" + act.x, AT_EMPTY_PATH)
    act.linkat(AT_FDCWD, f"/proc/self/fd/{fd}", AT_FDCWD, "again" + act.x, AT_SYMLINK_FOLLOW)
    act.fstat(fd)
    act.read(fd, 100)


@case(File("{x}", 0o666), Link("{y}", "{x}"), each=ALL_RULES)
def link_counts_at_descriptors(act: Act) -> None:
    """A descriptor sees the link count of its file change as names come and go."""
    fd = act.open(act.x, os.O_RDONLY)
    for step in (
        lambda: act.link(act.y, "third"),
        lambda: act.unlink(act.x),
        lambda: act.rename("third", act.y),
        lambda: act.rename(act.y, "fourth"),
        lambda: act.unlink("third"),
        lambda: act.unlink("fourth"),
        lambda: act.unlink(act.y),
    ):
        step()
        act.fstat(fd)


@case(Dir("."), Dir("d", 0o777), File("d/x", 0o666))
def linking_needs_the_new_directory(act: Act) -> None:
    """The new name's directory must be writable, the old one's need not."""
    act.link("d/x", "here")
    act.link("d/x", "d/there")


@case(File("{x}", 0o666), each=ALL_RULES)
def linked_while_being_written(act: Act) -> None:
    """A second name for a file that its own process is writing: one file, whatever is written afterwards."""
    for number, flags in enumerate((os.O_RDWR | os.O_APPEND, os.O_RDWR, os.O_RDWR | os.O_TRUNC)):
        fd = act.open(act.x, flags)
        act.write(fd, b"before\n")
        act.link(act.x, f"second{number}{act.x}")
        act.fstat(fd)
        act.same_file(act.x, f"second{number}{act.x}")
        act.write(fd, b"after\n")
        act.fstat(fd)
        act.stat(act.x)
        act.close(fd)
        act.stat(act.x)
        act.stat(f"second{number}{act.x}")
        act.unlink(f"second{number}{act.x}")


@case(each=ALL_RULES)
def a_new_file_linked_into_place(act: Act) -> None:
    """The lock of old: write a file of one's own, link it to the name, look at the link count; then unlink."""
    fd = act.open("mine" + act.x, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    act.write(fd, b"my number\n")
    act.link("mine" + act.x, act.x)
    act.fstat(fd)
    act.stat(act.x)
    act.close(fd)
    act.link("mine" + act.x, act.x)
    act.stat("mine" + act.x)
    act.unlink("mine" + act.x)
    act.stat(act.x)


TARGETS = (
    "x",
    "d",
    "nowhere",
    "/etc/passwd",
    "../up",
    "a/" * 100,
    "t" * 4095,
    "t" * 255,
    "with\nnewline",
    " ",
    ".",
    "/",
)


@case()
def symlink_targets(act: Act) -> None:
    """symlink(2) keeps any target as it is, up to 4095 bytes; mode 0777; the parent's times."""
    for number, target in enumerate(TARGETS):
        act.symlink(target, f"l{number}")
        act.readlink(f"l{number}")
        act.lstat(f"l{number}")
    act.symlink(b"\xff\xfe latin caf\xe9", b"l-\xe9")
    act.readlink(b"l-\xe9")
    act.symlink("t" * 4096, "too long")
    act.symlink("", "empty")
    with act.times("."):
        act.symlink("x", "new")


@case(File("x", 0o600), Dir("d", 0o700), Symlink("l", "x"), Symlink("d/in", "x"), Symlink("ld", "d"))
def readlink_of(act: Act) -> None:
    """readlink(2) of links and of what is none; no permission of the link itself is asked."""
    for path in ("l", "x", "d", "nowhere", "l/", "d/in", "x/y", "ld", "ld/", "ld/in", "", "."):
        act.readlink(path)


@case(Symlink("l", "x", by=OWNER), File("x", 0o666))
def attributes_of_links(act: Act) -> None:
    """A symbolic link's own owner, times and (refused) mode."""
    act.lchown("l", act.person.uid, -1)
    act.chown("l", -1, act.person.gid, follow_symlinks=False)
    act.fchmodat2(AT_FDCWD, "l", 0o600, 0x100)
    act.utime("l", ns=(10**18 + 5, 10**18 + 7), follow_symlinks=False)
    act.lstat("l")
    act.rename("l", "m")
    act.lstat("m")
    act.readlink("m")
    act.unlink("m")


@case(File("sticky-target", 0o666), Dir("sticky", 0o1777, ROOT), Symlink("sticky/l", "../sticky-target", by=OWNER))
def following_links_in_sticky_directories(act: Act) -> None:
    """fs.protected_symlinks: in a sticky, world-writable directory only one's own links and the directory owner's."""
    act.stat("sticky/l")
    act.close(act.open("sticky/l", os.O_RDONLY))
    act.symlink("../sticky-target", "sticky/own")
    act.close(act.open("sticky/own", os.O_RDONLY))
    act.note("is a link", stat.S_ISLNK(os.lstat("sticky/l").st_mode))
