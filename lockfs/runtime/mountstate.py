"""What all parts of a mount share."""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

import trio

from lockfs.core.arbiter import Arbiter, Granted, Kind
from lockfs.core.errors import Conflict, WaitCycle
from lockfs.core.ids import HandleId, WriterId
from lockfs.core.policy import Policy
from lockfs.runtime.areas import Area, Areas
from lockfs.runtime.events import Counters, log, process_label, shown
from lockfs.runtime.nodes import Node, NodeTable
from lockfs.runtime.processes import Caller, Processes
from lockfs.runtime.settings import Settings
from lockfs.runtime.slots import Slot, SlotTable
from lockfs.runtime.waiters import GaveUp, WaitingRoom
from lockfs.store.area import StagingArea
from lockfs.store.layout import HIDDEN, Layout

T = TypeVar("T")


class Kernel(Protocol):
    """What the mount may tell the kernel."""

    def forget_attributes(self, node: Node) -> None:
        """The cached attributes of a node are out of date. Never blocks."""

    async def forget_content(self, node: Node) -> None:
        """The cached pages of a node are out of date."""

    async def forget_name(self, parent: Node, name: bytes) -> None:
        """What an entry leads to is to be asked again. Waits for whoever holds the directory's lock."""


class MountState:
    """The tables, the arbiter and the store of one mount."""

    def __init__(self, settings: Settings, layout: Layout, kernel: Kernel, max_dir_fds: int) -> None:
        self.settings = settings
        self.layout = layout
        self.kernel = kernel
        self.areas = Areas(layout.root_fd, os.fspath(settings.mountpoint))
        self.nodes = NodeTable(layout.root_fd, max_dir_fds, self.areas)
        self.slots = SlotTable(self.nodes)
        self.arbiter = Arbiter()
        self.waiting = WaitingRoom(self.arbiter)
        self.processes = Processes()
        self.policy = Policy()
        self.counters = Counters()
        if not layout.read_only:
            self.areas.home.store = StagingArea(layout)
            self.areas.home.hidden_id = self.areas.home.store.hidden_id
        self.stopping = False
        self.started_s = trio.current_time()
        self.nursery: trio.Nursery | None = None
        """Where work goes on that no request waits for; the mount sets it."""
        self._noting: list[tuple[Node, set[bytes]]] = []
        self._handle_ids = itertools.count(1)
        self._threads = trio.CapacityLimiter(40)

    def new_handle_id(self) -> HandleId:
        """An id for the arbiter."""
        return HandleId(next(self._handle_ids))

    def refuse_when_stopping(self) -> None:
        """Raises OSError(EROFS) when the mount is being taken down (N7)."""
        if self.stopping:
            raise OSError(errno.EROFS, "lockfs is being unmounted")

    @property
    def store(self) -> StagingArea:
        """The backing directory's own; of mounts below it see `store_of`. Raises OSError(EROFS) if it is only read."""
        if self.areas.home.store is None:
            raise OSError(errno.EROFS, "the backing directory is read-only")
        return self.areas.home.store

    def can_stage(self, area: Area) -> bool:
        """Whether files in a mount can be replaced in one step; see `Areas.can_stage`."""
        return area.store is not None or self.areas.can_stage(area, self.nodes)

    def store_of(self, area: Area) -> StagingArea:
        """Where files of a mount are staged. Raises OSError."""
        return self.areas.store_of(area, self.nodes)

    def regular_at(self, slot: Slot) -> os.stat_result:
        """lstat(2) of the file at an entry. Raises OSError; ESTALE if no regular file stands there (M2)."""
        status = os.stat(slot.name, dir_fd=self.nodes.dir_fd(slot.parent), follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.ESTALE, "no regular file stands there")
        return status

    def hides(self, parent: Node, name: bytes) -> bool:
        """Whether an entry is a hidden directory of ours, at the root of some mount (C3)."""
        if name != HIDDEN:
            return False
        if parent.area.root is parent:
            return True
        try:
            status = os.stat(name, dir_fd=self.nodes.dir_fd(parent), follow_symlinks=False)
        except OSError:
            return False
        return self.areas.is_hidden((status.st_dev, status.st_ino))

    async def acquire(
        self, slot: Slot, handle: HandleId, kind: Kind, caller: Caller, tid: int, *, nonblocking: bool = False
    ) -> Granted:
        """Get the pen (or an append) of a slot, waiting in the queue as the rule says (Q1-Q5).

        Raises OSError: EAGAIN (`nonblocking`), EBUSY (refuse), ETIMEDOUT, EINTR, EDEADLK, EROFS (unmounting).
        """
        wait = not nonblocking and (self.settings.on_conflict == "queue")
        timeout_s = self.settings.queue_timeout_s
        return await self._acquire(
            slot,
            handle,
            kind,
            caller,
            tid,
            timeout_s,
            wait,
            errno.EAGAIN if nonblocking else errno.EBUSY,
            errno.ETIMEDOUT,
        )

    async def acquire_briefly(self, slot: Slot, handle: HandleId, kind: Kind, caller: Caller, tid: int) -> Granted:
        """Like `acquire` where the kernel holds locks that the holder may need: waits a moment, then EBUSY (Q7)."""
        return await self._acquire(
            slot, handle, kind, caller, tid, self.settings.rename_wait_s, True, errno.EBUSY, errno.EBUSY
        )

    async def acquire_patiently(
        self, slot: Slot, handle: HandleId, kind: Kind, caller: Caller, timeout_s: float
    ) -> Granted:
        """Like `acquire`, for no thread in particular, and as long as it takes."""
        return await self._acquire(slot, handle, kind, caller, 0, timeout_s, True, errno.EBUSY, errno.ETIMEDOUT)

    async def acquire_to_append(self, slot: Slot, handle: HandleId, caller: Caller, tid: int) -> Granted:
        """Wait for an append write's turn, under `refuse` too: the append was accepted when it was opened (A6)."""
        return await self._acquire(
            slot, handle, Kind.APPEND, caller, tid, self.settings.queue_timeout_s, True, errno.EBUSY, errno.ETIMEDOUT
        )

    async def _acquire(
        self,
        slot: Slot,
        handle: HandleId,
        kind: Kind,
        caller: Caller,
        tid: int,
        timeout_s: float,
        wait: bool,
        refused_errno: int,
        late_errno: int,
    ) -> Granted:
        self.refuse_when_stopping()
        path = slot.path()
        try:
            outcome = self.arbiter.acquire(slot.key, handle, kind, caller.lineage, trio.current_time(), wait=wait)
        except Conflict as conflict:
            if conflict.holder is None:  # nobody writes it; an append is just ending
                return await self.acquire_briefly(slot, handle, kind, caller, tid)
            self.counters.refused(path)
            self._tell("refused", path, caller, conflict.holder)
            raise OSError(refused_errno, "somebody else writes this file") from conflict
        except WaitCycle as cycle:
            self.counters.deadlocks += 1
            self._tell("deadlock avoided", path, caller, cycle.holder)
            raise OSError(errno.EDEADLK, "waiting would never end") from cycle
        if isinstance(outcome, Granted):
            return outcome
        return await self._wait(slot, handle, caller, tid, timeout_s, late_errno)

    async def _wait(
        self, slot: Slot, handle: HandleId, caller: Caller, tid: int, timeout_s: float, late_errno: int
    ) -> Granted:
        path = slot.path()
        began_s = trio.current_time()
        self.counters.wait_began(path)
        self.slots.in_use(slot)
        try:
            outcome = await self.waiting.wait(handle, tid, timeout_s)
        finally:
            self.counters.wait_ended(path, trio.current_time() - began_s)
            self.slots.done(slot)
        if isinstance(outcome, Granted):
            return outcome
        hold = self.arbiter.holder(slot.key)
        holder = hold.owner if hold else None
        if outcome is GaveUp.TIMED_OUT:
            self.counters.timeouts += 1
            self._tell("timed out", path, caller, holder)
            raise OSError(late_errno, "somebody else still writes this file")
        if outcome is GaveUp.INTERRUPTED:
            self.counters.interrupted += 1
            self._tell("wait interrupted", path, caller, holder)
            raise OSError(errno.EINTR, "interrupted")
        if outcome is GaveUp.STOPPING:
            raise OSError(errno.EROFS, "lockfs is being unmounted")
        self.counters.deadlocks += 1
        self._tell("deadlock avoided", path, caller, holder)
        raise OSError(errno.EDEADLK, "waiting would never end")

    @staticmethod
    def _tell(what: str, path: bytes, caller: Caller, holder: WriterId | None) -> None:
        log.info(
            "%s path=%s asked=%s holder=%s", what, shown(path), process_label(caller.writer), process_label(holder)
        )

    def give_ownership(self, fd: int, parent: Node, uid: int, gid: int) -> None:
        """Make a new file the caller's, and its group the setgid directory's where there is one (W5, mkdir(2)).

        It keeps its mode: chown(2) takes setuid and setgid bits away, which a new file may well have (open(2)).
        """
        directory = os.fstat(self.nodes.dir_fd(parent))
        if directory.st_nlink == 0:
            raise OSError(errno.ENOENT, "the directory was removed")
        if directory.st_mode & stat.S_ISGID:
            gid = directory.st_gid
        elif uid == os.geteuid() and gid == os.getegid():
            return
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        try:
            os.fchown(fd, uid, gid)
        except PermissionError:
            return  # not root: every file is the mounting user's
        if mode & (stat.S_ISUID | stat.S_ISGID):
            os.fchmod(fd, mode)

    @contextmanager
    def noting_commits(self, directory: Node, names: set[bytes]) -> Iterator[None]:
        """Meanwhile the names in `directory` that a commit gives to a new version are added to `names`."""
        noting = (directory, names)
        self._noting.append(noting)
        try:
            yield
        finally:
            self._noting = [other for other in self._noting if other is not noting]

    def committed(self, directory: Node, name: bytes) -> None:
        """A commit has just put a new version at an entry."""
        for listed, names in self._noting:
            if listed is directory:
                names.add(name)

    async def forget_stale_name(self, slot: Slot) -> None:
        """A session begins here: from now on the kernel asks for the name each time (W3)."""
        if slot.stale_name:
            slot.stale_name = False
            await self.kernel.forget_name(slot.parent, slot.name)

    def spawn(self, function: Callable[..., Awaitable[None]], *args: object) -> None:
        """Do something that no request waits for."""
        assert self.nursery is not None
        self.nursery.start_soon(function, *args)

    async def in_thread(self, function: Callable[..., T], *args: object) -> T:
        """Run what may block for long outside the loop, to its end even if the mount goes down."""
        return await trio.to_thread.run_sync(function, *args, limiter=self._threads)
