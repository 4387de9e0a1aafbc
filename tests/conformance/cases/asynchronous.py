"""Linux aio (io_submit(2)) and io_uring(7): reads and writes that are submitted."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
from functools import partial

from tests.conformance import raw
from tests.conformance.acting import Act
from tests.conformance.case import ALL_RULES, case, differs
from tests.conformance.named import NO_FALLOCATE
from tests.conformance.people import OTHER, ROOT
from tests.conformance.raw import PAGE

BOTH = (ROOT, OTHER)
HOW = {"edit": os.O_RDWR, "truncate": os.O_RDWR | os.O_TRUNC, "append": os.O_WRONLY | os.O_APPEND, "read": os.O_RDONLY}
_X86 = os.uname().machine == "x86_64"
_IO_SETUP, _IO_SUBMIT, _IO_GETEVENTS = (206, 209, 208) if _X86 else (0, 2, 4)
_URING_SETUP, _URING_ENTER = 425, 426
READ, WRITE, FSYNC, U_FSYNC, U_FALLOCATE, U_OPENAT, U_CLOSE, U_READ, U_WRITE = 0, 1, 2, 3, 17, 18, 19, 22, 23


class Aio:
    """A context of Linux aio with room for a few requests."""

    def __init__(self) -> None:
        self._context = ctypes.c_ulong(0)
        raw.syscall(_IO_SETUP, 8, ctypes.byref(self._context))

    def do(self, what: int, fd: int, buffer: ctypes.Array[ctypes.c_char], offset: int) -> int:
        """Submit one and wait for it; what read(2) and write(2) return. Raises OSError."""
        block = struct.pack(
            "QIIHhIQQqQII", 0, 0, 0, what, 0, fd, ctypes.addressof(buffer), len(buffer), offset, 0, 0, 0
        )
        held = ctypes.create_string_buffer(block, len(block))
        pointer = ctypes.c_void_p(ctypes.addressof(held))
        raw.syscall(_IO_SUBMIT, self._context, 1, ctypes.byref(pointer))
        event = (ctypes.c_int64 * 4)()
        raw.syscall(_IO_GETEVENTS, self._context, 1, 1, ctypes.byref(event), None)
        return outcome(int(event[2]))


def outcome(result: int) -> int:
    """A result, or its OSError."""
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


class Ring:
    """An io_uring of one request at a time. Raises OSError where the machine has none."""

    def __init__(self) -> None:
        parameters = (ctypes.c_char * 120)()
        self.fd = raw.syscall(_URING_SETUP, 4, ctypes.byref(parameters))
        entries, completions = struct.unpack_from("II", parameters, 0)
        self._submit = struct.unpack_from("7I", parameters, 40)
        self._complete = struct.unpack_from("7I", parameters, 80)
        self._sq = mmap.mmap(self.fd, self._submit[6] + entries * 4, offset=0)
        self._cq = mmap.mmap(self.fd, self._complete[5] + completions * 16, offset=0x8000000)
        self._entries = mmap.mmap(self.fd, entries * 64, offset=0x10000000)

    def do(self, what: int, fd: int, address: int, length: int, offset: int, flags: int = 0) -> int:
        """Submit one and wait for it. Raises OSError."""
        tail, mask = self._number(self._sq, self._submit[1]), self._number(self._sq, self._submit[2])
        index = tail & mask
        offset &= (1 << 64) - 1
        entry = struct.pack("BBHiQQIIQ", what, 0, 0, fd, offset, address, length, flags, 1).ljust(64, b"\0")
        self._entries[index * 64 : index * 64 + 64] = entry
        struct.pack_into("I", self._sq, self._submit[6] + index * 4, index)
        struct.pack_into("I", self._sq, self._submit[1], tail + 1)
        raw.syscall(_URING_ENTER, self.fd, 1, 1, 1, None, 0)
        head, mask = self._number(self._cq, self._complete[0]), self._number(self._cq, self._complete[2])
        _, result, _ = struct.unpack_from("QiI", self._cq, self._complete[5] + (head & mask) * 16)
        struct.pack_into("I", self._cq, self._complete[0], head + 1)
        return outcome(result)

    @staticmethod
    def _number(memory: mmap.mmap, at: int) -> int:
        return int(struct.unpack_from("I", memory, at)[0])

    def buffer(self, what: int, fd: int, data: ctypes.Array[ctypes.c_char], offset: int) -> int:
        """A read or write of a buffer."""
        return self.do(what, fd, ctypes.addressof(data), len(data), offset)

    def openat(self, path: str, flags: int, mode: int) -> int:
        """open(2)."""
        name = ctypes.create_string_buffer(os.fsencode(path))
        return self.do(U_OPENAT, -100, ctypes.addressof(name), mode, 0, flags)

    def close(self) -> None:
        """The ring itself."""
        os.close(self.fd)


def text(data: bytes) -> ctypes.Array[ctypes.c_char]:
    """Bytes that a request may point to."""
    return ctypes.create_string_buffer(data, len(data))


@case(each=ALL_RULES, people=BOTH)
def linux_aio(act: Act) -> None:
    """io_submit(2): writes, reads, fsync, past the end, on each kind of descriptor; and with O_DIRECT."""
    aio = Aio()
    for how, flags in HOW.items():
        raw.write_file(act.x, raw.pattern(20_000))
        fd = act.open(act.x, flags)
        act.call(f"write, {how}", partial(aio.do, WRITE, fd, text(b"AIO" * 100), 1000))
        target = text(bytes(300))
        act.call(f"read, {how}", partial(aio.do, READ, fd, target, 900))
        act.note("read", raw.digest(target.raw))
        act.call("fsync", partial(aio.do, FSYNC, fd, text(b"x"), 0))
        act.call("past the end", partial(aio.do, READ, fd, target, 1 << 30))
        act.call("size", raw.size, fd)
        act.close(fd)
        act.call("content", raw.content, act.x)
    raw.write_file(act.x, raw.pattern(4 * PAGE))
    fd = act.open(act.x, os.O_RDWR | os.O_DIRECT)
    memory = mmap.mmap(-1, 2 * PAGE)
    memory[:] = b"D" * (2 * PAGE)
    aligned = (ctypes.c_char * (2 * PAGE)).from_buffer(memory)
    act.call("direct write", partial(aio.do, WRITE, fd, aligned, PAGE))
    act.call("direct read", partial(aio.do, READ, fd, aligned, 0))
    act.note("read", raw.digest(bytes(memory[:])))
    act.call("direct write past the end", partial(aio.do, WRITE, fd, aligned, 8 * PAGE))
    act.close(fd)
    act.call("content", raw.content, act.x)


@case(
    each=ALL_RULES,
    people=BOTH,
    differs=[differs(NO_FALLOCATE, "fallocate*")],
)
def io_uring(act: Act) -> None:
    """io_uring(7): write, read, fsync, fallocate, open, close."""
    try:
        ring = Ring()
    except OSError as error:
        # No ring here (not built in, or forbidden): the plain directory has none either, and the table says so.
        if error.errno not in (errno.ENOSYS, errno.EPERM, errno.ENOMEM):
            raise
        act.call("fallocate", partial(raw.fallocate, os.open(act.x, os.O_RDWR | os.O_CREAT), 0, 0, 1 << 13))
        os.unlink(act.x)
        return
    for how, flags in HOW.items():
        raw.write_file(act.x, raw.pattern(20_000))
        fd = act.open(act.x, flags)
        act.call(f"write, {how}", partial(ring.buffer, U_WRITE, fd, text(b"URING" * 20), 700))
        target = text(bytes(50))
        act.call(f"read, {how}", partial(ring.buffer, U_READ, fd, target, 690))
        act.note("read", target.raw)
        act.call("write at the position", partial(ring.buffer, U_WRITE, fd, text(b"HERE\n"), -1))
        act.call("fsync", partial(ring.do, U_FSYNC, fd, 0, 0, 0))
        act.close(fd)
        act.call("content", raw.content, act.x)
    for path in (act.x, "new" + act.x):
        fd = ring.openat(path, os.O_RDWR | os.O_CREAT, 0o644)
        act.call("write", partial(ring.buffer, U_WRITE, fd, text(b"opened by the ring"), 0))
        act.call("close", partial(ring.do, U_CLOSE, fd, 0, 0, 0))
        act.call("content", raw.content, path)
    fd = act.open(act.y, os.O_RDWR | os.O_CREAT)
    act.call("fallocate", partial(ring.do, U_FALLOCATE, fd, 8192, 0, 0))
    os.ftruncate(fd, 0)
    act.close(fd)
    ring.close()
