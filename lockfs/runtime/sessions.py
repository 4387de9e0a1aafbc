"""Sessions: from the pen to the commit (W1-W5, N1, N2, N4, N5)."""

from __future__ import annotations

import errno
import os
import signal

import trio

from lockfs.core.arbiter import Granted, Kind
from lockfs.core.ids import HandleId, Lineage, WriterId
from lockfs.core.policy import database_of
from lockfs.core.session import Ending, Event, State, Verdict, advance, verdict
from lockfs.runtime.events import log, process_label, shown
from lockfs.runtime.handles import SessionHandle
from lockfs.runtime.mountstate import MountState
from lockfs.runtime.processes import Caller, command, has_children, killed_by
from lockfs.runtime.restaging import restage
from lockfs.runtime.session import Session, SessionKind
from lockfs.runtime.slots import Slot
from lockfs.store.journal import Writer
from lockfs.store.orphans import Note
from lockfs.store.staging import adopt_attributes, copy_content, stamp, write_all
from lockfs.store.xattrs import carry_over, entry_path, make_as_in

_COPY_IN_LOOP = 256 << 10
"""Bases up to this size in bytes are copied at once, larger ones in a thread."""


class Sessions:
    """Begins, changes and ends sessions."""

    def __init__(self, state: MountState) -> None:
        self._state = state
        self.open: set[Session] = set()

    def prepare(self, slot: Slot, owner: WriterId) -> Session:
        """A session without the pen: its inode can be shown to the thread that is about to open it."""
        area = slot.parent.area
        store = self._state.store_of(area)
        try:
            staged = store.staging.take()
        except FileNotFoundError:
            store = self._state.areas.renew(area, self._state.nodes)
            staged = store.staging.take()
        store.uses += 1
        node = self._state.nodes.private((staged.dev, staged.ino), area)
        session = Session(slot, store, staged, node, owner)
        node.session = session
        self._state.slots.in_use(slot)
        return session

    def give_up(self, session: Session) -> None:
        """The open did not come to pass: the staged file was never used."""
        session.state = advance(session.state, Event.GIVE_UP)
        if session.node.session is session:
            session.node.session = None
        session.store.uses -= 1
        try:
            if session.spoiled:
                session.store.staging.drop(session.staged)
            else:
                session.store.staging.give_back(session.staged)
        except OSError as error:
            log.warning("staged file not removed name=%s error=%s", os.fsdecode(session.staged.name), error.strerror)
        self._state.slots.done(session.slot)
        self._state.nodes.drop_if_unused(session.node)

    def begin(self, session: Session, kind: SessionKind, base: os.stat_result | None, caller: Caller) -> None:
        """The pen was given: fix the version that the session starts from. Raises OSError, then nothing has begun."""
        staged = session.staged
        session.spoiled = True
        if base is None:
            os.utime(staged.fd)  # it may have been made a while ago
            make_as_in(self._state.nodes.dir_fd(session.slot.parent), staged.fd, session.new_mode)
            self._state.give_ownership(staged.fd, session.slot.parent, session.new_uid, session.new_gid)
        else:
            parent_fd = self._state.nodes.dir_fd(session.slot.parent)
            carry_over(entry_path(parent_fd, session.slot.name), staged.fd)
            # Only O_TRUNC drops set-id bits here: the kernel asks for the rest, before a write or ftruncate(2).
            adopt_attributes(staged.fd, base, keep_set_ids=kind is not SessionKind.REPLACER or session.new_uid == 0)
            if kind is not SessionKind.REPLACER:
                session.base_fd = os.open(
                    session.slot.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=parent_fd
                )
                session.copied = False
            session.base_id = (base.st_dev, base.st_ino)
        writer = Writer(os.fsdecode(session.slot.path()), caller.writer.pid, "")
        session.store.journal.begin(staged.name, writer)
        session.kind = kind
        session.owner = caller.writer
        session.changed = base is None or kind is not SessionKind.EDITOR
        session.writes += 1
        session.state = advance(session.state, Event.GRANT)
        session.slot.session = session
        self.open.add(session)

    def is_family(self, session: Session, lineage: Lineage) -> bool:
        """Whether a process shares the session (F1, F2)."""
        if session.state is State.OPEN:
            return self._state.arbiter.is_family(session.slot.key, lineage)
        return session.owner in lineage

    def is_own(self, session: Session, tid: int) -> bool:
        """`is_family`, for the process of a thread."""
        return self.is_family(session, self._state.processes.caller(tid).lineage)

    async def make_copy(self, session: Session, length: int | None = None) -> None:
        """Before an editor's first change: bring the old content (up to `length` bytes) into the staged file."""
        if not session.copied:
            async with session.copying:
                await self._copy_once(session, length)

    async def _copy_once(self, session: Session, length: int | None) -> None:
        if session.copied:
            return
        base = os.fstat(session.base_fd)
        try:
            size = base.st_size if length is None else length
            if size <= _COPY_IN_LOOP:
                copy_content(session.base_fd, session.staged.fd, length)
            else:
                await self._state.in_thread(copy_content, session.base_fd, session.staged.fd, length)
        except OSError:
            os.ftruncate(session.staged.fd, 0)
            raise
        stamp(session.staged.fd, base.st_atime_ns)
        session.copied = True  # base_fd stays open: a thread may be reading from it

    async def write(self, session: Session, offset: int, data: bytes) -> int:
        """pwrite(2) into the staged file. An error makes the session fail: its commit would be a torn file (N4)."""
        _refuse_after_abort(session)
        if offset == 0 and session.state is State.OPEN and database_of(data) and _starts_empty(session):
            self._convert(session)
        try:
            await self.make_copy(session)
            done = write_all(session.staged.fd, data, offset)
        except OSError as error:
            _failed(session, error)
            raise
        session.changed = True
        session.writes += 1
        return done

    async def resize(self, session: Session, size: int) -> None:
        """ftruncate(2) of the staged file; to nothing, it mends a failed session."""
        _refuse_after_abort(session)
        try:
            await self.make_copy(session, size)
            os.ftruncate(session.staged.fd, size)
        except OSError as error:
            _failed(session, error)
            raise
        if size == 0:
            session.failed = 0
        session.changed = True
        session.writes += 1

    async def sync(self, session: Session) -> None:
        """fsync(2) of the staged file, in a thread. What is written meanwhile is for the next one."""
        writes = session.writes
        try:
            await self._state.in_thread(os.fsync, session.staged.fd)
        except OSError as error:
            session.failed = error.errno or errno.EIO
            raise
        session.synced_writes = max(session.synced_writes, writes)

    def _must_sync(self, session: Session) -> bool:
        if session.state is not State.OPEN or not session.changed or session.synced_writes == session.writes:
            return False
        durability = self._state.settings.durability
        return durability == "commit" or (durability == "replace" and not session.is_new)

    def attach(self, session: Session, handle: SessionHandle) -> None:
        """One more handle on the session."""
        session.handles.add(handle)
        handle.node.handles.add(handle)
        handle.node.maybe_cached = True

    def take_part(self, session: Session, caller: Caller, pen: HandleId | None = None) -> SessionHandle:
        """A handle for one request of the family that comes by another inode: the session, its descriptors and the pen
        (`pen`, if the caller has it already) stay until it is released, whoever closes meanwhile."""
        if pen is None:
            pen = self._state.new_handle_id()
            now_s = trio.current_time()
            granted = self._state.arbiter.acquire(session.slot.key, pen, Kind.PEN, caller.lineage, now_s, wait=False)
            assert isinstance(granted, Granted)
        handle = SessionHandle(session.node, session, caller.writer, pen, True)
        handle.flushed = True  # it has no descriptor that could be closed
        self.attach(session, handle)
        return handle

    async def flush(self, handle: SessionHandle) -> None:
        """A close(2) of one descriptor: notice a writer being killed, report what failed, sync (N1, N4, N5)."""
        session = handle.session
        handle.flushed = True
        session.flushed_writes = session.writes
        if handle.writing:
            _refuse_after_abort(session)
        if session.state is State.ENDED or not handle.writing:
            return
        _notice_killing(handle)
        if session.killed:
            return
        if session.failed:
            raise OSError(session.failed, "a write to this file failed; the old version stays")
        # With children about, this may be the close of a child's copy, one of many: the last close will wait then.
        if self._must_sync(session) and not has_children(handle.writer):
            await self.sync(session)

    def watch_mapping(self, handle: SessionHandle) -> None:
        """A shared mapping outlives its descriptor, and the flush of that has heard nothing of the writer's end: it is
        told by what is written, or released, after the last flush (N1)."""
        if handle.flushed and handle.writing:
            _notice_killing(handle)

    async def release(self, handle: SessionHandle) -> None:
        """The last close of a handle. The commit, if it is the session's last, comes before the first await (W3)."""
        session = handle.session
        if handle.writing and not handle.flushed and session.writes <= 1:
            # The open failed in the kernel after we had answered it, since the process was killed: nobody wrote.
            log.info("open given up path=%s writer=%s", shown(session.slot.path()), process_label(handle.writer))
            session.killed = session.killed or signal.SIGKILL
        elif session.writes != session.flushed_writes:
            self.watch_mapping(handle)
        if handle.writing and session.state is not State.ENDED and session.writers() == 1:
            if self._must_sync(session) and not session.killed and not session.failed:
                await self._sync_late(session)
            if session.writers() == 1:  # nobody of the family joined meanwhile
                self._end_unless_expected(session, handle)
        self._drop_handle(session, handle)

    def _end_unless_expected(self, session: Session, last: SessionHandle) -> None:
        """Somebody of the family may be in the middle of an open (fuse-facts, "The private inode"): the kernel was
        shown the session's inode, and comes for it next. If the session ended now, that open would be for a committed
        version, without a pen. So it goes on, and whoever looks at the path meanwhile waits (W3)."""
        if not session.expected:
            self.end(session)
            return
        session.lingers = True
        if session.kept_pen is None:  # else it lingers once more, for another one: one pen is enough
            session.kept_pen, last.hid = last.hid, None
        if session.state is State.OPEN:
            session.slot.unsettle()

    def expect(self, session: Session) -> None:
        """A thread of the family was shown the session's inode; `stop_expecting` when it came, or will not come."""
        session.expected += 1

    def stop_expecting(self, session: Session) -> None:
        """See `expect`. The session goes on with whoever came, or ends now."""
        session.expected -= 1
        if session.expected or not session.lingers:
            return
        session.lingers = False
        if session.state is not State.ENDED and not session.writers():
            self.end(session)
        self._release_pens(session, of_handles=False)
        session.slot.settle()
        self._close_if_over(session)

    async def _sync_late(self, session: Session) -> None:
        """Wait for the disk after close(2) returned; until then nobody may look at the path (W3)."""
        slot = session.slot
        slot.unsettle()
        try:
            await self.sync(session)
        except OSError:
            log.exception("sync at release failed path=%s", shown(slot.path()))
        finally:
            slot.settle()

    def _drop_handle(self, session: Session, handle: SessionHandle) -> None:
        session.handles.discard(handle)
        node = handle.node
        node.handles.discard(handle)
        if handle.hid is not None:
            self._state.waiting.release(handle.hid)
            handle.hid = None
        self._close_if_over(session)
        self._state.nodes.drop_if_unused(node)

    def _close_if_over(self, session: Session) -> None:
        if session.handles or session.lingers or session.state is not State.ENDED:
            return
        os.close(session.staged.fd)
        if session.base_fd >= 0:
            os.close(session.base_fd)
            session.base_fd = -1

    def end(self, session: Session) -> None:
        """The last writing handle goes: commit, keep aside, or discard. Nothing if it was ended from outside."""
        if session.state is State.ENDED:
            return
        decision = verdict(
            Ending(
                changed=session.changed,
                has_bytes=session.copied and os.fstat(session.staged.fd).st_size > 0,
                killed=bool(session.killed),
                failed=bool(session.failed or session.abort_reason),
                removed_by_writer=session.removed_by_writer,
                replaced=session.replaced,
            )
        )
        if decision is Verdict.COMMIT and not self._commit(session):
            decision = Verdict.ORPHAN if session.copied else Verdict.DISCARD
        if decision is Verdict.ORPHAN:
            self._keep(session)
        elif decision is Verdict.DISCARD:
            self._discard(session)
        if decision is not Verdict.COMMIT:
            self._state.nodes.unfile(session.node)
        self._finish(session, Event.CLOSE)

    def _finish(self, session: Session, event: Event) -> None:
        was_open = session.state is State.OPEN
        session.state = advance(session.state, event)
        session.store.journal.end(session.staged.name)
        session.store.uses -= 1
        self.open.discard(session)
        for handle in session.handles:
            if handle.node.session is session:
                handle.node.session = None
        session.node.session = None
        if was_open:
            session.slot.session = None
        self._state.slots.done(session.slot)
        self._state.nodes.drop_if_unused(session.node)

    def _commit(self, session: Session) -> bool:
        """Rename the staged file over the path; False if that failed and the old version stands."""
        state, slot = self._state, session.slot
        old = state.nodes.find(session.base_id, slot.parent.area) if session.base_id else None
        if old is not None:
            try:
                state.nodes.hold(old, slot.parent, slot.name)  # who walked here before may still come for it
            except OSError as error:
                log.error("old version not held path=%s error=%s", shown(slot.path()), error.strerror)
        try:
            parent_fd = state.nodes.dir_fd(slot.parent)
            if not session.store.staging.publish(session.staged, parent_fd, slot.name):
                restage(state, session)
                session.store.staging.publish(session.staged, state.nodes.dir_fd(slot.parent), slot.name)
        except OSError as error:
            session.failed = error.errno or errno.EIO
            log.warning("commit failed path=%s error=%s", shown(slot.path()), error.strerror)
            return False
        state.counters.commits += 1
        state.committed(slot.parent, slot.name)
        if old is not None:
            state.nodes.drop_name(old, slot.parent, slot.name)
            old.superseded = old.parent is None
            state.kernel.forget_attributes(old)
        state.nodes.add_name(session.node, slot.parent, slot.name)
        state.kernel.forget_attributes(slot.parent)
        if slot.twin is not None:
            try:
                slot.twin.follow(session.staged.fd, session.node)
            except OSError:
                log.exception("appenders stay with the old version path=%s", shown(slot.path()))
        return True

    def _keep(self, session: Session) -> None:
        state, path = self._state, session.slot.path()
        if session.abort_reason:
            reason = session.abort_reason
        elif session.killed:
            reason = f"the writer was killed by signal {session.killed}"
        elif session.failed:
            reason = f"a write failed: {os.strerror(session.failed)}"
        else:
            reason = "the writer renamed another file over it"
        writer = Writer(os.fsdecode(path), session.owner.pid, command(session.owner.pid))
        state.counters.aborts += 1
        try:
            ident = session.store.orphans.keep_staged(session.staged.name, Note(writer, reason))
        except OSError as error:  # it stays in the staging directory, for the next mount to find (N3)
            log.warning("orphan not kept path=%s error=%s", shown(path), error.strerror)
            return
        state.counters.orphans += 1
        log.warning(
            "session aborted path=%s writer=%s reason=%r orphan=%s",
            shown(path), process_label(session.owner), reason, ident,
        )  # fmt: skip

    def _discard(self, session: Session) -> None:
        if session.killed or session.failed or session.abort_reason:
            self._state.counters.aborts += 1
        try:
            session.store.staging.unlink(session.staged)
        except OSError as error:
            log.warning("staged file not removed name=%s error=%s", os.fsdecode(session.staged.name), error.strerror)

    async def sync_before_commit(self, session: Session) -> None:
        """fsync(2) if the durability asks for it (N5)."""
        if self._must_sync(session):
            await self.sync(session)

    def abort(self, session: Session, reason: str) -> None:
        """End a session from outside: its bytes go to the orphans, its writer gets ESTALE from now on (N7)."""
        session.abort_reason = reason
        self.end(session)

    def _release_pens(self, session: Session, *, of_handles: bool = True) -> None:
        """Its handles stay open, without the pen: the next writer goes on."""
        if session.kept_pen is not None:
            self._state.waiting.release(session.kept_pen)
            session.kept_pen = None
        for handle in session.handles if of_handles else ():
            if handle.hid is not None:
                self._state.waiting.release(handle.hid)
                handle.hid = None

    def detach(self, session: Session, *, removed_by_writer: bool = False, replaced: bool = False) -> None:
        """The path is not this session's any more; the next writer may have it."""
        session.removed_by_writer = removed_by_writer
        session.replaced = replaced
        session.state = advance(session.state, Event.DETACH)
        session.slot.session = None
        self._release_pens(session)

    def _convert(self, session: Session) -> None:
        """A new file turns out to be a database: publish it and share it from now on (D1)."""
        if not self._commit(session):
            raise OSError(session.failed, "cannot publish the database")
        log.info("shared from now on path=%s reason=%r", shown(session.slot.path()), "database header")
        self._finish(session, Event.CONVERT)
        self._release_pens(session)


def _fatal(signal_number: int) -> int:
    """SIGPIPE ends many a sound pipeline: `cmd | tee f | head` (N1)."""
    return 0 if signal_number == signal.SIGPIPE else signal_number


def _notice_killing(handle: SessionHandle) -> None:
    """Whether the process that opened it is being killed: then the session publishes nothing (N1)."""
    handle.session.killed = handle.session.killed or _fatal(killed_by(handle.writer))


def _refuse_after_abort(session: Session) -> None:
    if session.abort_reason and session.state is State.ENDED:
        raise OSError(errno.ESTALE, session.abort_reason)


def _failed(session: Session, error: OSError) -> None:
    """A change did not succeed. One that cannot succeed on any disk (EFBIG) has changed nothing, and spoils nothing."""
    if error.errno != errno.EFBIG:
        session.failed = error.errno or errno.EIO


def _starts_empty(session: Session) -> bool:
    """Whether nothing stood at the path, or an empty file (`touch notes; sqlite3 notes`)."""
    return session.is_new or (not session.copied and os.fstat(session.base_fd).st_size == 0)
