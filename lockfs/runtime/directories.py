"""Listing directories: a snapshot of the entries, so that none that stays is repeated or lost.

A commit renames a staged file over the entry: to some filesystems that is a new entry, which a listing that goes on
meanwhile may show twice, or not at all. Nobody who merely rewrites a file expects that. So a listing is taken at its
first reading, and again after rewinddir(3). Positions (telldir, seekdir) are places in it.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator

from lockfs.runtime.handles import DirHandle
from lockfs.runtime.mountstate import MountState
from lockfs.runtime.nodes import Node
from lockfs.runtime.sessions import Sessions
from lockfs.store.entries import read_entries
from lockfs.store.layout import HIDDEN

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_HEAD = struct.Struct("=QqHB")
"""Of a linux_dirent64 (getdents(2)): inode number, offset, length, type. The name follows, ended by a NUL."""
_IN_LOOP = 64 << 10
"""So many bytes of entries are read at once (some 2,000 entries, less than a millisecond), more in a thread."""
_PART = 1 << 20

Entry = tuple[bytes, int, int, int]
"""Name, inode number, type (S_IFMT; 0: unknown), and the position behind it."""


class Directories:
    """Opens and lists directories. All raise OSError."""

    def __init__(self, state: MountState, sessions: Sessions) -> None:
        self._state = state
        self._sessions = sessions

    def open(self, node: Node, tid: int) -> DirHandle:
        """opendir(3)."""
        return DirHandle(node, os.open(b".", _FLAGS, dir_fd=self._state.nodes.dir_fd(node)), tid)

    def close(self, handle: DirHandle) -> None:
        """closedir(3)."""
        os.close(handle.fd)

    async def entries(self, handle: DirHandle, start: int) -> Iterator[Entry]:
        """The entries from a position on; 0 takes a new snapshot (rewinddir)."""
        if start == 0 or handle.raw is None:
            await self._take_snapshot(handle)
        assert handle.raw is not None
        found = _entries(handle.raw, start, handle.own_at, handle.left_out)
        device = handle.node.file_id[0]
        if device == self._state.nodes.root_dev:
            return found
        shown = self._state.areas.inode_number
        return ((name, shown(device, number), kind, position) for name, number, kind, position in found)

    async def _take_snapshot(self, handle: DirHandle) -> None:
        os.lseek(handle.fd, 0, os.SEEK_SET)
        raw = read_entries(handle.fd, _IN_LOOP)
        replaced: set[bytes] = set()
        while len(raw) < _IN_LOOP:
            part = read_entries(handle.fd, _IN_LOOP)
            if not part:
                break
            raw += part
        else:
            with self._state.noting_commits(handle.node, replaced):
                raw += await self._state.in_thread(_read_all, handle.fd)
        own = self._own_entries(handle, replaced)
        handle.own_at = len(raw)
        handle.raw = raw + b"".join(_record(name, *entry) for name, entry in own.items())
        handle.left_out = {*own, *replaced}
        if self._state.areas.may_hide(handle.node) and self._state.hides(handle.node, HIDDEN):
            handle.left_out.add(HIDDEN)

    def _own_entries(self, handle: DirHandle, replaced: set[bytes]) -> dict[bytes, tuple[int, int]]:
        """What the snapshot cannot show, with number and type: what was committed while it was taken, and what the
        caller's own family is creating (F2, W2)."""
        found = {}
        for name in replaced:
            try:
                status = os.stat(name, dir_fd=handle.fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            found[name] = (status.st_ino, stat.S_IFMT(status.st_mode))
        for slot in self._state.slots:
            session = slot.session
            if slot.parent is handle.node and session is not None and self._sessions.is_own(session, handle.tid):
                found[slot.name] = (session.status().st_ino, stat.S_IFREG)
        return found


def _read_all(fd: int) -> bytes:
    parts = []
    while part := read_entries(fd, _PART):
        parts.append(part)
    return b"".join(parts)


def _record(name: bytes, number: int, kind: int) -> bytes:
    """One entry, as getdents(2) gives it."""
    length = (_HEAD.size + len(name) + 8) & ~7
    return (_HEAD.pack(number, 0, length, kind >> 12) + name).ljust(length, b"\0")


def _entries(raw: bytes, position: int, own_at: int, left_out: set[bytes]) -> Iterator[Entry]:
    size = _HEAD.size
    unpack = _HEAD.unpack_from
    last = len(raw) - size
    while 0 <= position <= last:
        number, _, length, kind = unpack(raw, position)
        if length <= size:
            return  # a position that no listing gave
        begin = position + size
        position += length
        name = raw[begin : raw.find(b"\0", begin)]
        if not left_out or name not in left_out or position > own_at:
            yield name, number, kind << 12, position
