"""System calls as programs make them, where Python's `os` has no way to say it. All raise OSError."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
from typing import Any

from tests.support.rename import renameat2 as renameat2

Path = str | bytes

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_EACCESS = 0x200
AT_REMOVEDIR = 0x200
AT_SYMLINK_FOLLOW = 0x400
AT_EMPTY_PATH = 0x1000
UTIME_NOW = (1 << 30) - 1
UTIME_OMIT = (1 << 30) - 2

_SYS_OPENAT2, _SYS_FACCESSAT2, _SYS_FCHMODAT2 = 437, 439, 452  # the same on all architectures

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


class _Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_int64), ("nanoseconds", ctypes.c_int64)]


def openat(directory: int, path: Path, flags: int, mode: int = 0) -> int:
    """openat(2) with exactly these flags."""
    return _checked(_libc.openat(directory, os.fsencode(path), flags, ctypes.c_uint(mode)))


def open_raw(path: Path, flags: int, mode: int = 0) -> int:
    """open(2) with exactly these flags: os.open adds O_CLOEXEC."""
    return openat(AT_FDCWD, path, flags, mode)


def creat(path: Path, mode: int) -> int:
    """creat(2)."""
    return _checked(_libc.creat(os.fsencode(path), ctypes.c_uint(mode)))


def openat2(path: Path, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """openat2(2)."""
    how = (ctypes.c_uint64 * 3)(flags, mode, resolve)
    for _ in range(100):
        fd = _libc.syscall(_SYS_OPENAT2, AT_FDCWD, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
        if fd >= 0 or ctypes.get_errno() != errno.EAGAIN:  # somebody renamed or mounted something, anywhere
            break
    return _checked(fd)


def linkat(directory: int, old: Path, new_directory: int, new: Path, flags: int) -> None:
    """linkat(2)."""
    _checked(_libc.linkat(directory, os.fsencode(old), new_directory, os.fsencode(new), flags))


def unlinkat(directory: int, path: Path, flags: int) -> None:
    """unlinkat(2)."""
    _checked(_libc.unlinkat(directory, os.fsencode(path), flags))


def faccessat2(directory: int, path: Path, mode: int, flags: int) -> None:
    """faccessat2(2): raises what it forbids."""
    _checked(_libc.syscall(_SYS_FACCESSAT2, directory, os.fsencode(path), mode, flags))


def may(path: Path, mode: int) -> None:
    """access(2): raises what it forbids."""
    _checked(_libc.access(os.fsencode(path), mode))


def fchmodat2(directory: int, path: Path, mode: int, flags: int) -> None:
    """fchmodat2(2)."""
    _checked(_libc.syscall(_SYS_FCHMODAT2, directory, os.fsencode(path), mode, flags))


def fchownat(directory: int, path: Path, uid: int, gid: int, flags: int) -> None:
    """fchownat(2)."""
    _checked(_libc.fchownat(directory, os.fsencode(path), uid, gid, flags))


def utimensat(directory: int, path: Path, atime: tuple[int, int], mtime: tuple[int, int], flags: int = 0) -> None:
    """utimensat(2); times as (seconds, nanoseconds), the latter also UTIME_NOW and UTIME_OMIT."""
    times = (_Timespec * 2)(_Timespec(*atime), _Timespec(*mtime))
    _checked(_libc.utimensat(directory, os.fsencode(path), ctypes.byref(times), flags))


def futimens(fd: int, atime: tuple[int, int], mtime: tuple[int, int]) -> None:
    """futimens(3); times as for utimensat."""
    times = (_Timespec * 2)(_Timespec(*atime), _Timespec(*mtime))
    _checked(_libc.futimens(fd, ctypes.byref(times)))


def utime_null(path: Path) -> None:
    """utimensat(2) without times: both become now."""
    _checked(_libc.utimensat(AT_FDCWD, os.fsencode(path), None, 0))


def statx(directory: int, path: Path, flags: int = 0, mask: int = 0xFFF) -> dict[str, int]:
    """statx(2): the fields that do not differ between filesystems as such, and those of `mask` that were filled in."""
    raw = (ctypes.c_uint8 * 256)()
    _checked(_libc.statx(directory, os.fsencode(path), flags, ctypes.c_uint(mask), ctypes.byref(raw)))
    whole = bytes(raw)

    def number(offset: int, size: int) -> int:
        return int.from_bytes(whole[offset : offset + size], "little")

    mode = number(28, 2)
    found = {"mask": number(0, 4) & mask, "attributes": number(8, 8), "mode": mode, "nlink": number(16, 4)}
    found |= {"uid": number(20, 4), "gid": number(24, 4), "rdev": number(128, 4) << 8 | number(132, 4)}
    if not stat.S_ISDIR(mode):
        found["size"] = number(40, 8)
    return found


def by_handle(path: Path) -> bool:
    """name_to_handle_at(2), then open_by_handle_at(2), which needs root: whether it leads to the same file."""
    handle = (ctypes.c_uint8 * 136)(128)
    mount = ctypes.c_int()
    name = os.fsencode(path)
    _checked(_libc.name_to_handle_at(AT_FDCWD, name, ctypes.byref(handle), ctypes.byref(mount), 0))
    fd = _checked(_libc.open_by_handle_at(AT_FDCWD, ctypes.byref(handle), os.O_RDONLY))
    try:
        return same_file(path, fd)
    finally:
        os.close(fd)


def getfl(fd: int) -> int:
    """The flags of an open file description."""
    return fcntl.fcntl(fd, fcntl.F_GETFL)


def entries(path: Path | int) -> list[tuple[Any, str]]:
    """getdents(2): names with types, sorted."""
    names = []
    with os.scandir(path) as found:
        for entry in found:
            kinds = [name for name in ("is_file", "is_dir", "is_symlink") if _is(entry, name)]
            names.append((entry.name, kinds[0] if kinds else "special"))
    return sorted(names, key=lambda pair: os.fsencode(pair[0]))


def _is(entry: os.DirEntry[Any], name: str) -> bool:
    question = getattr(entry, name)
    return bool(question() if name == "is_symlink" else question(follow_symlinks=False))


def same_file(one: Path | int, other: Path | int) -> bool:
    """Whether both lead to one inode."""
    first, second = os.stat(one), os.stat(other)
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)
