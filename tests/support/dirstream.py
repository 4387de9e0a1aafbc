"""Directory streams as the C library has them, with telldir and seekdir, and getdents64(2) with any buffer."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_libc.opendir.restype = ctypes.c_void_p
_libc.readdir.restype = ctypes.c_void_p
_libc.telldir.restype = ctypes.c_long
for _name, _arguments in (
    ("opendir", [ctypes.c_char_p]),
    ("readdir", [ctypes.c_void_p]),
    ("telldir", [ctypes.c_void_p]),
    ("seekdir", [ctypes.c_void_p, ctypes.c_long]),
    ("rewinddir", [ctypes.c_void_p]),
    ("closedir", [ctypes.c_void_p]),
    ("getdents64", [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]),
):
    getattr(_libc, _name).argtypes = _arguments
_HEAD = struct.Struct("=QqHB")


def _failed(path: object) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code), path)


class DirStream:
    """opendir(3) and its family."""

    def __init__(self, path: Path) -> None:
        self._stream = _libc.opendir(os.fsencode(path))
        if not self._stream:
            raise _failed(path)

    def read(self) -> bytes | None:
        """The next name; None at the end."""
        ctypes.set_errno(0)
        entry = _libc.readdir(self._stream)
        if not entry:
            if ctypes.get_errno():
                raise _failed(None)
            return None
        return ctypes.string_at(entry + _HEAD.size)

    def rest(self) -> list[bytes]:
        """The names from here to the end."""
        return list(iter(self.read, None))

    def tell(self) -> int:
        return int(_libc.telldir(self._stream))

    def seek(self, position: int) -> None:
        _libc.seekdir(self._stream, position)

    def rewind(self) -> None:
        _libc.rewinddir(self._stream)

    def close(self) -> None:
        _libc.closedir(self._stream)


def dents(fd: int, size: int) -> list[tuple[bytes, int, int]]:
    """One getdents64(2): names, inode numbers and types (DT_*)."""
    buffer = ctypes.create_string_buffer(size)
    length = _libc.getdents64(fd, buffer, size)
    if length < 0:
        raise _failed(None)
    found, position = [], 0
    while position < length:
        number, _, reclen, kind = _HEAD.unpack_from(buffer, position)
        found.append((ctypes.string_at(ctypes.addressof(buffer) + position + _HEAD.size), number, kind))
        position += reclen
    return found


def all_dents(path: Path, size: int) -> list[tuple[bytes, int, int]]:
    """All entries, read with a buffer of `size` bytes."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        found: list[tuple[bytes, int, int]] = []
        while part := dents(fd, size):
            found += part
        return found
    finally:
        os.close(fd)
