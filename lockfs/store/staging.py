"""Staged files: where a session's bytes are until they are published (W2, W3, N4).

A staged file lives in the hidden staging directory of the same filesystem, so that publishing is one rename(2).
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import stat
from collections import deque
from dataclasses import dataclass

from lockfs.store.entries import names_in, set_modified_now
from lockfs.store.labels import reached

_FICLONE = 0x40049409  # ioctl_ficlone(2): share the extents instead of copying
_COPY_CHUNK = 8 << 20
_POOL = 16
_serial = itertools.count(1)
"""For all staging directories of this process: through a bind mount one of them can be met twice."""


@dataclass(frozen=True, slots=True)
class Staged:
    """An open staged file. `ino` stays the file's inode number after the commit."""

    name: bytes
    fd: int
    dev: int
    ino: int


class Staging:
    """The staging directory of one mount. Not thread-safe but for `copy_content`, which touches descriptors only."""

    def __init__(self, staging_fd: int) -> None:
        self._dir_fd = staging_fd
        self._prefix = b"%d-" % os.getpid()
        self._pool: deque[Staged] = deque()

    def take(self) -> Staged:
        """An empty staged file (mode 0600, owner: the daemon)."""
        if self._pool:
            return self._pool.popleft()
        reached("stage.create")
        name = self._prefix + b"%d" % next(_serial)
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._dir_fd)
        status = os.fstat(fd)
        return Staged(name, fd, status.st_dev, status.st_ino)

    def give_back(self, staged: Staged) -> None:
        """An unused staged file: keep it for the next session, or drop it."""
        if len(self._pool) < _POOL:
            self._pool.append(staged)
        else:
            self.drop(staged)

    def publish(self, staged: Staged, parent_fd: int, name: bytes) -> bool:
        """Rename the staged file over `name`: the commit (W3). False if somebody removed the staged file's own name,
        past the mount. Raises OSError; in both cases the old version stands."""
        reached("commit.rename")
        try:
            os.rename(staged.name, name, src_dir_fd=self._dir_fd, dst_dir_fd=parent_fd)
        except FileNotFoundError:
            if os.fstat(staged.fd).st_nlink:
                raise
            return False
        return True

    def link(self, staged: Staged, parent_fd: int, name: bytes) -> None:
        """Give the staged file one more name, outside the staging directory."""
        os.link(staged.name, name, src_dir_fd=self._dir_fd, dst_dir_fd=parent_fd, follow_symlinks=False)

    def drop(self, staged: Staged) -> None:
        """Remove a staged file that nobody wants and close it."""
        reached("abort.drop")
        try:
            os.unlink(staged.name, dir_fd=self._dir_fd)
        except FileNotFoundError:
            pass  # removed past the mount
        finally:
            os.close(staged.fd)

    def unlink(self, staged: Staged) -> None:
        """Remove the staged file's name; its descriptor stays open."""
        os.unlink(staged.name, dir_fd=self._dir_fd)

    def names(self) -> list[bytes]:
        """What lies in the staging directory."""
        return names_in(self._dir_fd)

    def close(self) -> None:
        """Drop the pool."""
        while self._pool:
            self.drop(self._pool.popleft())


def copy_content(source_fd: int, target_fd: int, length: int | None = None) -> None:
    """Copy the content of one regular file into an empty one, holes kept, extents shared where the filesystem can.

    `length` limits the copy in bytes. May take long: call it in a thread. Raises OSError (ENOSPC ...).
    """
    reached("stage.copy")
    size = os.fstat(source_fd).st_size
    end = size if length is None else min(size, length)
    if end == 0:
        return
    if end == size and _clone(source_fd, target_fd):
        return
    os.ftruncate(target_fd, end)
    position = 0
    while position < end:
        start, stop = _data_extent(source_fd, position, end)
        _copy_range(source_fd, target_fd, start, stop)
        position = max(stop, start)
        if start >= end:
            break


def _clone(source_fd: int, target_fd: int) -> bool:
    try:
        fcntl.ioctl(target_fd, _FICLONE, source_fd)
    except OSError:
        return False
    return True


def _data_extent(fd: int, position: int, end: int) -> tuple[int, int]:
    try:
        start = os.lseek(fd, position, os.SEEK_DATA)
        return min(start, end), min(os.lseek(fd, start, os.SEEK_HOLE), end)
    except OSError as error:
        if error.errno == errno.ENXIO:  # only a hole is left
            return end, end
        return position, end  # a filesystem that cannot tell


def _copy_range(source_fd: int, target_fd: int, start: int, stop: int) -> None:
    position = start
    while position < stop:
        data = os.pread(source_fd, min(_COPY_CHUNK, stop - position), position)
        if not data:
            return  # truncated meanwhile, past the mount
        write_all(target_fd, data, position)
        position += len(data)


def write_all(fd: int, data: bytes, offset: int) -> int:
    """pwrite(2) until all is written; how many bytes. Fewer only at the filesystem's limit for a file's size.

    Raises OSError; then a part may have been written, but not with EFBIG, which means nothing was.
    """
    done = os.pwrite(fd, data, offset)
    while done < len(data):
        try:
            done += os.pwrite(fd, memoryview(data)[done:], offset + done)
        except OSError as error:
            if error.errno != errno.EFBIG:
                raise
            break
    return done


def append_all(fd: int, data: bytes, *, privileged: bool = True) -> None:
    """Append `data` as one block to a descriptor opened with O_APPEND, or nothing of it (A2, N4).

    A write that the disk cuts short is taken back, so that no torn record stays. Unless `privileged`, setuid and setgid
    bits go, as with any write (write(2)). Raises OSError.
    """
    status = os.fstat(fd)
    size = status.st_size
    if not privileged:
        _drop_set_ids(fd, status.st_mode)
    done = 0
    try:
        while done < len(data):
            done += os.write(fd, memoryview(data)[done:] if done else data)
    except OSError:
        if done:
            os.ftruncate(fd, size)
        raise


def adopt_attributes(fd: int, status: os.stat_result, *, keep_set_ids: bool = True) -> None:
    """Give a staged file the owner and mode of the version that it will replace (W5), and its times (see `stamp`)."""
    own = os.fstat(fd)
    if (own.st_uid, own.st_gid) != (status.st_uid, status.st_gid):
        try:
            os.fchown(fd, status.st_uid, status.st_gid)
        except PermissionError:
            # Not root: the new version belongs to whoever runs lockfs, as with any editor that replaces a file.
            pass
    os.fchmod(fd, stat.S_IMODE(status.st_mode if keep_set_ids else without_set_ids(status.st_mode)))
    stamp(fd, status.st_atime_ns)


def stamp(fd: int, atime_ns: int) -> None:
    """The times of a staged file whose content changes now: who changes a file has not read it."""
    set_modified_now(fd, atime_ns)


def without_set_ids(mode: int) -> int:
    """A mode after a change by somebody without privileges (write(2), truncate(2))."""
    drop = stat.S_ISUID | (stat.S_ISGID if mode & stat.S_IXGRP else 0)
    return mode & ~drop


def drop_set_ids(fd: int) -> None:
    """What a change of an open file by somebody without privileges does to its mode."""
    _drop_set_ids(fd, os.fstat(fd).st_mode)


def _drop_set_ids(fd: int, mode: int) -> None:
    if without_set_ids(mode) != mode:
        os.fchmod(fd, stat.S_IMODE(without_set_ids(mode)))
