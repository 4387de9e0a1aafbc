"""mkdir(2), mknod(2), mkfifo(3), sockets: modes, owners, permissions, errors."""

from __future__ import annotations

import os
import socket
import stat

from tests.conformance.acting import Act
from tests.conformance.case import ALL_RULES, case, differs
from tests.conformance.entries import Dir, Fifo, File, Symlink
from tests.conformance.named import FIFO_TIMES
from tests.conformance.people import OTHER, ROOT, STAFF


@case()
def mkdir_modes(act: Act) -> None:
    """mkdir(2): the mode less the umask, no setuid or setgid bit, the sticky bit kept; times of the parent."""
    with act.times("."):
        act.mkdir("a", 0o755)
    for number, mode in enumerate((0o777, 0o7777, 0o1777, 0, 0o400)):
        act.mkdir(f"m{number}", mode)
    act.umask(0o077)
    act.mkdir("private", 0o777)
    act.mkdir("with a slash/", 0o755)
    act.mkdir("with two slashes//", 0o755)


ELSEWHERE = ("x", "d", "l", "ld", "away", "x/below", "no/where", "shut/in", ".", "..", "d/.", "d/..", "", "/", "d/")


def make_everywhere(act: Act, name: str, *args: object) -> None:
    for path in ELSEWHERE:
        getattr(act, name)(path, *args)


PLACES = (
    File("x", 0o666), Dir("d", 0o777), Symlink("l", "x"), Symlink("ld", "d"), Symlink("away", "nowhere"),
    Dir("shut", 0o700),
)  # fmt: skip


@case(*PLACES)
def mkdir_errors(act: Act) -> None:
    """mkdir(2) on what is there, under a file, in a directory that is shut or not there, "." and ".."."""
    make_everywhere(act, "mkdir", 0o755)
    act.mkdir("away/", 0o755)
    act.mkdir("ld/new", 0o755)


@case(*PLACES)
def mkfifo_errors(act: Act) -> None:
    """mkfifo(3) in the same places."""
    make_everywhere(act, "mkfifo", 0o644)
    act.mkfifo("ld/new", 0o644)
    act.mkfifo("slash/", 0o644)


@case(*PLACES)
def symlink_errors(act: Act) -> None:
    """symlink(2) in the same places."""
    for path in ELSEWHERE:
        act.symlink("somewhere", path)
    act.symlink("x", "ld/new")
    act.symlink("x", "slash/")


@case(*PLACES)
def mknod_errors(act: Act) -> None:
    """mknod(2) of a regular file in the same places."""
    make_everywhere(act, "mknod", stat.S_IFREG | 0o644)


@case(Dir("."))
def making_without_permission(act: Act) -> None:
    """In a directory that belongs to somebody else."""
    act.mkdir("d", 0o755)
    act.mkfifo("p", 0o644)
    act.mknod("f", stat.S_IFREG | 0o644)
    act.symlink("x", "l")
    act.call("bind", lambda: socket.socket(socket.AF_UNIX).bind("s"))


@case(each=ALL_RULES)
def mknod_types(act: Act) -> None:
    """mknod(2): files, FIFOs and sockets by anyone, devices by root, directories by nobody; type 0 is a file."""
    types = (stat.S_IFREG, 0, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFDIR, stat.S_IFLNK)
    for number, kind in enumerate((*types, 0o150000)):
        for mode in (0o644, 0o6777):
            name = f"{number}-{mode:o}{act.x}"
            with act.times("."):
                act.mknod(name, kind | mode, os.makedev(1, 3) if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0)
            act.stat(name)
    act.umask(0o077)
    act.mknod("private" + act.x, stat.S_IFREG | 0o666)
    act.mknod("whiteout" + act.x, stat.S_IFCHR, 0)
    fd = act.open("private" + act.x, os.O_WRONLY)
    act.write(fd, b"a\n")


@case()
def device_numbers(act: Act) -> None:
    """Large device numbers keep their value."""
    for number, (major, minor) in enumerate(((1, 3), (255, 255), (259, 70_000), (4095, 1_048_575), (0, 0))):
        act.mknod(f"c{number}", stat.S_IFCHR | 0o600, os.makedev(major, minor))
        act.mknod(f"b{number}", stat.S_IFBLK | 0o600, os.makedev(major, minor))
        act.stat(f"c{number}")


@case(Dir("sgid", 0o2777, gid=STAFF), Dir("sticky", 0o3777, OTHER))
def directories_in_setgid_directories(act: Act) -> None:
    """A directory in a setgid directory has its group, and the setgid bit itself."""
    for folder in ("sgid", "sticky"):
        act.mkdir(f"{folder}/a", 0o755)
        act.mkdir(f"{folder}/a/b", 0o700)
        act.umask(0o077)
        act.mkdir(f"{folder}/c", 0o777)
        act.stat(f"{folder}/a")
        act.stat(f"{folder}/a/b")


@case(Dir("d", 0o777), people=(ROOT, OTHER))
def sockets(act: Act) -> None:
    """bind(2) makes a socket with mode 0777 less the umask; a connection works; a second bind is EADDRINUSE."""
    server = socket.socket(socket.AF_UNIX)
    with act.times("."):
        act.call("bind", server.bind, "s")
    act.stat("s")
    act.umask(0o077)
    act.call("bind in d", socket.socket(socket.AF_UNIX).bind, "d/s")
    act.call("bind again", socket.socket(socket.AF_UNIX).bind, "s")
    act.call("connect, nobody listens", socket.socket(socket.AF_UNIX).connect, "s")
    server.listen(1)
    client = socket.socket(socket.AF_UNIX)
    act.call("connect", client.connect, "s")
    act.call("send", client.send, b"text")
    act.rename("s", "t")
    second = socket.socket(socket.AF_UNIX)
    act.call("connect to the new name", second.connect, "t")
    act.unlink("t")
    act.call("connect to nothing", socket.socket(socket.AF_UNIX).connect, "t")


@case(Fifo("p", 0o666), people=(ROOT, OTHER), differs=[differs(FIFO_TIMES, "stat('p') mtime")])
def fifos(act: Act) -> None:
    """A FIFO carries bytes; writing and reading change its times; truncating and seeking are refused."""
    reader = act.open("p", os.O_RDONLY | os.O_NONBLOCK)
    writer = act.open("p", os.O_WRONLY | os.O_NONBLOCK)
    act.write(writer, b"through")
    act.read(reader, 100)
    act.lseek(writer, 0, os.SEEK_SET)
    act.ftruncate(writer, 0)
    act.truncate("p", 0)
    act.fsync(writer)
    act.fchmod(writer, 0o600)
    act.stat("p")
    act.unlink("p")
    act.write(writer, b"still")
    act.read(reader, 100)
    act.close(reader)
    act.call("nobody reads", lambda: os.write(writer, b"x"))
