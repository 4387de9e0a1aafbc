"""Replies to readdir without attributes, which cost a quarter of those with them.

pyfuse3 knows READDIRPLUS only: each entry comes with its inode and attributes, as if it had been looked up. That costs
a stat(2), a node and a reference for every name, and lets the kernel keep names that a commit has replaced meanwhile,
if it takes the reply in late (W3). But an entry whose node number is 0 is a mere name to the kernel, with a type and
an inode number; it looks up what somebody asks for. pyfuse3 sets the node's number and the inode's number together, so
the former is set to 0 where it lies in memory: it is the first field of the C structure that the object begins with.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable

from pyfuse3 import EntryAttributes, InodeT, ReaddirToken, readdir_reply

from lockfs.runtime.directories import Entry

_PROBE = 0x5EED_0123_4567_89AB


class NameReply:
    """Adds names to a reply. `works`: pyfuse3's objects are laid out as this needs it."""

    def __init__(self) -> None:
        self._entry = EntryAttributes()
        self._entry.entry_timeout = self._entry.attr_timeout = 0
        self._node_number = ctypes.c_uint64.from_address(id(self._entry) + object.__basicsize__)
        self.works = self._check()

    def _check(self) -> bool:
        self._entry.st_ino = InodeT(_PROBE)
        if self._node_number.value != _PROBE:
            return False
        self._node_number.value = 0
        return int(self._entry.st_ino) == 0

    def fill(self, token: ReaddirToken, entries: Iterable[Entry]) -> None:
        """Add entries until the reply is full."""
        entry, node_number = self._entry, self._node_number
        for name, number, kind, position in entries:
            entry.st_mode = kind
            entry.st_ino = number
            node_number.value = 0
            if not readdir_reply(token, name, entry, position):
                return
