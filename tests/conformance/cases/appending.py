"""O_APPEND: set at open, set and cleared later, beside positioned writes, other descriptors and mappings (A)."""

from __future__ import annotations

import fcntl
import os
import subprocess

from tests.conformance import raw
from tests.conformance.acting import Act
from tests.conformance.case import ALL_RULES, LIVE, PROTECTED, SHARED, case, differs
from tests.conformance.named import APPENDER_HAS_NO_PAGES, HELD_TAIL, NO_FALLOCATE, NO_IOCTL, RWF_NOAPPEND_APPENDS
from tests.conformance.people import OTHER, ROOT

BOTH = (ROOT, OTHER)
APPEND = os.O_RDWR | os.O_APPEND


def look(act: Act, fd: int) -> None:
    """Position, size and content."""
    act.lseek(fd, 0, os.SEEK_CUR)
    act.call("size", raw.size, fd)
    act.call("all", lambda: os.pread(fd, 5000, 0))


@case(each=ALL_RULES, people=BOTH)
def appends_go_to_the_end(act: Act) -> None:
    """Wherever lseek(2) or pwrite(2) points; the position is behind what was written; unfinished lines show at once."""
    raw.write_file(act.x, b"first\n")
    fd = act.open(act.x, APPEND)
    look(act, fd)
    for data in (b"whole line\n", b"half ", b"a line\nand more", b" of it", b"\n", b"\0binary", b""):
        act.lseek(fd, 2, os.SEEK_SET)
        act.write(fd, data)
        look(act, fd)
    act.writev(fd, [b"aaa", b"", b"bbb\n"])
    act.pwritev(fd, [b"cc", b"dd\n"], 0)
    act.pwrite(fd, b"far\n", 5000)
    look(act, fd)
    act.ftruncate(fd, 4)
    act.write(fd, b"after the cut\n")
    look(act, fd)
    act.close(fd)
    act.call("content", raw.content, act.x)


@case(each=ALL_RULES, people=BOTH, differs=[differs(RWF_NOAPPEND_APPENDS, "all after NOAPPEND*")])
def flags_of_one_append(act: Act) -> None:
    """pwritev2(2) on a descriptor with O_APPEND."""
    raw.write_file(act.x, b"first\n")
    for name in ("APPEND", "DSYNC", "SYNC", "NOWAIT", "HIPRI", "NOAPPEND"):
        fd = act.open(act.x, APPEND)
        act.call(f"pwritev2 {name}", os.pwritev, fd, [b"AP", b"P\n"], 2, getattr(raw, "RWF_" + name))
        act.call(f"all after {name}", lambda fd=fd: os.pread(fd, 500, 0))
        act.close(fd)
    os.unlink(act.x)  # it differs


@case(each=ALL_RULES, people=BOTH)
def append_set_later(act: Act) -> None:
    """fcntl(2) F_SETFL with O_APPEND on a descriptor opened without, and back."""
    for new in (False, True):
        if new:
            act.unlink(act.x)
        else:
            raw.write_file(act.x, b"0123456789\n")
        fd = act.open(act.x, os.O_RDWR | os.O_CREAT)
        act.write(fd, b"ab\n")
        act.call("set", raw.setfl, fd, os.O_APPEND)
        act.lseek(fd, 1, os.SEEK_SET)
        act.write(fd, b"cd")
        look(act, fd)
        act.pwrite(fd, b"PW", 0)
        look(act, fd)
        act.call("clear", raw.setfl, fd, 0)
        act.lseek(fd, 1, os.SEEK_SET)
        act.write(fd, b"!!")
        act.pwrite(fd, b"??", 5)
        look(act, fd)
        act.close(fd)
        act.call("content", raw.content, act.x)


@case(each=ALL_RULES, people=BOTH)
def append_cleared_later(act: Act) -> None:
    """F_SETFL that takes O_APPEND back: writes go where they are told, also past the end; and set again."""
    for new in (False, True):
        if new:
            act.unlink(act.x)
        else:
            raw.write_file(act.x, b"0123456789\n")
        fd = act.open(act.x, APPEND | os.O_CREAT)
        act.write(fd, b"ab\ntail")
        act.call("clear", raw.setfl, fd, 0)
        act.lseek(fd, 1, os.SEEK_SET)
        act.write(fd, b"cd")
        look(act, fd)
        act.pwrite(fd, b"PW\n", 4)
        act.fsync(fd)
        look(act, fd)
        act.pwrite(fd, b"far", 30)
        look(act, fd)
        act.lseek(fd, 0, os.SEEK_END)
        act.write(fd, b"at the end")
        look(act, fd)
        act.call("set", raw.setfl, fd, os.O_APPEND)
        act.lseek(fd, 0, os.SEEK_SET)
        act.write(fd, b"!!\n")
        look(act, fd)
        act.close(fd)
        act.call("content", raw.content, act.x)


@case(each=ALL_RULES, people=BOTH)
def append_cleared_on_a_removed_file(act: Act) -> None:
    """The same when the file has lost its name."""
    raw.write_file(act.x, b"0123456789\n")
    fd = act.open(act.x, APPEND)
    act.write(fd, b"ab\n")
    act.unlink(act.x)
    act.write(fd, b"cd\n")
    act.call("clear", raw.setfl, fd, 0)
    act.pwrite(fd, b"PW", 4)
    look(act, fd)
    act.ftruncate(fd, 6)
    look(act, fd)
    act.close(fd)


@case(each=ALL_RULES, people=BOTH, differs=[differs(APPENDER_HAS_NO_PAGES, "shared *", rules=[PROTECTED, LIVE])])
def mapping_of_an_append_descriptor(act: Act) -> None:
    """mmap(2) of a descriptor with O_APPEND: what is written to it stays in its place."""
    raw.write_file(act.x, b"0123456789\n" + bytes(5000))
    fd = act.open(act.x, APPEND)
    act.call("private map", raw.mapped_once, fd, 11, raw.READ | raw.WRITE, raw.MAP_PRIVATE)
    act.call("shared map to read", raw.mapped_once, fd, 11, raw.READ, raw.MAP_SHARED)

    def write_to_it() -> bytes:
        mapping = raw.Map(fd, 5000)
        mapping.put(b"MAP", 2)
        os.write(fd, b"appended\n")
        mapping.put(b"PAGE", 4200)
        mapping.close()
        os.fsync(fd)
        return os.pread(fd, 8000, 0)

    act.call("shared map to write", write_to_it)
    os.unlink(act.x)  # it differs
    act.close(fd)


@case(each=ALL_RULES, people=BOTH, differs=[differs(HELD_TAIL, "seen by another: half*", rules=[PROTECTED, LIVE])])
def two_descriptors_of_one_process(act: Act) -> None:
    """What one appends the other reads; dup(2) shares position and end."""
    raw.write_file(act.x, b"first\n")
    one = act.open(act.x, APPEND)
    other = act.open(act.x, APPEND)
    reader = act.open(act.x, os.O_RDONLY)
    act.write(one, b"one\n")
    act.write(other, b"other\n")
    look(act, one)
    act.call("seen by another", lambda: os.pread(reader, 500, 0))
    double = act.dup(one)
    act.write(double, b"by the double\n")
    act.close(one)
    act.write(double, b"half")
    act.call("seen by another: half", lambda: os.pread(reader, 500, 0))
    act.close(double)
    act.call("seen by another", lambda: os.pread(reader, 500, 0))
    look(act, other)
    act.close(other)


@case(each=ALL_RULES, people=BOTH)
def appenders_beside_a_writer(act: Act) -> None:
    """In one family: a writer that truncates or edits, with and without O_APPEND set later (as make does), and
    appenders opened before or after it, of its own process and of a child (A6)."""
    flags = {"truncate": os.O_WRONLY | os.O_TRUNC, "append": APPEND | os.O_TRUNC, "edit": os.O_RDWR}
    for how, setting in ((how, setting) for how in flags for setting in (False, True)):
        for first in (True, False):
            act.note("writer", f"{how}, O_APPEND set later: {setting}, opened first: {first}")
            raw.write_file(act.x, b"start\n")
            early = -1 if first else act.open(act.x, os.O_WRONLY | os.O_APPEND)
            if early >= 0:
                act.write(early, b"before\n")
            writer = act.open(act.x, flags[how])
            if setting:
                raw.setfl(writer, os.O_APPEND)
            appender = early if early >= 0 else act.open(act.x, os.O_WRONLY | os.O_APPEND)
            act.write(writer, b"one\n")
            act.write(appender, b"two\n")
            act.write(writer, b"three\n")
            act.write(appender, b"four\n")
            act.call("child", subprocess.call, ["sh", "-c", f"echo five >> {act.x}"])
            act.call("content meanwhile", raw.content, act.x)
            act.write(writer, b"six\n")
            act.write(appender, b"seven\n")
            act.close(writer)
            act.write(appender, b"eight\n")
            act.close(appender)
            act.call("content", raw.content, act.x)


@case(each=ALL_RULES, people=BOTH)
def a_writer_after_appenders(act: Act) -> None:
    """O_APPEND set on a writer's descriptor when appenders have just made the file longer, or shorter."""
    raw.write_file(act.x, b"start\n")
    for size in (None, 3, 100):
        act.stat(act.x)
        appender = act.open(act.x, APPEND)
        act.write(appender, b"by the appender\n")
        if size is None:
            act.close(appender)
        writer = act.open(act.x, os.O_RDWR)
        raw.setfl(writer, os.O_APPEND)
        act.write(writer, b"one\n")
        if size is not None:
            act.ftruncate(appender, size)
            act.write(writer, b"two\n")
            act.write(appender, b"by the appender again\n")
            act.close(appender)
        act.write(writer, b"three\n")
        act.lseek(writer, 2, os.SEEK_SET)
        raw.setfl(writer, 0)
        act.write(writer, b"!!")
        act.close(writer)
        act.call("content", raw.content, act.x)


@case(each=ALL_RULES, people=BOTH)
def an_appender_reads_what_the_writer_writes(act: Act) -> None:
    """In one family: a descriptor opened to append reads, and measures, the file as it is while it is rewritten."""
    for flags in (os.O_RDWR, os.O_RDWR | os.O_TRUNC):
        raw.write_file(act.x, b"start\n")
        appender = act.open(act.x, APPEND)
        act.write(appender, b"appended\n")
        writer = act.open(act.x, flags)
        look(act, appender)
        act.write(writer, b"WRITTEN\n")
        look(act, appender)
        act.ftruncate(writer, 4)
        look(act, appender)
        act.close(writer)
        look(act, appender)
        act.close(appender)


@case(each=ALL_RULES, people=BOTH)
def append_cleared_on_one_of_several(act: Act) -> None:
    """One descriptor of a process has lost O_APPEND, another one of the same file keeps it."""
    raw.write_file(act.x, b"0123456789\n")
    one, other = act.open(act.x, APPEND), act.open(act.x, APPEND)
    act.write(other, b"other\n")
    raw.setfl(one, 0)
    for offset in (3, 40, 0):
        act.pwrite(one, b"ONE\n", offset)
        act.write(other, b"other again\n")
        look(act, one)
    act.ftruncate(other, 15)
    act.pwrite(one, b"TWO\n", 5)
    act.write(other, b"the end\n")
    act.close(one)
    act.close(other)
    act.call("content", raw.content, act.x)


@case(each=ALL_RULES, people=BOTH)
def appends_by_children(act: Act) -> None:
    """Shell redirections with >> inside one with >, and inside one with >>; /dev/stdout."""
    for script in (
        "(echo one; echo two >> {x}; echo three) >> {x}",
        "(echo one; echo two > /dev/stdout; echo three) >> {x}",
        "(echo one; echo two >> /dev/stdout; echo three) >> {x}",
        "(echo one; echo two | tee -a {x} > /dev/null; printf three) >> {x}; echo four >> {x}",
        "exec 3>> {x}; echo one >&3; (echo two >&3); echo three >> {x}; echo four >&3",
    ):
        act.call("script", subprocess.call, ["sh", "-c", script.replace("{x}", act.x)])
        act.call("content", raw.content, act.x)


@case(
    each=ALL_RULES,
    people=BOTH,
    differs=[
        differs(NO_IOCTL, "* flags of the file*", "* extents*"),
        differs(NO_FALLOCATE, "append posix_fallocate*"),
    ],
)
def other_calls_on_each_kind_of_descriptor(act: Act) -> None:
    """F_SETFL of other flags, FIONREAD, ioctls of files, posix_fallocate(3), for readers, writers and appenders."""
    for how, flags in {"read": os.O_RDONLY, "write": os.O_RDWR, "append": APPEND}.items():
        raw.write_file(act.x, b"0123456789\n")
        fd = act.open(act.x, flags)
        for flag in (os.O_NONBLOCK, os.O_NOATIME, os.O_ASYNC, os.O_SYNC, os.O_RDWR, os.O_TRUNC, os.O_DIRECT, 0):
            act.call(f"{how} F_SETFL {flag:o}", raw.setfl, fd, flag | (flags & os.O_APPEND))
        act.lseek(fd, 4, os.SEEK_SET)
        act.call("bytes to read", fcntl.ioctl, fd, raw.FIONREAD, bytes(4))
        act.call("terminal", fcntl.ioctl, fd, 0x5401, bytes(60))
        act.call(f"{how} flags of the file", fcntl.ioctl, fd, raw.FS_IOC_GETFLAGS, bytes(8))
        act.call(f"{how} extents", lambda fd=fd: len(fcntl.ioctl(fd, 0xC020660B, bytes(8) + b"\xff" * 4 + bytes(20))))
        if how != "read":
            act.call(f"{how} posix_fallocate", os.posix_fallocate, fd, 0, 20)
        act.call("FD_CLOEXEC", fcntl.fcntl, fd, fcntl.F_GETFD)
        act.close(fd)
    os.unlink(act.x)


@case(each=(SHARED,), people=BOTH)
def appends_to_a_shared_file(act: Act) -> None:
    """Several descriptors with O_APPEND, a positioned one, and truncation."""
    raw.write_file(act.x, b"first\n")
    fds = [act.open(act.x, flags) for flags in (APPEND, APPEND, os.O_RDWR, os.O_WRONLY | os.O_APPEND)]
    for turn in range(3):
        for number, fd in enumerate(fds):
            act.write(fd, f"{turn} {number} ".encode())
        act.ftruncate(fds[turn], 20 - turn)
        look(act, fds[2])
    for fd in fds:
        act.close(fd)
