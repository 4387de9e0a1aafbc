"""unlink(2), rmdir(2), unlinkat(2), and files that are open when their name goes."""

from __future__ import annotations

import os
import stat

from tests.conformance.acting import Act
from tests.conformance.calls import AT_FDCWD, AT_REMOVEDIR
from tests.conformance.case import ALL_RULES, case
from tests.conformance.entries import Dir, Fifo, File, Link, Node, Symlink
from tests.conformance.people import MEMBER, OTHER, OWNER, ROOT


@case(File("{x}", 0o600), each=ALL_RULES)
def unlinking_a_file(act: Act) -> None:
    """unlink(2) needs the directory, not the file; the parent's mtime and ctime change; a second one gets ENOENT."""
    with act.times("."):
        act.unlink(act.x)
    act.unlink(act.x)
    act.stat(act.x)
    act.listdir(".")


@case(
    File("x"), Dir("d"), Dir("full"), File("full/f"), Symlink("l", "x"), Symlink("ld", "d"), Symlink("away", "no"),
    Fifo("p"), Node("s"), Dir("shut", 0o700), File("shut/f"), Symlink("loop", "loop"),
)  # fmt: skip
def unlink_what(act: Act) -> None:
    """unlink(2) of every type, with trailing slashes and dots: EISDIR, ENOTDIR, ENOENT, EACCES."""
    names = ("d", "d/", "x/", "l/", "ld/", "x/y", "no/where", "", ".", "..", "/", "d/.", "d/..", "shut/f", "loop/x")
    for path in (*names, "ld", "l", "away", "p", "s", "loop", "x", "full/f"):
        act.unlink(path)


@case(
    File("x"), Dir("full"), File("full/f"), Symlink("l", "x"), Symlink("ld", "d"), Dir("shut", 0o700),
    Dir("shut/d"), Dir("a"), Dir("b"), Dir("c"), Dir("d"), Symlink("loop", "loop"), Dir("nest"), Dir("nest/in"),
)  # fmt: skip
def rmdir_what(act: Act) -> None:
    """rmdir(2) of every type, with trailing slashes and dots: ENOTDIR, ENOTEMPTY, EINVAL, EBUSY."""
    names = (
        "x",
        "x/",
        "full",
        "full/",
        "l",
        "ld",
        "ld/",
        "no/where",
        "nowhere",
        "",
        ".",
        "..",
        "d/.",
        "d/..",
        "shut/d",
    )
    for path in (*names, "nest", "nest/in/..", "loop", "loop/x", "x/y"):
        act.rmdir(path)
    with act.times("."):
        act.rmdir("a")
    act.rmdir("b/")
    act.rmdir("c//")
    act.rmdir("nest/in")
    act.rmdir("nest")
    act.stat(".")


@case(Dir("d", 0o777), File("d/{x}", 0o666), each=ALL_RULES)
def unlinkat_from_directories(act: Act) -> None:
    """unlinkat(2): files and directories by descriptor, AT_REMOVEDIR on the wrong type, unknown flags."""
    directory = act.open("d", os.O_RDONLY)
    act.mkdir("d/in", 0o755)
    act.unlinkat(directory, act.x, AT_REMOVEDIR)
    act.unlinkat(directory, "in", 0)
    act.unlinkat(directory, act.x, 0x400)
    act.unlinkat(directory, act.x, 0)
    act.unlinkat(directory, "in", AT_REMOVEDIR)
    act.unlinkat(AT_FDCWD, "d", AT_REMOVEDIR)
    act.fstat(directory)
    act.listdir(directory)
    act.unlinkat(directory, act.x, 0)
    act.unlinkat(-1, act.x, 0)


@case(File("{x}", 0o666), each=ALL_RULES)
def unlinked_while_open_for_reading(act: Act) -> None:
    """An open file without a name: link count 0, still readable, chmod and utime reach it, its size stays."""
    fd = act.open(act.x, os.O_RDONLY)
    with act.times(fd):
        act.unlink(act.x)
    act.fstat(fd)
    act.read(fd, 100)
    act.fchmod(fd, 0o640)
    act.fchown(fd, -1, act.person.gid)
    act.utime(fd, ns=(10**18 + 1, 10**18 + 2))
    act.fstat(fd)
    act.call("by magic", lambda: stat.S_IMODE(os.stat(f"/proc/self/fd/{fd}").st_mode))
    act.call("the link reads deleted", lambda: os.readlink(f"/proc/self/fd/{fd}").endswith(" (deleted)"))
    act.close(act.open(act.x, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644))
    act.fstat(fd)


@case(File("{x}", 0o666), each=ALL_RULES)
def unlinked_while_open_for_writing(act: Act) -> None:
    """The same for a writer: what it goes on writing is its own, and the name is free."""
    for flags in (os.O_RDWR, os.O_RDWR | os.O_TRUNC, os.O_RDWR | os.O_APPEND):
        fd = act.open(act.x, flags)
        act.write(fd, b"before\n")
        act.unlink(act.x)
        act.fstat(fd)
        act.write(fd, b"after\n")
        act.fstat(fd)
        act.pread(fd, 100, 0)
        act.ftruncate(fd, 3)
        act.fchmod(fd, 0o600)
        act.utime(fd, ns=(10**18 + 1, 10**18 + 2))
        act.fstat(fd)
        act.stat(act.x)
        new = act.open(act.x, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        act.write(new, b"a new one\n")
        act.close(new)
        act.close(fd)
        act.stat(act.x)


@case(each=ALL_RULES)
def a_new_file_unlinked_at_once(act: Act) -> None:
    """The anonymous temporary file: made, unlinked, written, read."""
    fd = act.open(act.x, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    act.fstat(fd)
    act.unlink(act.x)
    act.fstat(fd)
    act.write(fd, b"temporary\n")
    act.pread(fd, 100, 0)
    act.fstat(fd)
    act.listdir(".")
    act.mkdir(act.x, 0o755)
    act.rmdir(act.x)
    act.close(fd)
    act.listdir(".")


STICKY = (
    Dir("sticky", 0o1777, ROOT), File("sticky/{x}"), File("sticky/of other{x}", 0o666, OTHER),
    Dir("sticky/d", 0o777), Dir("sticky/d of other", 0o777, OTHER), Symlink("sticky/l", "{x}", OTHER),
    Dir("own", 0o1777, OWNER), File("own/of other{x}", 0o666, OTHER), File("own/of member{x}", 0o666, MEMBER),
    Dir("own/d of other", 0o777, OTHER),
)  # fmt: skip


@case(*STICKY, each=ALL_RULES)
def sticky_directories(act: Act) -> None:
    """In a sticky directory only the owner of the entry, of the directory, or root removes and renames."""
    act.rename("sticky/" + act.x, "sticky/renamed" + act.x)
    act.rename("sticky/of other" + act.x, "sticky/" + act.x)
    act.rename("sticky/l", "out")
    act.rename("sticky/d", "sticky/d2")
    act.rename("sticky/d of other", "sticky/d")
    act.close(act.open("sticky/new", os.O_WRONLY | os.O_CREAT, 0o644))
    act.rename("sticky/new", "sticky/of other" + act.x)
    for folder in ("sticky", "own"):
        for name in sorted(os.listdir(folder)):
            act.unlink(f"{folder}/{name}")
            act.rmdir(f"{folder}/{name}")
        act.listdir(folder)


@case(Dir("."), File("{x}", 0o666), Dir("d", 0o777), File("d/{x}", 0o666), each=ALL_RULES)
def removing_needs_the_directory(act: Act) -> None:
    """A file that one may write in a directory that one may not, and the reverse."""
    act.unlink(act.x)
    act.rmdir("d")
    act.unlink("d/" + act.x)
    act.rmdir("d")


@case(Dir("d", 0o777), Dir("d/e", 0o777), people=(ROOT, OTHER))
def a_removed_working_directory(act: Act) -> None:
    """Everything in a directory that was removed gets ENOENT; its link count is 0."""
    directory = act.open("d/e", os.O_RDONLY)
    act.chdir("d/e")
    act.call("remove it", os.rmdir, "../e")
    act.fstat(directory)
    act.listdir(".")
    act.listdir(directory)
    act.mkdir("new", 0o755)
    act.symlink("a", "l")
    act.mkfifo("p", 0o644)
    act.open("f", os.O_WRONLY | os.O_CREAT, 0o644)
    act.openat(directory, "f", os.O_WRONLY | os.O_CREAT, 0o644)
    act.stat("..")
    act.stat(".")
    act.fchmod(directory, 0o700)
    act.call("where", lambda: os.getcwd())


@case(Dir("d", 0o777), File("d/{x}", 0o666), Link("d/{y}", "{x}"), each=ALL_RULES)
def link_counts_of_directories(act: Act) -> None:
    """A directory's link count follows its subdirectories."""
    for name in ("a", "b", "a/c"):
        act.mkdir("d/" + name, 0o755)
        act.stat("d")
    act.rename("d/a/c", "d/c")
    act.stat("d/a")
    act.stat("d")
    act.rename("d/b", "out")
    act.stat("d")
    act.stat(".")
    act.rmdir("d/c")
    act.unlink("d/" + act.x)
    act.stat("d/" + act.y)
    act.stat("d")
