"""What can go wrong, as facts with fields. No errno here: the one table of those is at the FUSE boundary."""

from __future__ import annotations

from lockfs.core.ids import FileKey, WriterId


class LockfsError(Exception):
    """Something the person who typed the command must know. Its text is one clear line that says what to
    do.
    """


class Fact(Exception):
    """Base of what the core raises to refuse a request. Whatever raised it has changed nothing."""


class Conflict(Fact):
    """The request would have to wait, and was not to (`refuse`, O_NONBLOCK; Q1)."""

    def __init__(self, key: FileKey, holder: WriterId | None, since_s: float, waiting: int) -> None:
        self.key = key
        self.holder = holder
        """Who has the pen. None: only brief appends hold, so the file will be free in a moment."""
        self.since_s = since_s
        """Since when it is held, on the caller's clock."""
        self.waiting = waiting
        """How many wait already."""
        who = "appends" if holder is None else f"pid {holder.pid}"
        super().__init__(f"file {key} is held by {who}, {waiting} waiting")


class WaitCycle(Fact):
    """Waiting would close (or has closed) a cycle of waiters, each waiting for the next (Q4)."""

    def __init__(self, key: FileKey, holder: WriterId) -> None:
        self.key = key
        self.holder = holder
        """Who has the pen of `key`, and waits, itself or through others, for the family of who asked."""
        super().__init__(f"waiting for file {key}, held by pid {holder.pid}, closes a cycle")
