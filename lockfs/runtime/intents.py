"""Opens that were sent round once more, to get an inode of their own (fuse-facts, "The private inode").

An open for writing is answered with ESTALE. The kernel then walks the path again, as the same thread; the lookup of
the last name is answered with the private inode, and the second open comes for that. A thread can do nothing else in
between, so what is remembered is remembered for the thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from lockfs.runtime.nodes import Node
from lockfs.runtime.processes import is_alive
from lockfs.runtime.session import Session

_EXPIRY_S = 5.0
_POLL_S = 0.5


@dataclass(slots=True)
class Intent:
    """What a thread is about to open (or truncate)."""

    tid: int
    node: Node | None
    """The committed node that the first open came for; None: a file that is to be created."""
    names: frozenset[tuple[Node, bytes]]
    """Where it may be found."""
    append: bool
    create_mode: int | None = None
    """The new file's mode, where the kernel told it (create)."""
    uid: int = 0
    gid: int = 0
    may_create: bool = False
    """A new file is to be made if there is none any more."""
    plain: bool = False
    """It needs no private inode, only to be led to what stands at the path now."""
    given: Node | None = None
    """The private node that the lookup was answered with; pinned."""
    expected_by: Session | None = None
    """The open session of the family that it was answered with: it does not end before the thread comes."""
    error: OSError | None = None
    """Why there is no private inode for it."""
    expires_s: float = field(default_factory=lambda: trio.current_time() + _EXPIRY_S)


class Intents:
    """The intents of all threads. `dropped` is called for one whose second open did not come."""

    def __init__(self, dropped: Callable[[Intent], None]) -> None:
        self._by_thread: dict[int, Intent] = {}
        self._dropped = dropped

    def __bool__(self) -> bool:
        return bool(self._by_thread)

    def remember(self, intent: Intent) -> None:
        """The thread's open was answered with ESTALE."""
        self.discard(intent.tid)
        self._by_thread[intent.tid] = intent

    def of(self, tid: int) -> Intent | None:
        """What the thread is about to do, if anything."""
        return self._by_thread.get(tid)

    def take(self, tid: int, node: Node) -> Intent | None:
        """The thread's next request is here, for `node`; the caller now owns the intent and its pin.

        None if the thread does something else than what it was sent round for.
        """
        intent = self._by_thread.pop(tid, None) if self._by_thread else None
        if intent is not None and intent.given is not node and intent.node is not node:
            self._dropped(intent)
            return None
        return intent

    def discard(self, tid: int) -> None:
        """The thread does something else."""
        intent = self._by_thread.pop(tid, None)
        if intent is not None:
            self._dropped(intent)

    async def expire(self) -> None:
        """Drop intents whose thread died in between; runs as long as the mount."""
        while True:
            await trio.sleep(_POLL_S)
            now = trio.current_time()
            for tid, intent in list(self._by_thread.items()):
                if intent.expires_s < now or not is_alive(tid):
                    self.discard(tid)
