"""System calls that Python's os module lacks: renameat2(2), getdents64(2), utimensat(2) in full."""

from __future__ import annotations

import ctypes
import errno
import os
import stat

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4

_libc = ctypes.CDLL(None, use_errno=True)
_renameat2 = _libc.renameat2
_renameat2.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
_getdents64 = _libc.getdents64
_getdents64.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
_getdents64.restype = ctypes.c_ssize_t
_utimensat = _libc.utimensat
_utimensat.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int]
_futimens = _libc.futimens
_futimens.argtypes = [ctypes.c_int, ctypes.c_void_p]
_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW = 0x100
_UTIME_NOW = (1 << 30) - 1
_UTIME_OMIT = (1 << 30) - 2
_Times = ctypes.c_int64 * 4


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


def set_times(
    path: str | bytes, atime_ns: int | None, mtime_ns: int | None, dir_fd: int | None, *, follow: bool
) -> None:
    """utimensat(2), in nanoseconds; None leaves a time as it is. Raises OSError."""
    times = _Times(*_timespec(atime_ns), *_timespec(mtime_ns))
    flags = 0 if follow else _AT_SYMLINK_NOFOLLOW
    if _utimensat(_AT_FDCWD if dir_fd is None else dir_fd, os.fsencode(path), times, flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def set_modified_now(fd: int, atime_ns: int) -> None:
    """futimens(3): mtime becomes the filesystem's present, by its own clock, so that no later write is older by it;
    atime this. Raises OSError."""
    if _futimens(fd, _Times(*_timespec(atime_ns), 0, _UTIME_NOW)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _timespec(time_ns: int | None) -> tuple[int, int]:
    return (0, _UTIME_OMIT) if time_ns is None else divmod(time_ns, 10**9)


def change_mode(dir_fd: int | None, path: str | bytes, mode: int) -> None:
    """chmod(2) that does not follow a symbolic link which has just taken the entry's place (M2); without `dir_fd`, the
    path is one through /proc/self/fd. Raises OSError."""
    if dir_fd is None:
        os.chmod(path, mode)
        return
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        if stat.S_ISLNK(os.fstat(fd).st_mode):
            raise OSError(errno.ESTALE, "a symbolic link took its place")
        os.chmod(f"/proc/self/fd/{fd}", mode)
    finally:
        os.close(fd)
