"""read(2), write(2) and their vector and positioned forms: values, positions, limits, bad arguments."""

from __future__ import annotations

import mmap
import os
import resource
import signal

from tests.conformance import raw
from tests.conformance.acting import Act
from tests.conformance.case import ALL_RULES, PROTECTED, case, differs
from tests.conformance.named import KILLED_WRITER, NO_ALIGNMENT, NO_NOWAIT, NO_SIZE_LIMIT
from tests.conformance.people import OTHER, ROOT

BOTH = (ROOT, OTHER)
APPEND = os.O_WRONLY | os.O_APPEND
HOW = {
    "read": os.O_RDONLY,
    "write": os.O_WRONLY,
    "both": os.O_RDWR,
    "truncate": os.O_RDWR | os.O_TRUNC,
    "write truncate": os.O_WRONLY | os.O_TRUNC,
    "read truncate": os.O_RDONLY | os.O_TRUNC,
    "append": APPEND,
    "both append": os.O_RDWR | os.O_APPEND,
    "append truncate": APPEND | os.O_TRUNC,
    "read append": os.O_RDONLY | os.O_APPEND,
    "access mode 3": 3,
    "sync": os.O_RDWR | os.O_SYNC,
    "dsync": os.O_RDWR | os.O_DSYNC,
    "path": os.O_PATH,
    "noatime": os.O_RDONLY | os.O_NOATIME,
    "nonblock": os.O_RDWR | os.O_NONBLOCK,
    "async": os.O_RDWR | os.O_ASYNC,
    "create both": os.O_RDWR | os.O_CREAT,
    "create read": os.O_RDONLY | os.O_CREAT,
}


def everything(act: Act, how: str, flags: int) -> None:
    """All simple calls on one descriptor."""
    act.note("opened for", how)
    fd = act.open(act.x, flags, 0o644)
    if fd < 0:
        return
    act.call("F_GETFL", lambda: raw.getfl(fd))
    act.read(fd, 4)
    act.lseek(fd, 0, os.SEEK_CUR)
    act.write(fd, b"WW\n")
    act.lseek(fd, 0, os.SEEK_CUR)
    act.pread(fd, 5, 2)
    act.pwrite(fd, b"P\n", 1)
    act.lseek(fd, 0, os.SEEK_END)
    act.ftruncate(fd, 20)
    act.fstat(fd)
    act.stat(act.x)
    act.fsync(fd)
    act.write(fd, b"")
    act.read(fd, 0)
    act.fchmod(fd, 0o640)
    act.close(fd)
    act.call("content", raw.content, act.x)
    act.stat(act.x)


@case(each=ALL_RULES, people=BOTH)
def every_way_to_open_a_file(act: Act) -> None:
    """The simple calls on descriptors of an existing file, opened in every way."""
    for how, flags in HOW.items():
        raw.write_file(act.x, b"0123456789abcdef\nxyz\n")
        everything(act, how, flags)


@case(each=ALL_RULES, people=BOTH)
def every_way_to_open_a_new_file(act: Act) -> None:
    """The same where nothing stands yet."""
    for how, flags in HOW.items():
        if os.path.exists(act.x):
            os.unlink(act.x)
        everything(act, how, flags)
        everything(act, how + ", created", flags | os.O_CREAT)


@case(each=ALL_RULES, people=BOTH)
def vectors(act: Act) -> None:
    """readv(2), writev(2), preadv(2), pwritev(2): empty parts, empty lists, too many parts."""
    raw.write_file(act.x, b"x" * 100)
    fd = act.open(act.x, os.O_RDWR)
    buffers = [bytearray(4), bytearray(7)]
    act.writev(fd, [b"a" * 3, b"", b"b" * 5])
    act.pwritev(fd, [b"cc", b"dd"], 50)
    act.call("preadv", os.preadv, fd, buffers, 0)
    act.note("read", b"".join(buffers))
    act.call("readv", os.readv, fd, buffers)
    act.note("read", b"".join(buffers))
    act.call("readv of nothing", os.readv, fd, [])
    act.writev(fd, [])
    act.call("writev of 1024 parts", os.writev, fd, [b"x"] * 1024)
    act.call("writev of 1025 parts", os.writev, fd, [b"x"] * 1025)
    act.lseek(fd, 0, os.SEEK_CUR)
    act.close(fd)


@case(
    each=ALL_RULES,
    people=BOTH,
    differs=[differs(NO_NOWAIT, "preadv2 NOWAIT*")],
)
def flags_of_one_call(act: Act) -> None:
    """preadv2(2), pwritev2(2): RWF_HIPRI, RWF_DSYNC, RWF_SYNC, RWF_NOWAIT, RWF_APPEND, RWF_NOAPPEND, an unknown one."""
    raw.write_file(act.x, b"0123456789" * 3)
    fd = act.open(act.x, os.O_RDWR)
    known = {name: getattr(raw, "RWF_" + name) for name in ("HIPRI", "DSYNC", "SYNC", "NOWAIT", "APPEND", "NOAPPEND")}
    for name, flag in (known | {"UNKNOWN": 1 << 20}).items():
        buffer = bytearray(50)
        act.call(f"pwritev2 {name}", os.pwritev, fd, [b"AP", b"P\n"], 2, flag)
        act.call(f"preadv2 {name}", os.preadv, fd, [buffer], 0, flag)
        act.call(f"size after {name}", raw.size, fd)
        act.lseek(fd, 0, os.SEEK_CUR)
    act.close(fd)
    act.call("content", raw.content, act.x)


@case(each=ALL_RULES, people=BOTH)
def writes_of_nothing(act: Act) -> None:
    """write(2) of 0 bytes changes neither size nor times, wherever it goes; on a directory, and read(2) of one."""
    raw.write_file(act.x)
    for flags in (os.O_RDWR, APPEND):
        fd = act.open(act.x, flags)
        with act.times(fd, act.x):
            act.write(fd, b"")
            act.pwrite(fd, b"", 100)
            act.writev(fd, [b"", b""])
            act.call("write from nowhere", raw.write_from, fd, 0, 0)
            act.call("write from a bad address", raw.write_from, fd, 1, 0)
        act.fstat(fd)
        act.close(fd)
    fd = act.open(".", os.O_RDONLY)
    act.write(fd, b"")
    act.read(fd, 0)


@case(each=ALL_RULES, people=BOTH)
def bad_addresses(act: Act) -> None:
    """EFAULT, and what is done where only the first bytes of the buffer can be reached."""
    raw.write_file(act.x, b"0123456789\n" * 2000)
    memory = raw.Memory()
    fd = act.open(act.x, os.O_RDWR)
    for name, call, more in (
        ("read", raw.read_to, ()),
        ("write", raw.write_from, ()),
        ("pread", raw.pread_to, (3,)),
        ("pwrite", raw.pwrite_from, (3,)),
    ):
        act.call(f"{name} at 1", lambda call=call, more=more: call(fd, 1, 10, *more))
        act.call(f"{name} half", lambda call=call, more=more: call(fd, memory.edge(96), 200, *more))
        act.call(f"{name} two pages", lambda call=call, more=more: call(fd, memory.edge(4096), 8192, *more))
        act.lseek(fd, 0, os.SEEK_CUR)
    act.close(fd)
    fd = act.open(act.x, APPEND)
    act.call("append at 1", lambda: raw.write_from(fd, 1, 10))
    act.call("append half", lambda: raw.write_from(fd, memory.edge(96), 200))
    act.close(fd)
    act.call("content", raw.content, act.x)


def beyond_the_limit(act: Act) -> None:
    """Writes, truncations and allocations past RLIMIT_FSIZE, in every way to open."""
    seen: list[int] = []
    old = signal.signal(signal.SIGXFSZ, lambda *_: seen.append(1))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        for how in ("both", "append", "write truncate", "both append"):
            act.note("opened for", how)
            fd = act.open(act.x, HOW[how])
            act.lseek(fd, 0, os.SEEK_END)
            for data in (b"x" * 30, b"y" * 60, b"z"):
                act.write(fd, data)
            act.note("signals after the writes", len(seen))
            act.pwrite(fd, b"z", 200)
            act.ftruncate(fd, 200)
            act.note("signals after pwrite and ftruncate", len(seen))
            act.call("size", raw.size, fd)
            act.close(fd)
        act.truncate(act.x, 300)
        act.note("signals at the end", len(seen))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)


@case(each=ALL_RULES, people=BOTH)
def resource_limit(act: Act) -> None:
    """RLIMIT_FSIZE: a short write up to it, then EFBIG with SIGXFSZ (setrlimit(2))."""
    raw.write_file(act.x, b"0" * 50)
    beyond_the_limit(act)
    act.call("content", raw.content, act.x)


@case(each=ALL_RULES, people=BOTH, differs=[differs(KILLED_WRITER, "content*", "*: x content", rules=[PROTECTED])])
def killed_by_the_limit(act: Act) -> None:
    """SIGXFSZ ends a process that does not expect it, in the middle of its writes."""
    raw.write_file(act.x, b"0" * 50)

    def run_into_it() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        fd = os.open(act.x, os.O_RDWR)
        os.write(fd, b"half")
        os.pwrite(fd, b"z", 200)

    act.call("a child", raw.in_child, run_into_it)
    act.call("content", raw.content, act.x)


@case(each=ALL_RULES, people=BOTH)
def past_four_gigabytes(act: Act) -> None:
    """Offsets and sizes that need more than 32 bits, in new files, old ones, and by appending."""
    gib = 1 << 30
    for there in (False, True):
        if there:
            raw.write_file(act.x, b"begin")
        fd = act.open(act.x, os.O_RDWR | os.O_CREAT)
        for offset in (4 * gib - 2, 4 * gib, 9 * gib + 5, 1 << 43):
            act.pwrite(fd, b"ABCDE", offset)
            act.pread(fd, 20, offset - 3)
            act.lseek(fd, offset + 2, os.SEEK_SET)
            act.read(fd, 9)
            act.lseek(fd, 0, os.SEEK_CUR)
            act.lseek(fd, 0, os.SEEK_END)
            act.fstat(fd)
        act.close(fd)
        fd = act.open(act.x, os.O_RDWR)
        act.pread(fd, 9, 4 * gib - 2)
        act.pwrite(fd, b"zz", 5 * gib)
        act.close(fd)
        fd = act.open(act.x, APPEND)
        act.write(fd, b"zz\n")
        act.lseek(fd, 0, os.SEEK_CUR)
        act.close(fd)
        act.stat(act.x)
        act.truncate(act.x, 5 * gib + 1)
        act.stat(act.x)
        act.unlink(act.x)


@case(each=ALL_RULES, people=BOTH)
def negative_offsets(act: Act) -> None:
    """EINVAL for negative offsets and sizes, EOVERFLOW never."""
    raw.write_file(act.x, b"begin")
    for flags in (os.O_RDONLY, os.O_RDWR, APPEND):
        fd = act.open(act.x, flags)
        for offset in (-1, -5, -(1 << 62)):
            act.pread(fd, 2, offset)
            act.pwrite(fd, b"AB", offset)
            act.lseek(fd, offset, os.SEEK_SET)
            act.lseek(fd, offset, os.SEEK_CUR)
            act.lseek(fd, 3, os.SEEK_SET)
            act.ftruncate(fd, offset)
            act.truncate(act.x, offset)
        act.lseek(fd, -3, os.SEEK_END)
        act.lseek(fd, -1, os.SEEK_CUR)
        act.lseek(fd, 0, 99)
        act.close(fd)


@case(
    each=ALL_RULES,
    people=BOTH,
    differs=[differs(NO_SIZE_LIMIT, "seek *")],
)
def the_largest_file(act: Act) -> None:
    """At the limit for a file's size: a short write, then EFBIG, and neither spoils what else is written."""
    raw.write_file(act.x, b"begin")
    limit = os.sysconf("SC_PAGESIZE") * 0xFFFFFFFF  # of ext4 with blocks of one page; elsewhere it is larger
    fd = act.open(act.x, os.O_RDWR)
    for offset in ((1 << 63) - 1, (1 << 63) - 4096, 1 << 62, 1 << 50):
        act.pwrite(fd, b"AB", offset)
        act.ftruncate(fd, offset)
        act.call(f"seek {offset:#x}", os.lseek, fd, offset, os.SEEK_SET)
        act.call("size", raw.size, fd)
    act.call("write at the limit", os.pwrite, fd, b"AB", limit)
    act.call("write over the limit", os.pwrite, fd, b"AB", limit - 1)
    act.ftruncate(fd, 5)
    act.pwrite(fd, b"again", 2)
    act.close(fd)
    act.call("truncate too far", os.truncate, act.x, 1 << 50)
    act.call("content", raw.content, act.x)


@case(each=ALL_RULES, people=BOTH)
def past_the_end(act: Act) -> None:
    """read(2) at and past the end gives nothing; a write past it leaves zeros."""
    raw.write_file(act.x, b"0123456789")
    for flags in (os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_APPEND):
        fd = act.open(act.x, flags)
        act.read(fd, 100)
        act.read(fd, 100)
        for offset in (8, 10, 11, 5000):
            act.pread(fd, 5, offset)
        act.lseek(fd, 100, os.SEEK_SET)
        act.read(fd, 1)
        act.write(fd, b"Z")
        act.pread(fd, 200, 0)
        act.fstat(fd)
        act.close(fd)


@case(each=ALL_RULES, people=BOTH)
def aligned_direct_io(act: Act) -> None:
    """O_DIRECT, by blocks: on new and old content, appending, at the end."""
    memory = mmap.mmap(-1, 2 * raw.PAGE)
    for flags in (os.O_RDWR, APPEND, os.O_WRONLY | os.O_TRUNC):
        raw.write_file(act.x, raw.pattern(4 * raw.PAGE))
        fd = act.open(act.x, flags | os.O_DIRECT)
        memory[:] = b"D" * len(memory)
        act.call("write", os.writev, fd, [memory])
        act.lseek(fd, 0, os.SEEK_CUR)
        act.call("pwrite", os.pwritev, fd, [memory], 8 * raw.PAGE)
        act.call("read", os.preadv, fd, [memory], raw.PAGE)
        act.note("read", raw.digest(memory[:]))
        act.call("read at the end", os.preadv, fd, [memory], 8 * raw.PAGE)
        act.call("size", raw.size, fd)
        act.close(fd)
        act.call("content", raw.content, act.x)


@case(each=ALL_RULES, people=BOTH, differs=[differs(NO_ALIGNMENT, "unaligned*")])
def unaligned_direct_io(act: Act) -> None:
    """O_DIRECT of a few bytes."""
    raw.write_file(act.x, raw.pattern(5000))
    fd = act.open(act.x, os.O_RDONLY | os.O_DIRECT)
    act.call("unaligned read", lambda: os.pread(fd, 10, 5))


@case(people=BOTH)
def calls_on_a_directory(act: Act) -> None:
    """EISDIR, EINVAL and EBADF of reads, writes and what else asks for a file."""
    os.mkdir("d")
    for flags in (
        os.O_WRONLY,
        os.O_RDWR,
        os.O_RDONLY | os.O_TRUNC,
        os.O_RDONLY | os.O_CREAT,
        os.O_RDONLY | os.O_DIRECT,
    ):
        act.open("d", flags)
    for flags in (os.O_RDONLY, os.O_PATH):
        fd = act.open("d", flags)
        act.read(fd, 5)
        act.write(fd, b"x")
        act.pread(fd, 5, 0)
        act.pwrite(fd, b"x", 0)
        act.ftruncate(fd, 0)
        act.call("fallocate", raw.fallocate, fd, 0, 0, 10)
        act.call("copy_file_range", os.copy_file_range, fd, fd, 10)
        act.call("sendfile", os.sendfile, fd, fd, 0, 10)
        act.call("map", raw.mapped_once, fd, raw.PAGE, raw.READ, raw.MAP_SHARED)
        act.call("readahead", raw.call, "readahead", fd, 0, 100)
        act.posix_fadvise(fd, 0, 0, os.POSIX_FADV_WILLNEED)
        act.fsync(fd)
        act.fdatasync(fd)
        act.close(fd)
    act.truncate("d", 0)
    act.truncate("d", -1)


@case(each=ALL_RULES, people=BOTH)
def wrong_descriptors(act: Act) -> None:
    """EBADF and EINVAL of calls on descriptors that were opened for something else, and on O_PATH."""
    raw.write_file(act.x, b"0123456789")
    for flags in (os.O_RDONLY, os.O_WRONLY, APPEND, os.O_PATH):
        fd = act.open(act.x, flags)
        act.read(fd, 5)
        act.pread(fd, 5, 0)
        if flags == os.O_RDONLY or flags == os.O_PATH:
            act.write(fd, b"x")
            act.pwrite(fd, b"x", 0)
            act.ftruncate(fd, 5)
            act.ftruncate(fd, -5)
            act.call("fallocate", raw.fallocate, fd, 0, 0, 10)
        act.call("copy_file_range", os.copy_file_range, fd, fd, 2, 0, 50)
        act.call("sendfile", os.sendfile, fd, fd, 0, 2)
        act.lseek(fd, 3, os.SEEK_SET)
        act.fchmod(fd, 0o600)
        act.fchown(fd, -1, -1)
        act.utime(fd, (5, 5))
        act.call("readahead", raw.call, "readahead", fd, 0, 100)
        act.fstat(fd)
        act.close(fd)
