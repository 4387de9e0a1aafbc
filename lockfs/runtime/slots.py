"""Directory entries that somebody writes, waits for or appends to."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import trio

from lockfs.core.ids import FileKey

if TYPE_CHECKING:
    from lockfs.runtime.appends import Twin
    from lockfs.runtime.nodes import Node, NodeTable
    from lockfs.runtime.session import Session


class Slot:
    """One entry (a name in a directory). It follows the entry when it is renamed (W7)."""

    __slots__ = ("key", "name", "parent", "session", "settling", "stale_name", "twin", "uses")

    def __init__(self, key: FileKey, parent: Node, name: bytes) -> None:
        self.key = key
        self.parent = parent
        self.name = name
        self.session: Session | None = None
        """The open session, whose owner has the pen."""
        self.twin: Twin | None = None
        self.settling: trio.Event | None = None
        """The writer has closed, and the commit still waits for the disk: whoever looks now waits for it (W3)."""
        self.stale_name = False
        """A rename brought another file here: the kernel may keep the entry that it moved, for as long as it was told
        before."""
        self.uses = 0
        """Waiters, prepared sessions, pens held in place."""

    def path(self) -> bytes:
        """The entry's path relative to the mount."""
        return self.parent.path(self.name)

    def unsettle(self) -> None:
        """Whoever looks at the entry waits from now on, until `settle` (W3)."""
        if self.settling is None:
            self.settling = trio.Event()

    def settle(self) -> None:
        """See `unsettle`."""
        if self.settling is not None:
            self.settling.set()
            self.settling = None

    @property
    def busy(self) -> bool:
        """Whether the kernel must ask for this name each time."""
        return self.session is not None or self.twin is not None or self.uses > 0


class SlotTable:
    """The slots in use, by parent and name."""

    def __init__(self, nodes: NodeTable) -> None:
        self._nodes = nodes
        self._slots: dict[tuple[int, bytes], Slot] = {}
        self._inside: dict[int, int] = {}
        self._keys = itertools.count(1)

    def get(self, parent: Node, name: bytes) -> Slot | None:
        """The slot of an entry, if it is in use."""
        return self._slots.get((parent.nodeid, name))

    def obtain(self, parent: Node, name: bytes) -> Slot:
        """The slot of an entry, made if need be."""
        slot = self._slots.get((parent.nodeid, name))
        if slot is None:
            slot = Slot(FileKey(next(self._keys)), parent, name)
            self._insert(slot)
        return slot

    def _insert(self, slot: Slot) -> None:
        parent_id = slot.parent.nodeid
        self._slots[(parent_id, slot.name)] = slot
        self._inside[parent_id] = self._inside.get(parent_id, 0) + 1
        self._nodes.pin(slot.parent)

    def inside(self, directory: Node) -> bool:
        """Whether entries of this directory are in use: a commit may change its times at any moment."""
        return directory.nodeid in self._inside

    def is_current(self, slot: Slot) -> bool:
        """Whether the slot still stands for its entry; a rename may have put another in its place."""
        return self._slots.get((slot.parent.nodeid, slot.name)) is slot

    def in_use(self, slot: Slot) -> None:
        """One more use; end it with `done`."""
        slot.uses += 1

    def done(self, slot: Slot) -> None:
        """One use less."""
        slot.uses -= 1
        self.drop_if_idle(slot)

    def drop_if_idle(self, slot: Slot) -> None:
        """Forget a slot that nobody uses."""
        if not slot.busy:
            self._remove(slot)

    def _remove(self, slot: Slot) -> None:
        if self._slots.get((slot.parent.nodeid, slot.name)) is slot:
            del self._slots[(slot.parent.nodeid, slot.name)]
            left = self._inside.pop(slot.parent.nodeid) - 1
            if left:
                self._inside[slot.parent.nodeid] = left
            self._nodes.unpin(slot.parent)

    def move(self, slot: Slot, parent: Node, name: bytes) -> None:
        """The entry was renamed; what was at the new place is not in the table any more."""
        there = self._slots.get((parent.nodeid, name))
        if there is not None and there is not slot:
            self._remove(there)
        self._remove(slot)
        slot.parent = parent
        slot.name = name
        self._insert(slot)

    def exchange(self, one: tuple[Node, bytes], other: tuple[Node, bytes]) -> None:
        """Two entries changed places (RENAME_EXCHANGE)."""
        slots = [(self.get(*one), other), (self.get(*other), one)]
        for slot, _ in slots:
            if slot is not None:
                self._remove(slot)
        for slot, (parent, name) in slots:
            if slot is not None:
                slot.parent = parent
                slot.name = name
                self._insert(slot)

    def __iter__(self) -> Iterator[Slot]:
        return iter(list(self._slots.values()))
