"""Open files and directories, as the kernel's file handles name them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lockfs.core.ids import HandleId, WriterId
from lockfs.core.records import RecordAssembler

if TYPE_CHECKING:
    from lockfs.runtime.appends import Twin
    from lockfs.runtime.nodes import Node
    from lockfs.runtime.processes import Caller
    from lockfs.runtime.session import Session
    from lockfs.runtime.slots import Slot


class FileHandle:
    """An open file; `fd` is what reads and fstat go to."""

    __slots__ = ("node",)

    def __init__(self, node: Node) -> None:
        self.node = node

    @property
    def fd(self) -> int:
        """The descriptor in the backing directory."""
        raise NotImplementedError


class PlainHandle(FileHandle):
    """A file opened in place: a reader's, a shared one's, or a live writer's (who has the pen)."""

    __slots__ = ("_fd", "appends", "pen", "slot", "writer", "writing")

    def __init__(
        self,
        node: Node,
        fd: int,
        *,
        writing: bool,
        slot: Slot | None = None,
        pen: HandleId | None = None,
        writer: WriterId | None = None,
        appends: bool = False,
    ) -> None:
        super().__init__(node)
        self._fd = fd
        self.appends = appends
        """Opened with O_APPEND."""
        self.writing = writing
        self.slot = slot
        self.pen = pen
        self.writer = writer
        """Who opened it, where that matters (live, or to append)."""

    @property
    def fd(self) -> int:
        return self._fd

    @property
    def is_shared(self) -> bool:
        """A writer's, without a pen (D1)."""
        return self.writing and self.pen is None


def attached(handle: PlainHandle) -> PlainHandle:
    """Register a new handle with its node."""
    handle.node.handles.add(handle)
    handle.node.maybe_cached = True
    return handle


class SessionHandle(FileHandle):
    """A handle on a session's staged file: the writer's, or one of its family (F1, F2)."""

    __slots__ = ("flushed", "hid", "session", "writer", "writing")

    def __init__(self, node: Node, session: Session, writer: WriterId, hid: HandleId | None, writing: bool) -> None:
        super().__init__(node)
        self.session = session
        self.writer = writer
        self.hid = hid
        self.writing = writing
        self.flushed = False
        """Some descriptor of it was closed, so its opener did get one."""

    @property
    def fd(self) -> int:
        return self.session.read_fd


class AppendHandle(FileHandle):
    """An appender's handle, with the unfinished tail of its last record (A3)."""

    __slots__ = ("caller", "privileged", "records", "tid", "twin")

    def __init__(self, twin: Twin, caller: Caller, tid: int, record_limit: int, *, privileged: bool) -> None:
        super().__init__(twin.node)
        self.twin = twin
        self.caller = caller
        self.tid = tid
        self.privileged = privileged
        self.records = RecordAssembler(record_limit)

    @property
    def fd(self) -> int:
        return self.twin.fd


@dataclass(slots=True, eq=False)
class DirHandle:
    """An open directory."""

    node: Node
    fd: int
    tid: int
    raw: bytes | None = None
    """Its entries when listing began, as getdents64(2) gives them; positions are offsets in it."""
    own_at: int = 0
    """Where the entries begin that were added to those."""
    left_out: set[bytes] = field(default_factory=set)
    """Names before `own_at` that are not shown there."""
