"""Appenders: whole records in order, and always into the version that stands (A1-A4, A6).

All append handles of an entry share an inode of their own, the twin. The readers' inode then never hears from the
kernel of sizes that include a held tail (A4), and flock(2) between appenders works (D2).
"""

from __future__ import annotations

import errno
import os
import stat

import trio

from lockfs.core.ids import HandleId
from lockfs.core.records import RecordAssembler
from lockfs.runtime.custody import Custodian, Custody
from lockfs.runtime.events import log, shown
from lockfs.runtime.handles import AppendHandle
from lockfs.runtime.mountstate import MountState
from lockfs.runtime.nodes import Node
from lockfs.runtime.processes import Caller, append_flags, command, has_children, killed_by
from lockfs.runtime.sessions import Sessions
from lockfs.runtime.slots import Slot
from lockfs.runtime.statuses import new_file_status, with_fields
from lockfs.store.journal import Writer
from lockfs.store.layout import FileId
from lockfs.store.orphans import Note
from lockfs.store.staging import append_all


class Twin:
    """The appenders' inode of one entry. `slot` None: the entry was removed, the appenders keep the old file."""

    __slots__ = (
        "custody",
        "fd",
        "file_id",
        "handles",
        "kernels_end",
        "new_file",
        "node",
        "shown_end",
        "shown_number",
        "slot",
    )

    def __init__(self, slot: Slot, node: Node) -> None:
        self.slot: Slot | None = slot
        self.node = node
        self.fd = -1
        """The version that stands, opened for appending; -1 before the first open."""
        self.file_id: FileId = (0, 0)
        """Of that version."""
        self.custody: Custody | None = None
        """Records that were taken in while a stranger writes the file."""
        self.new_file = (0o600, 0, 0)
        """Mode, owner and group, should an appender have to make the file."""
        self.handles: set[AppendHandle] = set()
        self.kernels_end = -1
        """What the kernel takes for the file's end after the last write: O_APPEND writes come for there."""
        self.shown_end = -1
        """The size that the kernel was told last: O_APPEND writes may come for there, too."""
        self.shown_number = 0
        """The inode number that fstat(2) of the appenders shows."""

    def follow(self, fd: int, target: Node) -> None:
        """A session committed a new version, open as `fd`: append to that one from now on (A6)."""
        if self.fd < 0:
            return
        new_fd = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        os.close(self.fd)
        self.fd = new_fd
        self.file_id = target.file_id
        if self.handles:
            target.growing = True

    def close(self) -> None:
        """Close the file."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Appends:
    """Opens, writes and ends append handles."""

    def __init__(self, state: MountState, sessions: Sessions) -> None:
        self._state = state
        self._sessions = sessions
        self._custodian = Custodian(state, self._append)
        self.open_handles = 0
        self._open: set[Twin] = set()
        """Those with handles."""

    def has_open(self, file_id: FileId) -> bool:
        """Whether somebody appends to a file, by whichever of its names (A4)."""
        return any(twin.file_id == file_id for twin in self._open)

    def twin_of(self, slot: Slot) -> Twin:
        """The twin of an entry, made if need be."""
        if slot.twin is None:
            node = self._state.nodes.unlisted(slot.parent.area)
            slot.twin = node.twin = Twin(slot, node)
        return slot.twin

    def drop_if_unused(self, twin: Twin) -> None:
        """Forget a twin that neither the kernel nor a handle refers to."""
        if twin.handles or twin.custody is not None or twin.node.nlookup > 0 or twin.node.pins > 0 or twin.node.handles:
            return
        twin.close()
        twin.node.twin = None
        self.detach(twin)
        self._state.nodes.drop_if_unused(twin.node)

    def leave_file(self, twin: Twin) -> None:
        """The entry leads to another file now, or to none: open appenders stay with the old one."""
        if twin.handles:
            self.detach(twin)
        else:
            twin.close()

    def detach(self, twin: Twin) -> None:
        """The twin does not stand for its entry any more."""
        slot, twin.slot = twin.slot, None
        if slot is not None and slot.twin is twin:
            slot.twin = None
            self._state.slots.drop_if_idle(slot)

    def open_file(self, twin: Twin, *, create: bool) -> None:
        """Open the version that stands; make an empty one (`twin.new_file`) if there is none and `create` says so.

        Raises OSError (ENOENT ...).
        """
        if twin.fd >= 0 and twin.handles:
            return
        twin.close()
        slot = twin.slot
        if slot is None:
            raise OSError(errno.ESTALE, "the file was removed")
        parent_fd = self._state.nodes.dir_fd(slot.parent)
        flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            twin.fd = os.open(slot.name, flags, dir_fd=parent_fd)
        except PermissionError:  # not root, and a file that its owner may write but not read
            twin.fd = os.open(slot.name, flags & ~os.O_RDWR | os.O_WRONLY, dir_fd=parent_fd)
        except FileNotFoundError:
            if not create:
                raise
            mode, uid, gid = twin.new_file
            twin.fd = os.open(slot.name, flags | os.O_CREAT | os.O_EXCL, mode, dir_fd=parent_fd)
            self._state.give_ownership(twin.fd, slot.parent, uid, gid)
            self._state.kernel.forget_attributes(slot.parent)
        status = os.fstat(twin.fd)
        twin.file_id = (status.st_dev, status.st_ino)

    def attach(self, twin: Twin, caller: Caller, tid: int, uid: int) -> AppendHandle:
        """A new append handle."""
        handle = AppendHandle(twin, caller, tid, self._state.settings.record_limit, privileged=uid == 0)
        twin.handles.add(handle)
        self._open.add(twin)
        self.open_handles += 1
        target = self._state.nodes.find(twin.file_id, twin.node.area)
        if target is not None and not target.growing:
            target.growing = True
            self._state.kernel.forget_attributes(target)
        return handle

    def is_positioned(self, handle: AppendHandle, offset: int, size: int) -> bool:
        """Whether a write is for a place in the file: by an appender who has taken O_APPEND back (fcntl(2), F_SETFL).

        The request does not say so. One that is not for the end has the writer's descriptors looked at.
        """
        twin = handle.twin
        expected, twin.kernels_end = twin.kernels_end, offset + size
        if offset in (expected, twin.shown_end):
            return False
        end = os.fstat(twin.fd).st_size
        if end <= offset <= end + sum(len(one.records.tail) for one in twin.handles):
            return False
        if False not in append_flags(handle.caller.writer.pid, {twin.node.nodeid, twin.shown_number}):
            return False
        twin.kernels_end = max(expected, offset + size)
        return True

    async def write(self, handle: AppendHandle, data: bytes) -> None:
        """Take what a program wrote; whole records reach the file before this returns (A2, A4).

        Raises OSError, and then nothing of `data` was taken.
        """
        feed = handle.records.feed(data)
        if feed.overflow:
            log.info("record longer than the limit path=%s", shown(self.path(handle)))
        if not feed.out:
            return
        try:
            await self._put(handle, feed.out, handle.tid)
        except BaseException:
            held_before = (feed.out + handle.records.tail)[: -len(data)]
            handle.records = RecordAssembler(self._state.settings.record_limit)
            handle.records.feed(held_before)
            raise
        counters = self._state.counters
        counters.records += feed.records
        counters.appended_bytes += len(feed.out)

    def path(self, handle: AppendHandle) -> bytes:
        """The path for people."""
        slot = handle.twin.slot
        return slot.path() if slot is not None else b"(removed)"

    async def end_record(self, handle: AppendHandle, *, closing: bool = False) -> None:
        """fsync and close end a record: what is held goes out as it is (A3).

        `closing`: close(2) has returned, nobody waits for this and no signal can end it.
        """
        tail = handle.records.tail
        if not tail:
            return
        await self._put(handle, tail, 0 if closing else handle.tid)
        handle.records.end()
        self._state.counters.records += 1
        self._state.counters.appended_bytes += len(tail)

    async def _put(self, handle: AppendHandle, data: bytes, tid: int) -> None:
        """Bring whole records into the version that stands, or into the family's session (A6)."""
        state, twin = self._state, handle.twin
        slot = twin.slot
        own = slot is not None and state.arbiter.is_family(slot.key, handle.caller.lineage)
        if twin.custody is not None and slot is not None and not own:
            self._custodian.accept(twin, slot, handle, data)
            return
        if slot is None or not state.arbiter.blocks_append(slot.key, handle.caller.lineage):
            await self._put_now(handle, data)
            return
        turn = await self._wait_turn(slot, handle, tid)
        if turn is None:
            self._custodian.accept(twin, slot, handle, data)
            return
        try:
            await self._put_now(handle, data)
        finally:
            state.waiting.release(turn)

    async def _wait_turn(self, slot: Slot, handle: AppendHandle, tid: int) -> HandleId | None:
        """Wait while a stranger writes the file; None if others must not be held up by that any longer."""
        turn = self._state.new_handle_id()
        granted = False
        failure: OSError | None = None
        async with trio.open_nursery() as nursery:

            async def give_way() -> None:
                await self._custodian.wait_for_call(handle.twin, slot, handle)
                nursery.cancel_scope.cancel()

            nursery.start_soon(give_way)
            try:
                await self._state.acquire_to_append(slot, turn, handle.caller, tid)
                granted = True
            except OSError as error:
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return turn if granted else None

    async def _put_now(self, handle: AppendHandle, data: bytes) -> None:
        slot = handle.twin.slot
        session = slot.session if slot is not None else None
        if session is not None and self._sessions.is_family(session, handle.caller.lineage):
            part = self._sessions.take_part(session, handle.caller)
            try:
                await self._sessions.make_copy(session)
                for one in session.handles:
                    one.node.kernel_lags = True
                await self._sessions.write(session, os.fstat(session.staged.fd).st_size, data)
            finally:
                await self._sessions.release(part)
        else:
            await self._append(handle.twin, data, handle.privileged)

    async def _append(self, twin: Twin, data: bytes, privileged: bool) -> None:
        """Append to the version that stands, then let readers see it (A4).

        The kernel's page that holds the old end is filled up with NULs. It must be gone before the kernel hears of
        the new size, and be read again after the bytes are there; hence the order.
        """
        target = self._state.nodes.find(twin.file_id, twin.node.area)
        if target is not None:
            target.kernel_lags = True
        if target is None or target.nlookup <= 0 or not target.maybe_cached:
            append_all(twin.fd, data, privileged=privileged)
            return
        if not target.announcing:
            target.shown_size = os.fstat(twin.fd).st_size
        target.announcing += 1
        try:
            append_all(twin.fd, data, privileged=privileged)
            await self._state.kernel.forget_content(target)
            target.maybe_cached = bool(target.handles)
        finally:
            target.announcing -= 1

    def held_by(self, twin: Twin, tid: int) -> int:
        """How many bytes of tails a process has in its handles: its own view of the size includes them (W4)."""
        if not any(handle.records.tail for handle in twin.handles):
            return 0
        writer = self._state.processes.caller(tid).writer
        return sum(len(h.records.tail) for h in twin.handles if h.caller.writer == writer)

    def read(self, handle: AppendHandle, offset: int, size: int) -> bytes:
        """pread(2) that sees the handle's own tail behind the file's end, and its family's session (W4, A6)."""
        slot = handle.twin.slot
        session = slot.session if slot is not None else None
        own = session is not None and self._sessions.is_family(session, handle.caller.lineage)
        fd = session.read_fd if session is not None and own else handle.twin.fd
        data = os.pread(fd, size, offset)
        tail = handle.records.tail
        if tail and len(data) < size:
            end = os.fstat(fd).st_size
            start = max(offset + len(data) - end, 0)
            data += tail[start : start + size - len(data)]
        return data

    def status(self, twin: Twin, tid: int) -> os.stat_result:
        """fstat(2) as this process sees it. Raises OSError(ESTALE) before the first open."""
        status = self._status(twin, tid)
        twin.shown_number = self._state.nodes.number_shown(status)
        twin.shown_end = status.st_size
        return status

    def _status(self, twin: Twin, tid: int) -> os.stat_result:
        slot = twin.slot
        if slot is not None and slot.session is not None and self._sessions.is_own(slot.session, tid):
            return slot.session.status()
        if twin.fd < 0:
            if slot is None:
                raise OSError(errno.ESTALE, "the file was removed")
            try:
                return self._state.regular_at(slot)
            except FileNotFoundError:  # a stranger is creating it; this appender waits for that
                return new_file_status(*twin.new_file, twin.node.nodeid)
        status = os.fstat(twin.fd)
        held = self.held_by(twin, tid) + (twin.custody.size if twin.custody is not None else 0)
        return with_fields(status, {stat.ST_SIZE: status.st_size + held} if held else {})

    async def flush(self, handle: AppendHandle) -> None:
        """A close(2) of one descriptor. A killed appender's tail is kept aside (A5); else the record ends here,
        unless a child may share the descriptor and be in the middle of it: then it ends with the last close."""
        if not handle.records.tail:
            return
        writer = handle.caller.writer
        killed = killed_by(writer)
        if killed:
            self._keep_tail(handle, f"the appender was killed by signal {killed} in the middle of a record")
        elif not has_children(writer):
            await self.end_record(handle)

    def _keep_tail(self, handle: AppendHandle, reason: str) -> None:
        """The held tail goes to the orphans (N2, A5)."""
        path, writer = self.path(handle), handle.caller.writer
        note = Note(Writer(os.fsdecode(path), writer.pid, command(writer.pid)), reason)
        self._state.store.orphans.keep_bytes(handle.records.end(), note)
        self._state.counters.orphans += 1
        log.warning("record tail kept aside path=%s writer=%d reason=%r", shown(path), writer.pid, reason)

    async def sync(self, handle: AppendHandle) -> None:
        """fsync(2): ends the record, then waits for the disk in a thread."""
        await self.end_record(handle)
        custody = handle.twin.custody
        fd = os.dup(handle.twin.fd if custody is None else custody.staged.fd)
        try:
            await self._state.in_thread(os.fsync, fd)
        finally:
            os.close(fd)

    async def release(self, handle: AppendHandle) -> None:
        """The last close of a handle."""
        try:
            await self.end_record(handle, closing=True)
        except (OSError, trio.Cancelled) as error:
            self._keep_tail(handle, f"the unfinished last record could not be written: {error}")
            if isinstance(error, trio.Cancelled):
                raise
        finally:
            twin = handle.twin
            twin.handles.discard(handle)
            if not twin.handles:
                self._open.discard(twin)
            self.open_handles -= 1
            self.drop_if_unused(twin)
