"""System calls on directory entries that Python's os module lacks (renameat2(2), getdents64(2))."""

from __future__ import annotations

import ctypes
import os

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2

_libc = ctypes.CDLL(None, use_errno=True)
_renameat2 = _libc.renameat2
_renameat2.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
_getdents64 = _libc.getdents64
_getdents64.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
_getdents64.restype = ctypes.c_ssize_t


def read_entries(fd: int, size: int) -> bytes:
    """getdents64(2): the next entries of a directory, as the kernel gives them; b"" at its end. Raises OSError."""
    buffer = ctypes.create_string_buffer(size)
    length = _getdents64(fd, buffer, size)
    if length < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return ctypes.string_at(buffer, length)


def names_in(directory_fd: int) -> list[bytes]:
    """The names in an open directory as they are now. Raises OSError.

    btrfs shows only what was there when the directory was opened, or last rewound.
    """
    os.lseek(directory_fd, 0, os.SEEK_SET)
    return [os.fsencode(name) for name in os.listdir(directory_fd)]


def rename(old_fd: int, old: bytes, new_fd: int, new: bytes, flags: int = 0) -> None:
    """renameat2(2). Raises OSError."""
    if flags == 0:
        os.rename(old, new, src_dir_fd=old_fd, dst_dir_fd=new_fd)
    elif _renameat2(old_fd, old, new_fd, new, flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
