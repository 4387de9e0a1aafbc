"""What else a write changes, and must not: times, set-id bits, attributes of open files; statvfs(3)."""

from __future__ import annotations

import os
import subprocess
import time
from functools import partial

from tests.conformance import raw
from tests.conformance.acting import Act
from tests.conformance.calls import AT_FDCWD, UTIME_OMIT, utimensat
from tests.conformance.case import ALL_RULES, PROTECTED, case, differs
from tests.conformance.entries import OLD_NS, File
from tests.conformance.named import COMMIT_IS_A_RENAME, SETGID_WITHOUT_EXECUTE
from tests.conformance.people import OTHER, OWNER, ROOT

BOTH = (ROOT, OTHER)
APPEND = os.O_WRONLY | os.O_APPEND
HOW = {"edit": os.O_RDWR, "write": os.O_WRONLY, "append": APPEND, "both append": os.O_RDWR | os.O_APPEND}
A_TIME = 1_234_567_890_123_456_789


def make_old(path: str, data: bytes = b"0123456789\n") -> None:
    """A file whose times a change shows on."""
    raw.write_file(path, data)
    os.utime(path, ns=(OLD_NS, OLD_NS))


@case(
    each=ALL_RULES,
    people=BOTH,
    differs=[differs(COMMIT_IS_A_RENAME, "times #5*", "times #11*", rules=[PROTECTED])],
)
def times_of_writers(act: Act) -> None:
    """Which times change with open, write, fsync and close of a writer, seen by itself."""
    for flags in HOW.values():
        make_old(act.x)
        with act.times(act.x):
            fd = act.open(act.x, flags)
        with act.times(act.x, fd):
            act.write(fd, b"x\n")
        with act.times(act.x, fd):
            act.write(fd, b"y\n")
        with act.times(act.x, fd):
            act.fsync(fd)
        with act.times(act.x):
            act.close(fd)
        with act.times(act.x):
            act.close(act.open(act.x, flags))


@case(each=ALL_RULES, people=BOTH)
def times_of_truncation(act: Act) -> None:
    """ftruncate(2) and truncate(2), to the same size too; O_TRUNC of a file that is empty already."""
    for flags in HOW.values():
        make_old(act.x)
        fd = act.open(act.x, flags)
        for size in (11, 8, 100, 100):
            with act.times(act.x, fd):
                act.ftruncate(fd, size)
        act.close(fd)
    for size in (100, 50):
        os.utime(act.x, ns=(OLD_NS, OLD_NS))
        with act.times(act.x):
            act.truncate(act.x, size)
    for _ in range(2):
        os.utime(act.x, ns=(OLD_NS, OLD_NS))
        with act.times(act.x):
            act.close(act.open(act.x, os.O_WRONLY | os.O_TRUNC))


@case(each=ALL_RULES, people=BOTH)
def times_of_readers(act: Act) -> None:
    """The access time: renewed by the first read, not by a second, not with O_NOATIME, not by an open."""
    make_old(act.x, raw.pattern(5000))
    with act.times(act.x):
        fd = act.open(act.x, os.O_RDONLY | os.O_NOATIME)
        act.call("read", lambda: len(os.read(fd, 10)))
    with act.times(act.x):
        act.close(fd)
        fd = act.open(act.x, os.O_RDONLY)
    make_old(act.y, raw.pattern(5000))
    with act.times(act.y):
        fd = act.open(act.y, os.O_RDONLY)
        act.call("read", lambda: len(os.read(fd, 10)))
    with act.times(act.y):
        act.call("read again", lambda: len(os.read(fd, 10)))
    with act.times(act.x):
        act.close(act.open(act.x, os.O_WRONLY))
        act.close(act.open(act.x, os.O_RDWR | os.O_CREAT))
    with act.times(act.x):
        act.stat(act.x)
        act.call("access", partial(os.access, act.x, os.R_OK))


@case(each=ALL_RULES, people=BOTH)
def times_of_new_files(act: Act) -> None:
    """All three are those of the making, however it was made, and of an emptied file's change."""
    for number, flags in enumerate((os.O_RDWR, os.O_WRONLY | os.O_TRUNC, APPEND, os.O_WRONLY | os.O_EXCL)):
        began_ns = time.clock_gettime_ns(5)
        path = f"{number}{act.x}"
        fd = act.open(path, flags | os.O_CREAT, 0o644)
        for status in (os.fstat(fd), os.stat(path)):
            stamps = (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns)
            act.note("new", [stamp >= began_ns for stamp in stamps])
        act.close(fd)
        status = os.stat(path)
        act.note("closed", [stamp >= began_ns for stamp in (status.st_atime_ns, status.st_mtime_ns)])
    for command in (f"touch t{act.x}", f": > s{act.x}", f"cp 0{act.x} p{act.x}"):
        began_ns = time.clock_gettime_ns(5)
        act.call("command", partial(subprocess.call, ["sh", "-c", command]))
        status = os.stat(command.split()[-1])
        act.note("made", [status.st_mtime_ns >= began_ns, status.st_ctime_ns >= began_ns])


@case(each=ALL_RULES, people=BOTH)
def times_set_while_a_file_is_open(act: Act) -> None:
    """futimens(3), utimensat(2) by path, writes, truncation and fsync in all orders: the last one decides."""
    orders = ("uw", "wu", "wuw", "u", "pw", "wp", "wuf", "wut", "tu", "wuc", "wof", "ow")
    ways = (os.O_RDWR, APPEND)
    for new, flags, order in ((new, flags, order) for new in (0, 1) for flags in ways for order in orders):
        if new:
            if os.path.exists(act.x):
                os.unlink(act.x)
        else:
            make_old(act.x)
        fd = os.open(act.x, flags | os.O_CREAT, 0o644)
        for step in order:
            if step == "u":
                os.utime(fd, ns=(A_TIME, A_TIME))
            elif step == "p":
                os.utime(act.x, ns=(A_TIME, A_TIME))
            elif step == "o":
                act.call("omit", lambda: act_omit(act.x))
            elif step == "w":
                os.write(fd, b"ww\n")
            elif step == "f":
                os.fsync(fd)
            elif step == "t":
                os.ftruncate(fd, 5)
            else:
                os.fchmod(fd, 0o600)
        meanwhile = which(os.fstat(fd))
        os.close(fd)
        act.note(f"{order}, new: {new}, flags: {flags:o}", (meanwhile, which(os.stat(act.x))))


def act_omit(path: str) -> None:
    """utimensat(2) that sets the modification time only."""
    utimensat(AT_FDCWD, path, (0, UTIME_OMIT), (A_TIME // 10**9, A_TIME % 10**9))


def which(status: os.stat_result) -> tuple[str, str]:
    """Access and modification time in a word each."""
    words = {A_TIME: "set", OLD_NS: "old"}
    return words.get(status.st_atime_ns, "now"), words.get(status.st_mtime_ns, "now")


SET_ID_MODES = (0o4777, 0o2777, 0o6777, 0o4666, 0o1777, 0o7777)


def change_as_a_stranger(act: Act, path: str, how: str) -> None:
    """One kind of change."""
    if how == "truncate":
        os.truncate(path, 3)
        return
    flags = {"append": APPEND, "truncating open": os.O_WRONLY | os.O_TRUNC, "empty edit": os.O_WRONLY | os.O_TRUNC}
    fd = os.open(path, flags.get(how, os.O_RDWR))
    if how in ("edit", "append", "truncating open"):
        os.write(fd, b"x\n")
    elif how == "ftruncate":
        os.ftruncate(fd, 3)
    elif how == "nothing":
        os.write(fd, b"")
    elif how == "map":
        mapping = raw.Map(fd, 5)
        mapping.put(b"m")
        mapping.close()
    act.note("mode while open", oct(os.fstat(fd).st_mode))
    os.close(fd)


@case(
    *[File(f"{mode:o}{{x}}", mode, OWNER) for mode in SET_ID_MODES],
    each=ALL_RULES,
    people=(ROOT, OWNER, OTHER),
    differs=[differs(COMMIT_IS_A_RENAME, "tree: . mtime", rules=[PROTECTED])],
)
def set_id_bits(act: Act) -> None:
    """A write, truncation or mapping by anybody but root clears setuid, and setgid with group execute (write(2))."""
    for mode in SET_ID_MODES:
        path = f"{mode:o}{act.x}"
        for how in ("edit", "append", "truncating open", "empty edit", "truncate", "ftruncate", "nothing", "map"):
            if os.stat(path).st_uid == os.geteuid():
                os.chmod(path, mode)
            act.note("changed by", how)
            change_as_a_stranger(act, path, how)
            act.call("mode", lambda path=path: oct(os.stat(path).st_mode))


@case(
    File("2767{x}", 0o2767, OWNER),
    each=ALL_RULES,
    people=(OTHER,),
    differs=[
        differs(SETGID_WITHOUT_EXECUTE, "mode*", "tree: *mode"),
        differs(COMMIT_IS_A_RENAME, "tree: . mtime", rules=[PROTECTED]),
    ],
)
def setgid_without_group_execute(act: Act) -> None:
    """Cleared since Linux 6.2 where the writer is not of the group."""
    change_as_a_stranger(act, "2767" + act.x, "edit")
    act.call("mode", lambda: oct(os.stat("2767" + act.x).st_mode))


@case(each=ALL_RULES, people=BOTH)
def attributes_of_open_files(act: Act) -> None:
    """fchmod(2), chmod(2), fchown(2), chown(2) while a writer has it open: seen at once, kept at the close."""
    for new, flags in ((new, flags) for new in (False, True) for flags in (*HOW.values(), os.O_WRONLY | os.O_TRUNC)):
        if os.path.exists(act.x):
            os.unlink(act.x)
        if not new:
            raw.write_file(act.x)
        fd = act.open(act.x, flags | os.O_CREAT, 0o644)
        act.write(fd, b"zz\n")
        act.fchmod(fd, 0o4711)
        act.fstat(fd)
        act.stat(act.x)
        act.chmod(act.x, 0o640)
        act.fstat(fd)
        act.fchown(fd, 5, 6)
        act.chown(act.x, -1, os.getgid())
        act.fstat(fd)
        act.stat(act.x)
        act.fchmod(fd, 0o400)
        act.write(fd, b"more\n")
        act.close(fd)
        act.stat(act.x)


@case(each=ALL_RULES, people=BOTH)
def sizes_and_blocks_of_open_files(act: Act) -> None:
    """st_size and st_blocks while it grows, by descriptor and by path, and after the close."""
    for flags in (os.O_RDWR, os.O_WRONLY | os.O_TRUNC, APPEND):
        fd = act.open(act.x, flags | os.O_CREAT, 0o644)
        for _ in range(3):
            os.write(fd, raw.pattern(70_000) + b"\n")
            os.fsync(fd)
            for status in (os.fstat(fd), os.stat(act.x)):
                act.note("size and blocks", (status.st_size, status.st_blocks, status.st_blksize))
        os.ftruncate(fd, 100_000)
        os.fsync(fd)
        act.close(fd)
        status = os.stat(act.x)
        act.note("closed", (status.st_size, status.st_blocks))


@case(each=ALL_RULES, people=BOTH)
def the_filesystem_itself(act: Act) -> None:
    """statvfs(3) and fpathconf(3), of a directory, a file, a descriptor, nothing."""
    raw.write_file(act.x)
    fd = act.open(act.x, os.O_RDONLY)
    for name, where in (("directory", "."), ("file", act.x), ("descriptor", fd)):
        found = os.statvfs(where)
        fields = (found.f_bsize, found.f_frsize, found.f_namemax, found.f_blocks, found.f_files, found.f_flag & 1)
        act.note(name, fields)
    act.call("nothing", partial(os.statvfs, "nowhere"))
    for limit in ("PC_NAME_MAX", "PC_PATH_MAX", "PC_PIPE_BUF", "PC_NO_TRUNC"):
        act.call(limit, partial(os.fpathconf, fd, limit))
