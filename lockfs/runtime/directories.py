"""Listing directories: a snapshot of names, so that no entry that stays is repeated or lost."""

from __future__ import annotations

import os

from lockfs.runtime.handles import DirHandle
from lockfs.runtime.mountstate import MountState
from lockfs.runtime.nodes import Node
from lockfs.runtime.sessions import Sessions
from lockfs.store.entries import names_in
from lockfs.store.layout import HIDDEN

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Directories:
    """Opens and lists directories."""

    def __init__(self, state: MountState, sessions: Sessions) -> None:
        self._state = state
        self._sessions = sessions

    def open(self, node: Node, tid: int) -> DirHandle:
        """opendir(3)."""
        return DirHandle(node, os.open(b".", _FLAGS, dir_fd=self._state.nodes.dir_fd(node)), tid)

    def take_snapshot(self, handle: DirHandle) -> None:
        """Read the names anew: at the first reading and after rewinddir(3)."""
        node = handle.node
        names = names_in(handle.fd)
        if self._state.areas.may_hide(node) and HIDDEN in names and self._state.hides(node, HIDDEN):
            names = [name for name in names if name != HIDDEN]
        known = None
        for slot in self._state.slots:
            session = slot.session
            if slot.parent is node and session is not None:
                lineage = self._state.processes.caller(handle.tid).lineage
                known = known or set(names)
                if slot.name not in known and self._sessions.is_family(session, lineage):
                    names.append(slot.name)
        handle.names = names

    def close(self, handle: DirHandle) -> None:
        """closedir(3)."""
        os.close(handle.fd)
