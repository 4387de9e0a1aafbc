"""truncate(2), ftruncate(2), fsync(2) and its relatives, fallocate(2), holes and block counts."""

from __future__ import annotations

import os
import subprocess
from functools import partial

from tests.conformance import raw
from tests.conformance.acting import Act
from tests.conformance.case import ALL_RULES, case, differs
from tests.conformance.named import NO_FALLOCATE, NO_HOLES_TOLD
from tests.conformance.people import OTHER, ROOT

BOTH = (ROOT, OTHER)
APPEND = os.O_RDWR | os.O_APPEND
SIZES = (0, 3, 10, 11, 5000, 100_000, -1)


@case(each=ALL_RULES, people=BOTH)
def truncating_by_path(act: Act) -> None:
    """truncate(2): shorter, longer, the same size, negative; times, setuid bits, zeros behind the old end."""
    for size in SIZES:
        raw.write_file(act.x, b"0123456789", 0o6777)
        with act.times(act.x):
            act.truncate(act.x, size)
        act.stat(act.x)
        act.call("content", raw.content, act.x)


@case(each=ALL_RULES, people=BOTH)
def truncating_by_descriptor(act: Act) -> None:
    """ftruncate(2) by an editor and by an appender, with the position left where it was."""
    for how, size in ((how, size) for how in (os.O_RDWR, APPEND, os.O_WRONLY | os.O_TRUNC) for size in SIZES):
        raw.write_file(act.x, b"0123456789", 0o6777)
        fd = act.open(act.x, how)
        act.lseek(fd, 7, os.SEEK_SET)
        with act.times(fd):
            act.ftruncate(fd, size)
        act.fstat(fd)
        act.lseek(fd, 0, os.SEEK_CUR)
        act.write(fd, b"!\n")
        act.fstat(fd)
        act.close(fd)
        act.stat(act.x)
        act.call("content", raw.content, act.x)


@case(each=ALL_RULES, people=BOTH)
def truncating_what_is_no_file(act: Act) -> None:
    """ENOENT, EISDIR, EINVAL of a FIFO, through symbolic links, without the permission."""
    raw.write_file(act.x, b"0123456789")
    os.mkdir("d")
    os.mkfifo("p")
    os.symlink(act.x, "link")
    os.symlink("nowhere", "away")
    for path in ("nowhere", "", "d", "p", "link", "away", act.x + "/"):
        act.truncate(path, 2)
    os.chmod(act.x, 0o444)
    act.truncate(act.x, 1)
    act.call("content", raw.content, act.x)


@case(each=ALL_RULES, people=BOTH)
def again_and_again(act: Act) -> None:
    """Truncation between writes: zeros where the old bytes were."""
    fd = act.open(act.x, os.O_RDWR | os.O_CREAT, 0o644)
    for size, offset in ((100, 0), (5000, 200), (10, 4000), (9000, 8000), (4097, 4095), (0, 1), (3, 5)):
        act.pwrite(fd, raw.pattern(50, size), offset)
        act.ftruncate(fd, size)
        act.call("all", lambda: raw.digest(os.pread(fd, 10_000, 0)))
    act.close(fd)
    act.call("content", raw.content, act.x)


@case(each=ALL_RULES, people=BOTH)
def waiting_for_the_disk(act: Act) -> None:
    """fsync(2), fdatasync(2), sync_file_range(2), syncfs(2), sync(2) by readers, writers, appenders, on a directory."""
    raw.write_file(act.x)
    for flags in (os.O_RDONLY, os.O_RDWR, APPEND):
        fd = act.open(act.x, flags)
        act.write(fd, b"abc")
        act.fsync(fd)
        act.fdatasync(fd)
        act.call("syncfs", raw.call, "syncfs", fd)
        for flag in (0, 1, 2, 4, 7, 8):
            act.call(f"sync_file_range {flag}", partial(raw.call, "sync_file_range", fd, 0, 5, flag))
        act.call("sync_file_range from -1", partial(raw.call, "sync_file_range", fd, -1, 5, 1))
        act.call("sync_file_range of -5", partial(raw.call, "sync_file_range", fd, 0, -5, 1))
        act.close(fd)
    directory = act.open(".", os.O_RDONLY)
    act.fsync(directory)
    act.fdatasync(directory)
    act.call("syncfs", raw.call, "syncfs", directory)
    act.call("sync_file_range", partial(raw.call, "sync_file_range", directory, 0, 0, 7))
    act.sync()
    act.call("fsync of a pipe", lambda: os.fsync(os.pipe()[0]))
    act.call("content", raw.content, act.x)


@case(each=ALL_RULES, people=BOTH)
def advice(act: Act) -> None:
    """posix_fadvise(2) and readahead(2): dirty bytes stay."""
    raw.write_file(act.x, raw.pattern(10_000))
    for flags in (os.O_RDONLY, os.O_RDWR, APPEND):
        fd = act.open(act.x, flags)
        act.write(fd, b"dirty\n")
        for advise in (0, 1, 2, 3, 4, 5, 77):
            act.call(f"posix_fadvise {advise}", partial(os.posix_fadvise, fd, 0, 0, advise))
        act.posix_fadvise(fd, 0, -1, 0)
        act.call("readahead", partial(raw.call, "readahead", fd, 0, 4096))
        act.call("all", lambda fd=fd: raw.digest(os.pread(fd, 20_000, 0)))
        act.close(fd)
    act.call("content", raw.content, act.x)


@case(each=ALL_RULES, people=BOTH, differs=[differs(NO_FALLOCATE, "fallocate *")])
def allocating(act: Act) -> None:
    """fallocate(2) in all its modes, on a new file and on an old one."""
    modes = {"plain": 0, "keep": 1, "punch": 3, "zero": 16, "zero keep": 17}
    for new in (True, False):
        fd = act.open(act.x, os.O_RDWR | os.O_CREAT, 0o644)
        for name, mode in modes.items():
            act.call(f"fallocate {name}, new: {new}", partial(raw.fallocate, fd, mode, 4096, 8192))
        act.call("punch without keep", partial(raw.fallocate, fd, 2, 0, 4096))
        act.call("unknown", partial(raw.fallocate, fd, 4, 0, 4096))
        act.call("from -1", partial(raw.fallocate, fd, 0, -1, 10))
        act.call("of nothing", partial(raw.fallocate, fd, 0, 0, 0))
        os.ftruncate(fd, 0)  # they differ
        act.write(fd, b"still written\n")
        act.close(fd)
        act.call("content", raw.content, act.x)


@case(each=ALL_RULES, people=BOTH)
def allocating_by_writing(act: Act) -> None:
    """posix_fallocate(3), which writes where the filesystem cannot allocate."""
    raw.write_file(act.x, raw.pattern(100))
    for flags in (os.O_RDWR, os.O_RDWR | os.O_TRUNC):
        fd = act.open(act.x, flags)
        for offset, length in ((0, 50), (0, 50_000), (100_000, 10), (3, 0), (-1, 5)):
            act.call(f"posix_fallocate {offset} {length}", partial(os.posix_fallocate, fd, offset, length))
            act.call("size", raw.size, fd)
        act.close(fd)
        act.call("content", raw.content, act.x)
    act.call("posix_fallocate of a reader", lambda: os.posix_fallocate(os.open(act.x, os.O_RDONLY), 0, 50))


K = 1 << 16


@case(each=ALL_RULES, people=BOTH, differs=[differs(NO_HOLES_TOLD, "seek *")])
def finding_holes(act: Act) -> None:
    """lseek(2) with SEEK_DATA and SEEK_HOLE."""
    fd = act.open(act.x, os.O_RDWR | os.O_CREAT, 0o644)
    act.pwrite(fd, b"a" * 64, 4 * K)
    act.ftruncate(fd, 10 * K)
    act.close(fd)
    for flags in (os.O_RDONLY, os.O_RDWR):
        fd = act.open(act.x, flags)
        act.call("seek the first data", partial(os.lseek, fd, 0, os.SEEK_DATA))
        act.call("seek the first hole", partial(os.lseek, fd, 0, os.SEEK_HOLE))
        act.call("seek a hole after the data", partial(os.lseek, fd, 4 * K + 5, os.SEEK_HOLE))
        act.call("seek data after the last", partial(os.lseek, fd, 9 * K, os.SEEK_DATA))
        act.call("past the end", os.lseek, fd, 10 * K, os.SEEK_DATA)
        act.call("hole past the end", os.lseek, fd, 10 * K, os.SEEK_HOLE)
        act.call("before the beginning", os.lseek, fd, -1, os.SEEK_DATA)
        act.close(fd)


def blocks(act: Act, path: str | int) -> None:
    """Size and blocks."""
    status = os.stat(path)
    act.note("size and blocks", (status.st_size, status.st_blocks))


@case(each=ALL_RULES, people=BOTH)
def sparse_files(act: Act) -> None:
    """st_blocks of a file with holes, new, edited, appended to and truncated: the holes stay, also after a commit."""
    mib = 1 << 20
    act.call("truncate", subprocess.call, ["truncate", "-s", "50M", act.x])
    blocks(act, act.x)
    for flags in (os.O_RDWR, APPEND):
        fd = act.open(act.x, flags)
        act.pwrite(fd, b"x" * 4096, 20 * mib)
        os.fsync(fd)
        blocks(act, fd)
        act.close(fd)
        blocks(act, act.x)
    act.truncate(act.x, 30 * mib)
    blocks(act, act.x)
    fd = act.open(act.x, os.O_RDWR)
    act.ftruncate(fd, 70_000)
    act.write(fd, b"y" * 70_000)
    os.fsync(fd)
    blocks(act, fd)
    act.close(fd)
    blocks(act, act.x)
    act.truncate(act.x, 0)
    blocks(act, act.x)


@case(each=ALL_RULES, people=BOTH)
def copies_of_sparse_files(act: Act) -> None:
    """cp(1) with and without --sparse, dd(1) with seek and conv=sparse."""
    x = act.x
    for command in (
        f"truncate -s 9M {x} && dd if=/dev/zero of={x} bs=4096 seek=1000 count=2 conv=notrunc status=none",
        f"printf data | dd of={x} bs=4096 seek=2000 conv=notrunc status=none",
        f"cp --sparse=always {x} a{x}",
        f"cp --sparse=never {x} b{x}",
        f"dd if={x} of=c{x} bs=65536 conv=sparse status=none",
    ):
        act.call("command", subprocess.call, ["sh", "-c", command])
    for path in (x, f"a{x}", f"b{x}", f"c{x}"):
        blocks(act, path)
        os.truncate(path, 500_000)
