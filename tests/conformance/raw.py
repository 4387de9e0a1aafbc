"""System calls on open files that Python has no way to say, for `act.call`. All raise OSError.

A bad address, a mapping without a descriptor of its own, a mode of fallocate(2): made with ctypes. Numbers are those of
Linux on 64-bit machines.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import signal
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

PAGE = mmap.PAGESIZE
PROT_NONE, READ, WRITE, EXEC = 0, 1, 2, 4
MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE = 1, 2, 3
RWF_HIPRI, RWF_DSYNC, RWF_SYNC, RWF_NOWAIT, RWF_APPEND, RWF_NOAPPEND = 1, 2, 4, 8, 16, 32
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_COLLAPSE, FALLOC_ZERO, FALLOC_INSERT = 1, 2, 8, 16, 32
F_OFD_GETLK, F_OFD_SETLK = 36, 37
FICLONE, FIONREAD, FS_IOC_GETFLAGS, FS_IOC_SETFLAGS = 0x40049409, 0x541B, 0x80086601, 0x40086602
MS_ASYNC, MS_INVALIDATE, MS_SYNC = 1, 2, 4

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = _libc.mremap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
for _name in ("read", "write"):
    getattr(_libc, _name).argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
    getattr(_libc, f"p{_name}").argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_long]
    getattr(_libc, _name).restype = getattr(_libc, f"p{_name}").restype = ctypes.c_ssize_t
_FAILED = ctypes.c_void_p(-1).value


def checked(result: Any) -> Any:
    """What a system call returned, or its OSError."""
    if result in (-1, _FAILED):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def call(name: str, *args: Any) -> Any:
    """A function of the C library; numbers are passed as long."""
    return checked(getattr(_libc, name)(*[ctypes.c_long(a) if isinstance(a, int) else a for a in args]))


def syscall(number: int, *args: Any) -> int:
    """syscall(2)."""
    return int(call("syscall", number, *args))


def digest(data: bytes) -> str:
    """Length, checksum and beginning: for contents too long to show."""
    return f"{len(data)} bytes, crc {zlib.crc32(data):08x}, {bytes(data[:24])!r}"


def pattern(size: int, seed: int = 0) -> bytes:
    """Bytes by which a wrong offset shows."""
    return bytes((number * 7 + seed + (number >> 8)) & 0xFF for number in range(size))


def write_file(path: str, data: bytes = b"hello world\n", mode: int = 0o644) -> None:
    """Make it or replace it, without comparing: for what a case starts from. The directory's times become natural."""
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, mode)


def content(path: str) -> str:
    """What is in a file (the first MiB), as a digest if it is long."""
    with open(path, "rb") as file:
        data = file.read(1 << 20)
    return repr(data) if len(data) <= 80 else digest(data)


def size(fd: int) -> int:
    """st_size."""
    return os.fstat(fd).st_size


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2)."""
    call("fallocate", fd, mode, offset, length)


class Memory:
    """Two pages, of which only the first can be touched: `edge(n)` is an address with n good bytes behind it."""

    def __init__(self) -> None:
        self.address = int(checked(_libc.mmap(None, 2 * PAGE, READ | WRITE, 0x22, -1, 0)))
        checked(_libc.munmap(self.address + PAGE, PAGE))
        ctypes.memset(self.address, 65, PAGE)

    def edge(self, good: int) -> int:
        """See the class."""
        return self.address + PAGE - good


def read_to(fd: int, address: int, count: int) -> int:
    """read(2) to an address."""
    return int(checked(_libc.read(fd, address, count)))


def write_from(fd: int, address: int, count: int) -> int:
    """write(2) from an address."""
    return int(checked(_libc.write(fd, address, count)))


def pread_to(fd: int, address: int, count: int, offset: int) -> int:
    """pread(2) to an address."""
    return int(checked(_libc.pread(fd, address, count, offset)))


def pwrite_from(fd: int, address: int, count: int, offset: int) -> int:
    """pwrite(2) from an address."""
    return int(checked(_libc.pwrite(fd, address, count, offset)))


class Map:
    """A mapping that, unlike Python's own, has no descriptor beside it."""

    def __init__(self, fd: int, length: int, protection: int = READ | WRITE, flags: int = MAP_SHARED, at: int = 0):
        self.length = length
        self.address = int(checked(_libc.mmap(None, length, protection, flags, fd, at)))

    def put(self, data: bytes, at: int = 0) -> None:
        """Write into it."""
        ctypes.memmove(self.address + at, data, len(data))

    def get(self, count: int, at: int = 0) -> bytes:
        """Read from it."""
        return ctypes.string_at(self.address + at, count)

    def sync(self, flags: int = MS_SYNC) -> None:
        """msync(2)."""
        call("msync", ctypes.c_void_p(self.address), self.length, flags)

    def grow(self, length: int) -> None:
        """mremap(2), wherever there is room."""
        self.address = int(checked(_libc.mremap(self.address, self.length, length, 1)))
        self.length = length

    def close(self) -> None:
        """munmap(2)."""
        checked(_libc.munmap(self.address, self.length))


def mapped_once(fd: int, length: int, protection: int, flags: int, at: int = 0) -> None:
    """Whether it can be mapped at all."""
    Map(fd, length, protection, flags, at).close()


def in_child(function: Callable[[], Any]) -> Any:
    """The function's value or errno's name, in a child that has ended when this returns; "signal N" if one ended it.

    The value comes by way of repr.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            signal.alarm(20)
            try:
                answer = repr(function())
            except OSError as error:
                answer = errno.errorcode.get(error.errno or 0, "?")
            os.write(writer, answer.encode())
            os._exit(0)
        finally:
            os._exit(99)
    os.close(writer)
    with open(reader, "rb") as answers:
        text = answers.read().decode()
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    return text if os.WEXITSTATUS(status) == 0 else f"exit {os.WEXITSTATUS(status)} {text}"


def touched(function: Callable[[], Any]) -> Any:
    """How a child ends that touches memory: None, or the signal (SIGBUS, SIGSEGV)."""

    def touch() -> None:
        signal.signal(signal.SIGBUS, signal.SIG_DFL)
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        function()

    return in_child(touch)


def lock(fd: int, kind: int, start: int = 0, length: int = 0, command: int = fcntl.F_SETLK) -> Sequence[int]:
    """fcntl(2) with a struct flock; what came back: type, whence, start, length."""
    asked = struct.pack("hhqqi4x", kind, 0, start, length, 0)
    return struct.unpack("hhqqi4x", fcntl.fcntl(fd, command, asked))[:4]


def getfl(fd: int) -> int:
    """The flags of an open file description, without what the machine adds."""
    return fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_LARGEFILE


def setfl(fd: int, flags: int) -> int:
    """F_SETFL, and the flags afterwards."""
    fcntl.fcntl(fd, fcntl.F_SETFL, flags)
    return getfl(fd)
