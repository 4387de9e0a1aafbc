"""One inode as the kernel knows it; the table of them is in `nodes`."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lockfs.store.layout import FileId

if TYPE_CHECKING:
    from lockfs.runtime.appends import Twin
    from lockfs.runtime.areas import Area
    from lockfs.runtime.handles import FileHandle
    from lockfs.runtime.session import Session

ROOT_ID = 1


class Node:
    """One inode as the kernel knows it."""

    __slots__ = (
        "announcing",
        "area",
        "fd",
        "file_id",
        "former",
        "growing",
        "handles",
        "is_dir",
        "kernel_lags",
        "kind",
        "maybe_cached",
        "more",
        "name",
        "nlookup",
        "nodeid",
        "parent",
        "pins",
        "session",
        "shown_size",
        "superseded",
        "twin",
        "version",
        "was_changed",
    )

    def __init__(self, nodeid: int, file_id: FileId, kind: int, area: Area) -> None:
        self.nodeid = nodeid
        self.file_id = file_id
        self.area = area
        """The mount that it was found in."""
        self.kind = kind
        """S_IFMT of its mode: a number that is used again may change it, and the kernel answers EIO to that."""
        self.is_dir = kind == stat.S_IFDIR
        self.nlookup = 0
        """References that the kernel holds."""
        self.pins = 0
        """References that we hold: child nodes, slots."""
        self.parent: Node | None = None
        self.name = b""
        self.former: tuple[tuple[Node, bytes], ...] = ()
        """The names that it lost last, the latest first: replaced by a commit, renamed or removed."""
        self.superseded = False
        """A commit put a new version in its place; it has no name any more, but its file is still there."""
        self.more: dict[tuple[Node, bytes], None] | None = None
        """Further names (hard links)."""
        self.fd = -1
        """A path descriptor, or -1."""
        self.handles: set[FileHandle] = set()
        """Open handles on the committed file."""
        self.session: Session | None = None
        """A session's private inode, until its end."""
        self.twin: Twin | None = None
        """An appenders' inode."""
        self.growing = False
        """Append handles are open on this file, by way of a twin (A4)."""
        self.kernel_lags = False
        """Its size was changed by way of another inode (an appender's): the kernel may take an old end for its end."""
        self.maybe_cached = False
        """The kernel may have pages of it: it was open since they were last dropped."""
        self.announcing = 0
        """How many appends are being announced to the kernel; until then `shown_size` is shown."""
        self.shown_size = 0
        self.version: tuple[int, int, int] | None = None
        """Times and size when the file was last opened."""
        self.was_changed = False
        """The last open found it changed since the one before: the kernel's pages may be old (M2)."""

    def is_at(self, status: os.stat_result) -> bool:
        """Whether a status is of this file."""
        return (status.st_dev, status.st_ino) == self.file_id and stat.S_IFMT(status.st_mode) == self.kind

    def names(self) -> Iterator[tuple[Node, bytes]]:
        """The entries that lead here, the latest found first."""
        if self.parent is not None:
            yield self.parent, self.name
        if self.more:
            yield from self.more

    def has_name(self, parent: Node, name: bytes) -> bool:
        """Whether the entry `name` in `parent` leads here."""
        return (self.parent is parent and self.name == name) or bool(self.more and (parent, name) in self.more)

    def path(self, name: bytes | None = None) -> bytes:
        """The path relative to the mount, for rules and for people; of the entry `name` in it if given."""
        parts = [] if name is None else [name]
        node: Node | None = self
        while node is not None and node.parent is not None:
            parts.append(node.name)
            node = node.parent
        return b"/".join(reversed(parts))
