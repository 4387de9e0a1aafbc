"""One session: a writer's private version of a file."""

from __future__ import annotations

import os
import stat
from enum import Enum
from typing import TYPE_CHECKING

import trio

from lockfs.core.ids import HandleId, WriterId
from lockfs.core.session import State
from lockfs.runtime.statuses import with_fields
from lockfs.store.area import StagingArea
from lockfs.store.staging import Staged

if TYPE_CHECKING:
    from lockfs.runtime.handles import SessionHandle
    from lockfs.runtime.nodes import Node
    from lockfs.runtime.slots import Slot


class SessionKind(Enum):
    """How the writer opened the file; see the table in SEMANTICS.md."""

    REPLACER = "replacer"
    EDITOR = "editor"
    TRUNCATE = "truncate"


class Session:
    """One writer's private version of a file."""

    __slots__ = (
        "abort_reason",
        "base_fd",
        "base_id",
        "changed",
        "copied",
        "copying",
        "expected",
        "failed",
        "flushed_writes",
        "handles",
        "kept_pen",
        "killed",
        "kind",
        "lingers",
        "may_create",
        "new_gid",
        "new_mode",
        "new_uid",
        "node",
        "owner",
        "removed_by_writer",
        "replaced",
        "slot",
        "spoiled",
        "staged",
        "state",
        "store",
        "synced_writes",
        "writes",
    )

    def __init__(self, slot: Slot, store: StagingArea, staged: Staged, node: Node, owner: WriterId) -> None:
        self.slot = slot
        self.store = store
        """Where it is staged: on the filesystem of its file."""
        self.staged = staged
        self.node = node
        self.owner = owner
        self.state = State.PREPARED
        self.kind = SessionKind.REPLACER
        self.base_fd = -1
        """The committed version, open (editors): what is read while the staged file has not its content yet."""
        self.base_id: tuple[int, int] | None = None
        """The committed version that stood when the session began; None: a new file."""
        self.may_create = False
        """Without a committed version it makes a new file."""
        self.new_mode = 0o600
        self.new_uid = 0
        self.new_gid = 0
        self.spoiled = False
        """The staged file got attributes of its own: it cannot serve another session."""
        self.copied = True
        self.changed = False
        self.writes = 0
        """Counts the changes."""
        self.flushed_writes = 0
        """How many of them had come when a descriptor was closed last."""
        self.synced_writes = 0
        """How many of them are on disk."""
        self.failed = 0
        """The errno of a write that did not succeed, or 0."""
        self.killed = 0
        """The signal that ended the process that opened it, or 0."""
        self.abort_reason = ""
        """Why it was ended from outside, or ''."""
        self.removed_by_writer = False
        self.replaced = False
        self.handles: set[SessionHandle] = set()
        self.expected = 0
        """How many threads of the family were shown its inode and have yet to come with their open."""
        self.lingers = False
        """The last writer has closed; somebody is expected."""
        self.kept_pen: HandleId | None = None
        """The last writer's pen, while the session lingers."""
        self.copying = trio.Lock()

    @property
    def read_fd(self) -> int:
        """Where reads and fstat go: the committed version until the first change."""
        return self.staged.fd if self.copied else self.base_fd

    @property
    def is_new(self) -> bool:
        """No committed version stood at the path when the session began."""
        return self.base_id is None

    def writers(self) -> int:
        """How many writing handles are open."""
        return sum(1 for handle in self.handles if handle.writing)

    def status(self) -> os.stat_result:
        """fstat(2) of what the writer sees, with the committed version's inode number until the commit."""
        status = os.fstat(self.read_fd)
        changes: dict[int, int] = {}
        if self.base_id is not None and self.state is State.OPEN:
            # Editors compare what they open with what they looked at (vim: E949); it changes with the commit.
            changes[stat.ST_INO] = self.base_id[1]
        if not self.copied:
            changes[stat.ST_NLINK] = 1
        if self.state is State.DETACHED and self.removed_by_writer:
            changes[stat.ST_NLINK] = 0
        return with_fields(status, changes)
