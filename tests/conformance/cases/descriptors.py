"""Descriptors that are shared, duplicated, passed on and opened again: dup(2), fork(2), unix(7), /proc/self/fd."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import tempfile
from functools import partial

from tests.conformance import raw
from tests.conformance.acting import Act
from tests.conformance.case import ALL_RULES, LIVE, PROTECTED, case, differs
from tests.conformance.named import HELD_TAIL, NO_TMPFILE
from tests.conformance.people import OTHER, ROOT

BOTH = (ROOT, OTHER)
APPEND = os.O_RDWR | os.O_APPEND
HOW = {"read": os.O_RDONLY, "edit": os.O_RDWR, "truncate": os.O_RDWR | os.O_TRUNC, "append": APPEND}


@case(each=ALL_RULES, people=BOTH)
def doubles_share_the_position(act: Act) -> None:
    """dup(2), F_DUPFD, dup2(2): one position, one set of flags; the last close publishes."""
    for how, flags in HOW.items():
        act.note("opened for", how)
        raw.write_file(act.x, raw.pattern(100))
        fd = act.open(act.x, flags)
        double = act.dup(fd)
        third = fcntl.fcntl(fd, fcntl.F_DUPFD, 200)
        os.dup2(fd, 210)
        act.read(double, 3)
        act.lseek(double, 5, os.SEEK_CUR)
        act.call("position", partial(os.lseek, third, 0, os.SEEK_CUR))
        act.call("flags", partial(raw.setfl, third, flags & os.O_APPEND | os.O_NONBLOCK))
        act.call("flags of the first", partial(raw.getfl, fd))
        act.close(fd)
        act.close(double)
        act.call("write", partial(os.write, third, b"more\n"))
        os.close(third)
        act.call("write to the last", partial(os.write, 210, b"last\n"))
        act.call("seen meanwhile", raw.content, act.x)
        os.close(210)
        act.call("content", raw.content, act.x)


@case(each=ALL_RULES, people=BOTH)
def children_share_the_position(act: Act) -> None:
    """fork(2): what a child writes moves the parent's position; its exit publishes nothing."""
    for how in ("edit", "truncate", "append"):
        raw.write_file(act.x, raw.pattern(100))
        fd = act.open(act.x, HOW[how])
        act.write(fd, b"parent\n")
        act.call("child", partial(raw.in_child, partial(os.write, fd, b"CHILD\n")))
        act.lseek(fd, 0, os.SEEK_CUR)
        act.write(fd, b"parent again\n")
        act.call("a child that closes", partial(raw.in_child, partial(os.close, fd)))
        act.call("a program", partial(subprocess.call, ["sh", "-c", f"echo program >&{fd}"], pass_fds=[fd]))
        act.lseek(fd, 0, os.SEEK_CUR)
        act.close(fd)
        act.call("content", raw.content, act.x)


@case(each=ALL_RULES, people=BOTH)
def descriptors_over_a_socket(act: Act) -> None:
    """SCM_RIGHTS: the receiver writes, the sender has closed; a descriptor in flight keeps the file open."""
    for how, flags in HOW.items():
        act.note("opened for", how)
        raw.write_file(act.x, raw.pattern(100))
        one, other = socket.socketpair()
        with one, other:
            fd = act.open(act.x, flags)
            socket.send_fds(one, [b"x"], [fd])
            act.close(fd)

            def receive(other: socket.socket = other) -> int:
                return os.write(socket.recv_fds(other, 10, 1)[1][0], b"FROM THE CHILD\n")

            act.call("child", partial(raw.in_child, receive))
        act.call("content", raw.content, act.x)
    one, other = socket.socketpair()
    with one, other:
        fd = act.open(act.x, os.O_RDWR)
        act.write(fd, b"IN FLIGHT")
        socket.send_fds(one, [b"x"], [fd])
        act.close(fd)
        act.call("size while it flies", lambda: os.stat(act.x).st_size)
    act.call("content", raw.content, act.x)


@case(each=ALL_RULES, people=BOTH)
def opening_again_by_number(act: Act) -> None:
    """/proc/self/fd/N opened for everything, from descriptors opened for everything, O_PATH included."""
    first = HOW | {"path": os.O_PATH}
    again = HOW | {"write": os.O_WRONLY}
    for one, two in ((one, two) for one in first for two in again):
        act.note("opened for, and again for", (one, two))
        raw.write_file(act.x, b"0123456789\n")
        fd = act.open(act.x, first[one])
        number = act.call("again", lambda fd=fd, two=two: min(os.open(f"/proc/self/fd/{fd}", again[two]), 0))
        if number is None:
            act.close(fd)
            continue
        second = max(int(name) for name in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{name}"))
        act.call("read", partial(os.read, second, 3))
        act.call("write", partial(os.write, second, b"AG\n"))
        act.call("size", partial(raw.size, second))
        act.call("size of the first", partial(raw.size, fd))
        act.call("all by the first", partial(os.pread, fd, 30, 0))
        act.call("pwrite to the first", partial(os.pwrite, fd, b"1", 0))
        os.close(second)
        act.call("write to the first", partial(os.write, fd, b"Z\n"))
        act.close(fd)
        act.call("content", raw.content, act.x)


@case(each=ALL_RULES, people=BOTH)
def changing_by_number(act: Act) -> None:
    """chmod(2), truncate(2), stat(2) through /proc/self/fd/N, of a path descriptor and of a writer's."""
    for flags in (os.O_PATH, os.O_RDWR):
        raw.write_file(act.x, b"0123456789\n")
        fd = act.open(act.x, flags)
        path = f"/proc/self/fd/{fd}"
        act.call("link", lambda path=path: os.path.basename(os.readlink(path)))
        act.call("chmod", partial(os.chmod, path, 0o600))
        act.call("truncate", partial(os.truncate, path, 4))
        act.call("utime", partial(os.utime, path, (5, 5)))
        act.call("stat", partial(os.stat, path))
        act.close(fd)
        act.call("content", raw.content, act.x)


@case(
    each=ALL_RULES,
    people=BOTH,
    differs=[differs(HELD_TAIL, "read again, append*", rules=[PROTECTED, LIVE])],
)
def opening_what_has_no_name(act: Act) -> None:
    """A file that was removed while it was open, opened again by number."""
    for how in ("edit", "truncate", "append"):
        raw.write_file(act.x, b"0123456789\n")
        fd = act.open(act.x, HOW[how])
        act.write(fd, b"q")
        act.unlink(act.x)
        act.fstat(fd)
        path = f"/proc/self/fd/{fd}"
        act.call(f"read again, {how}", lambda path=path: os.read(os.open(path, os.O_RDONLY), 30))
        act.write(fd, b"\n")
        act.call("write again", lambda path=path: os.write(os.open(path, os.O_WRONLY), b"zz"))
        act.call("all", partial(os.pread, fd, 30, 0))
        act.close(fd)
        act.stat(act.x)


@case(each=ALL_RULES, people=BOTH)
def redirections(act: Act) -> None:
    """What shells do with descriptors: >, >>, <>, 2>&1, groups, /dev/stdout, reading and writing one file."""
    for script in (
        "(echo one; echo two > /dev/stdout; echo three) > {x}",
        "(echo one; echo two | tee /dev/stderr) > {x} 2>&1",
        "echo a > {x}; cat < {x} > c; while read l; do echo $l; done < {x} > d; cat d >> {x}",
        "printf 'one\\ntwo\\n' > {x}; exec 3<> {x}; read a <&3; echo X >&3; exec 3>&-",
        "exec > {x}; echo one; exec 4>&1; echo two >&4; exec 1>&-; echo three >&4",
        "{ echo one; sleep 0; echo two; } > {x}; echo three | cat - {x} > {y}",
        ": > {x}; set -C; echo no > {x} || echo refused > {y}; echo yes >| {x}",
        "cat > {x} <<'END'\nhere\nEND",
        "(echo one; exit 3) > {x} || echo $? >> {x}",
        "rm -f {x}; (umask 077; echo private > {x})",
    ):
        text = script.replace("{x}", act.x).replace("{y}", act.y)
        act.call("script", partial(subprocess.call, ["sh", "-c", text], stderr=subprocess.DEVNULL))
        act.call("content", raw.content, act.x)


@case(people=BOTH, differs=[differs(NO_TMPFILE, "open for a file without a name*")])
def files_without_a_name(act: Act) -> None:
    """O_TMPFILE, and what programs use in its place."""
    flags = os.O_TMPFILE | os.O_RDWR
    act.call("open for a file without a name", lambda: min(os.open(".", flags, 0o600), 0))
    act.call("without the right to write", lambda: os.open(".", os.O_TMPFILE | os.O_RDONLY, 0o600))
    with tempfile.TemporaryFile(dir=".") as file:
        file.write(b"x")
        file.flush()
        act.listdir(".")
        act.note("size", raw.size(file.fileno()))
        act.note("links", os.fstat(file.fileno()).st_nlink)
    with tempfile.NamedTemporaryFile(dir=".") as named:
        named.write(b"x")
        named.flush()
        act.note("size", os.stat(named.name).st_size)
    act.listdir(".")
