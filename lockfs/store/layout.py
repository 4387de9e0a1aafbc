"""The hidden directory of a backing directory, and who may use it (C3, M1)."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

from lockfs.core.errors import LockfsError
from lockfs.store.xattrs import drop_default_acl

HIDDEN = b".lockfs"
"""The directory's name in the backing root. Under the mount the same name is the control directory."""

STAGING = b"staging"
ORPHANS = b"orphans"
LOCK = b"lock"

FileId = tuple[int, int]
"""Device and inode number."""

_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class Layout:
    """Open descriptors of the hidden directories; `lock_fd` keeps the backing directory ours until it is closed.

    For a backing directory that is only read all but `root_fd` are -1.
    """

    root_fd: int
    hidden_fd: int = -1
    staging_fd: int = -1
    orphans_fd: int = -1
    lock_fd: int = -1

    @property
    def read_only(self) -> bool:
        """Nothing can be staged."""
        return self.hidden_fd < 0

    def close(self) -> None:
        """Give the backing directory back."""
        for fd in (self.staging_fd, self.orphans_fd, self.hidden_fd, self.lock_fd, self.root_fd):
            if fd >= 0:
                os.close(fd)


def _subdirectory(parent_fd: int, name: bytes) -> int:
    try:
        os.mkdir(name, 0o700, dir_fd=parent_fd)
    except FileExistsError:
        pass
    fd = os.open(name, _DIR_FLAGS, dir_fd=parent_fd)
    try:
        drop_default_acl(fd)  # what is staged must not inherit it, least of all for other directories
    except BaseException:
        os.close(fd)
        raise
    return fd


def open_layout(source: str, mountpoint: str, *, read_only: bool = False) -> Layout:
    """Open `source`, make the hidden directories (0700) and take the lock (M1); if `read_only`, only open it.

    Raises `LockfsError` if another daemon has this backing directory (it names that one) or if the directory cannot
    be used.
    """
    try:
        root_fd = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if read_only:
            return Layout(root_fd)
        return layout_at(root_fd, source, mountpoint)
    except OSError as error:
        raise LockfsError(
            f"cannot prepare {source}/.lockfs: {error.strerror}; {source} must be a directory that you may write to"
        ) from error


def layout_at(root_fd: int, source: str, mountpoint: str, known: Mapping[FileId, int] | None = None) -> Layout:
    """The same for an open directory. `root_fd` is the layout's from now on, and closed if this fails.

    `known` has the lock descriptors of the hidden directories that this daemon has open already, by device and inode
    number: through a bind mount one can be met twice. Raises OSError, and `LockfsError` as above.
    """
    fds = [root_fd]
    try:
        hidden_fd = _subdirectory(root_fd, HIDDEN)
        fds.append(hidden_fd)
        status = os.fstat(hidden_fd)
        if known is not None and status.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "the .lockfs directory there is somebody else's")
        os.fchmod(hidden_fd, 0o700)
        shared = (known or {}).get((status.st_dev, status.st_ino))
        if shared is not None:
            lock_fd = os.dup(shared)
            fds.append(lock_fd)
        else:
            lock_fd = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=hidden_fd)
            fds.append(lock_fd)
            _lock(lock_fd, source, mountpoint)
        staging_fd = _subdirectory(hidden_fd, STAGING)
        fds.append(staging_fd)
        orphans_fd = _subdirectory(hidden_fd, ORPHANS)
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise
    return Layout(root_fd, hidden_fd, staging_fd, orphans_fd, lock_fd)


def _lock(lock_fd: int, source: str, mountpoint: str) -> None:
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LockfsError(
            f"{source} is mounted already {_described(lock_fd)}; use that mount, or unmount it first"
        ) from None
    note = {"pid": os.getpid(), "mountpoint": mountpoint, "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    os.ftruncate(lock_fd, 0)
    os.pwrite(lock_fd, json.dumps(note).encode() + b"\n", 0)


def _described(lock_fd: int) -> str:
    """Who has the lock, for people; the file may be half-written by a daemon that just starts."""
    try:
        note = json.loads(os.pread(lock_fd, 65536, 0))
        return f"on {note['mountpoint']} by pid {note['pid']} since {note['since']}"
    except (ValueError, KeyError, TypeError):
        return "by another lockfs daemon"
