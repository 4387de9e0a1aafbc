"""`/.lockfs`: a virtual directory, reachable by name and not listed (C1, C3)."""

from __future__ import annotations

import errno
import json
import os
import stat
import time

import pyfuse3

from lockfs.runtime.stats import Stats

DIRECTORY_ID = (1 << 63) + 1
_FILES = {b"stats": DIRECTORY_ID + 1, b"stats.json": DIRECTORY_ID + 2}


class Control:
    """The control directory's inodes and what reading them gives."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats
        self._made_ns = time.time_ns()

    @staticmethod
    def owns(nodeid: int) -> bool:
        """Whether a node number is one of the control directory's."""
        return nodeid >= DIRECTORY_ID

    def lookup(self, name: bytes) -> pyfuse3.EntryAttributes:
        """An entry of the control directory. Raises OSError(ENOENT)."""
        nodeid = _FILES.get(name)
        if nodeid is None:
            raise OSError(errno.ENOENT, "no such control file")
        return self.attributes(nodeid)

    def attributes(self, nodeid: int) -> pyfuse3.EntryAttributes:
        """Attributes; sizes are 0, as in /proc, because the content is made when it is opened."""
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = pyfuse3.InodeT(nodeid)
        is_dir = nodeid == DIRECTORY_ID
        entry.st_mode = pyfuse3.ModeT((stat.S_IFDIR | 0o555) if is_dir else (stat.S_IFREG | 0o444))
        entry.st_nlink = 2 if is_dir else 1
        entry.st_uid, entry.st_gid = os.getuid(), os.getgid()
        entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = self._made_ns
        entry.entry_timeout = entry.attr_timeout = 0
        return entry

    @staticmethod
    def entries() -> list[tuple[bytes, int]]:
        """Names and numbers, for listing."""
        return list(_FILES.items())

    def content(self, nodeid: int) -> bytes:
        """What one open of a control file reads: one consistent picture."""
        if nodeid == _FILES[b"stats.json"]:
            return json.dumps(self._stats.picture(), indent=1).encode() + b"\n"
        if nodeid == _FILES[b"stats"]:
            return self._stats.text().encode("utf-8", "backslashreplace")
        raise OSError(errno.EISDIR, "a directory")
