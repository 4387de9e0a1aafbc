"""How an open is understood, and what it gets: the table in SEMANTICS.md."""

from __future__ import annotations

import errno
import os
import stat

from lockfs.core.arbiter import Kind
from lockfs.core.ids import HandleId
from lockfs.core.policy import DATABASE_HEADER_SIZE, Mode, database_of
from lockfs.core.session import State
from lockfs.runtime.appends import Appends, Twin
from lockfs.runtime.events import log, shown
from lockfs.runtime.handles import FileHandle, PlainHandle, SessionHandle, attached
from lockfs.runtime.intents import Intent
from lockfs.runtime.mountstate import MountState
from lockfs.runtime.nodes import Node
from lockfs.runtime.openflags import IN_PLACE_FLAGS, Request, is_append, is_writing, opens_like_sqlite
from lockfs.runtime.processes import Caller, umask_of
from lockfs.runtime.second_walk import SecondWalk
from lockfs.runtime.session import Session, SessionKind
from lockfs.runtime.sessions import Sessions
from lockfs.runtime.slots import Slot
from lockfs.store.staging import drop_set_ids
from lockfs.store.xattrs import default_acl

_DEFAULT_MODE = 0o666


class Opener:
    """Answers open and create."""

    def __init__(self, state: MountState, sessions: Sessions, appends: Appends, walk: SecondWalk) -> None:
        self._state = state
        self._sessions = sessions
        self._appends = appends
        self._walk = walk

    # --- open ------------------------------------------------------------------------------------------------------

    async def open(self, node: Node, flags: int, request: Request) -> FileHandle:
        """Open by inode. Raises OSError; ESTALE sends the kernel round once more."""
        intent = self._walk.intents.take(request.tid, node)
        try:
            if intent is not None and intent.error is not None:
                raise intent.error
            if node.session is not None:
                return await self._open_session(node, node.session, flags, request, intent)
            if node.twin is not None and is_append(flags):
                return await self._open_twin(node, node.twin, flags, request, intent)
            if node.twin is not None:
                return await self._open_beside_twin(node, node.twin, flags, request)
            if not is_writing(flags):
                await self._until_decided(node)
                return self._open_plain(node, flags)
            return await self._open_to_write(node, flags, request, intent)
        finally:
            if intent is not None:
                self._walk.finish(intent)

    async def _until_decided(self, node: Node) -> None:
        """Wait while the file's last writer has closed and one of its family is expected to go on (W3).

        Either that one comes, and the version that stands is the one to read, or a new one is published. A lookup
        cannot wait for that, an open holds up nobody. Raises OSError(ESTALE) if there is a new one: to be looked up.
        """
        for parent, name in node.names():
            slot = self._state.slots.get(parent, name)
            if slot is not None and slot.settling is not None and slot.session is not None and slot.session.lingers:
                await slot.settling.wait()
                if node.superseded:
                    raise OSError(errno.ESTALE, "there is a new version")
                return

    def _open_plain(self, node: Node, flags: int) -> PlainHandle:
        fd = self._state.nodes.open_file(node, flags & IN_PLACE_FLAGS | os.O_NONBLOCK)
        return attached(PlainHandle(node, fd, writing=is_writing(flags)))

    async def _open_to_write(self, node: Node, flags: int, request: Request, intent: Intent | None) -> FileHandle:
        """A committed file is to be written: by the rule of its path."""
        self._state.refuse_when_stopping()
        places = self._state.nodes.places(node)
        if not places:
            return self._open_shared(node, flags, request)  # unlinked: nobody else can open it by name
        mode = self.mode_of(node, flags, places)
        if node.parent is None and intent is None and request.tid > 0:
            # Replaced or removed since the kernel walked the path. What stands there now is to be written.
            stale = self._intent(places, node, flags, request)
            stale.plain = mode is Mode.SHARED or (mode is Mode.LIVE and not stale.append)
            raise self._walk.sent_round(stale)
        if mode is Mode.SHARED:
            return self._open_shared(node, flags, request)
        if mode is Mode.LIVE and not is_append(flags):
            return await self._open_live(node, flags, request)
        if intent is not None or request.tid <= 0:
            # The kernel came back without a lookup: a magic link (/proc/self/fd/N), or a thread that we cannot see.
            slot = None if node.parent is None else self._state.slots.get(node.parent, node.name)
            if slot is not None and slot.session is not None and self._sessions.is_own(slot.session, request.tid):
                raise OSError(
                    errno.EBUSY, "the same program writes this file under its name; it would lose one of both"
                )
            log.info("written in place path=%s reason=%r", shown(node.path()), "opened without a name")
            return await self._open_live(node, flags, request)
        raise self._walk.sent_round(self._intent(places, node, flags, request))

    def _intent(self, places: frozenset[tuple[Node, bytes]], node: Node, flags: int, request: Request) -> Intent:
        """An open for writing that is sent round. Should the file be gone by then, one that truncates or appends makes
        a new one: the kernel does not say so (it keeps O_CREAT to itself), but such opens nearly always mean to."""
        intent = Intent(request.tid, node, places, is_append(flags), uid=request.uid, gid=request.gid)
        intent.may_create = is_append(flags) or bool(flags & os.O_TRUNC)
        return intent

    def mode_of(self, node: Node, flags: int, places: frozenset[tuple[Node, bytes]]) -> Mode:
        """The rule for a committed file (D1, D4), by one of its names."""
        parent, name = self._state.nodes.last_place(node) or next(iter(places))
        mode = self._state.policy.rule_for(parent.path(name)).mode
        if mode is Mode.PROTECT and not self._state.can_stage(node.area):
            return Mode.LIVE  # a mount below in which nothing can be staged
        if mode is not Mode.PROTECT:
            return mode
        if any(isinstance(handle, PlainHandle) and handle.is_shared for handle in node.handles):
            return Mode.SHARED  # somebody has it open so; all who have it open must agree
        if not flags & os.O_TRUNC and not is_append(flags) and self._is_database(node, flags):
            return Mode.SHARED
        return mode

    def mode_at(self, slot: Slot) -> Mode:
        """The rule for an entry, by its path."""
        mode = self._state.policy.rule_for(slot.path()).mode
        if mode is Mode.PROTECT and (
            slot.name in self._state.areas.names or not self._state.can_stage(slot.parent.area)
        ):
            return Mode.LIVE
        return mode

    def _is_database(self, node: Node, flags: int) -> bool:
        """Whether it is a database, or an empty file that is opened as SQLite does (D1)."""
        try:
            fd = self._state.nodes.open_unnoticed(node)
        except OSError:
            return False  # replaced just now; `_became_shared` looks again, with the pen
        try:
            head = os.pread(fd, DATABASE_HEADER_SIZE, 0)
            return database_of(head) is not None or (not head and opens_like_sqlite(flags))
        finally:
            os.close(fd)

    def _open_in_place(self, node: Node, flags: int, request: Request) -> int:
        fd = self._state.nodes.open_file(node, flags & IN_PLACE_FLAGS | (flags & os.O_TRUNC) | os.O_NONBLOCK)
        if flags & os.O_TRUNC and request.uid != 0:
            drop_set_ids(fd)
        return fd

    def _open_shared(self, node: Node, flags: int, request: Request) -> PlainHandle:
        fd = self._open_in_place(node, flags, request)
        if not flags & os.O_APPEND:
            return attached(PlainHandle(node, fd, writing=True))
        writer = self._state.processes.caller(request.tid).writer
        return attached(PlainHandle(node, fd, writing=True, writer=writer, appends=True))

    async def _open_live(self, node: Node, flags: int, request: Request) -> PlainHandle:
        """Take the pen and write in place (D4)."""
        if node.parent is None:
            return self._open_shared(node, flags, request)
        slot = self._state.slots.obtain(node.parent, node.name)
        self._state.slots.in_use(slot)
        try:
            caller = self._state.processes.caller(request.tid)
            handle = self._state.new_handle_id()
            await self._state.acquire(
                slot, handle, Kind.PEN, caller, request.tid, nonblocking=bool(flags & os.O_NONBLOCK)
            )
            try:
                fd = self._open_in_place(node, flags, request)
            except OSError:
                self._state.waiting.release(handle)
                raise
        except BaseException:
            self._state.slots.done(slot)
            raise
        return attached(PlainHandle(node, fd, writing=True, slot=slot, pen=handle, writer=caller.writer))

    async def _open_session(
        self, node: Node, session: Session, flags: int, request: Request, intent: Intent | None
    ) -> FileHandle:
        """A session's inode: its writer's second open, or one of its family."""
        caller = self._state.processes.caller(request.tid)
        if session.state is State.PREPARED:
            if intent is None or intent.given is not node or not is_writing(flags):
                raise OSError(errno.ESTALE, "somebody else's session")
            return await self._begin_session(node, session, flags, request, caller, intent)
        return await self._join(node, session, flags, request, caller, intent)

    async def _join(
        self, node: Node, session: Session, flags: int, request: Request, caller: Caller, intent: Intent | None
    ) -> FileHandle:
        """One more handle on an open session (F1, F2)."""
        writing = is_writing(flags)
        hid = None
        if session.state is State.OPEN and writing:
            if intent is not None and not self._sessions.is_family(session, caller.lineage):
                self._walk.stop_expecting(intent)  # it may end now; this thread waits for its end
            hid = self._state.new_handle_id()
            granted = await self._state.acquire(session.slot, hid, Kind.PEN, caller, request.tid)
            if not granted.joined:
                # A stranger, by way of /proc/PID/fd: from now on it is a committed file, or none.
                self._state.waiting.release(hid)
                return await self._open_to_write(node, flags, request, intent)
        handle = SessionHandle(node, session, caller.writer, hid, writing)
        self._sessions.attach(session, handle)
        if flags & os.O_TRUNC:
            await self._sessions.resize(session, 0)
            if request.uid != 0:
                drop_set_ids(session.staged.fd)
        return handle

    async def _begin_session(
        self, node: Node, session: Session, flags: int, request: Request, caller: Caller, intent: Intent
    ) -> SessionHandle:
        """The second open: get the pen, which may take a while, then begin (W1, Q1)."""
        state = self._state
        hid = await self._pen_of(session, flags, request, caller)
        slot = session.slot
        try:
            if slot.session is not None:  # the family's: of those granted together, another one came first
                return self._join_late(node, session, slot.session, caller, hid)
            base = self._base(slot)
            if base is None and not intent.may_create:
                raise OSError(errno.ENOENT, "the file was removed meanwhile")
            if intent.create_mode is None:
                session.new_mode = self._default_mode(slot, request.tid) if base is None else session.new_mode
            if base is not None and self._became_shared(slot, flags):
                raise OSError(errno.EBUSY, "the file became a shared database meanwhile; open it again")
            truncates = base is None or bool(flags & os.O_TRUNC)
            kind = SessionKind.REPLACER if truncates else SessionKind.EDITOR
            self._sessions.begin(session, kind, base, caller)
        except BaseException:
            state.waiting.release(hid)
            raise
        handle = SessionHandle(node, session, caller.writer, hid, True)
        self._sessions.attach(session, handle)
        await state.forget_stale_name(slot)
        return handle

    async def _pen_of(self, session: Session, flags: int, request: Request, caller: Caller) -> HandleId:
        """The pen for a session that is about to begin.

        A rename may have put a file that is being written in the place of the one that was waited for: then the
        session is for that one, and waits once more.
        """
        state = self._state
        nonblocking = bool(flags & os.O_NONBLOCK)
        while True:
            hid, slot = state.new_handle_id(), session.slot
            await state.acquire(slot, hid, Kind.PEN, caller, request.tid, nonblocking=nonblocking)
            if state.slots.is_current(slot) or slot.session is not None:
                return hid
            session.slot = state.slots.obtain(slot.parent, slot.name)
            state.slots.in_use(session.slot)
            state.waiting.release(hid)
            state.slots.done(slot)

    def _join_late(
        self, node: Node, prepared: Session, session: Session, caller: Caller, hid: HandleId
    ) -> SessionHandle:
        """The kernel has the inode of a session that is not needed: it shows the family's session from now on."""
        node.session = session
        self._state.nodes.pin(node)  # give_up may not drop it
        prepared.node = session.node
        self._sessions.give_up(prepared)
        handle = SessionHandle(node, session, caller.writer, hid, True)
        self._sessions.attach(session, handle)
        self._state.nodes.unpin(node)
        return handle

    def _base(self, slot: Slot) -> os.stat_result | None:
        """The version that stands at an entry now."""
        try:
            base = os.stat(slot.name, dir_fd=self._state.nodes.dir_fd(slot.parent), follow_symlinks=False)
        except FileNotFoundError:
            return None
        if stat.S_ISDIR(base.st_mode):
            raise OSError(errno.EISDIR, "a directory stands there now")
        if not stat.S_ISREG(base.st_mode):
            raise OSError(errno.ELOOP, "no regular file stands there now")
        return base

    def _default_mode(self, slot: Slot, tid: int) -> int:
        """What programs ask for mostly, for a file that has to be made and whose open does not say."""
        inherits = default_acl(self._state.nodes.dir_fd(slot.parent)) is not None
        return _DEFAULT_MODE if inherits else _DEFAULT_MODE & ~umask_of(tid)

    def _became_shared(self, slot: Slot, flags: int) -> bool:
        if flags & os.O_TRUNC:
            return False
        parent_fd, how = (
            self._state.nodes.dir_fd(slot.parent),
            os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK,
        )
        try:
            fd = os.open(slot.name, how | os.O_NOATIME, dir_fd=parent_fd)
        except PermissionError:  # as in `open_unnoticed`
            fd = os.open(slot.name, how, dir_fd=parent_fd)
        try:
            return database_of(os.pread(fd, DATABASE_HEADER_SIZE, 0)) is not None
        finally:
            os.close(fd)

    async def _open_twin(
        self, node: Node, twin: Twin, flags: int, request: Request, intent: Intent | None
    ) -> FileHandle:
        """An append open: waits while a stranger has the pen, then holds nothing (A6)."""
        state = self._state
        state.refuse_when_stopping()
        if twin.slot is None and intent is not None:  # replaced since the lookup
            twin = self._appends.twin_of(state.slots.obtain(*next(iter(intent.names))))
        slot = twin.slot
        if slot is None:
            raise OSError(errno.ESTALE, "the file was removed")
        caller = state.processes.caller(request.tid)
        turn = None
        joined = False
        hold = state.arbiter.holder(slot.key)
        if hold is not None or state.arbiter.blocks_append(slot.key, caller.lineage):
            turn = state.new_handle_id()
            granted = await state.acquire(
                slot, turn, Kind.APPEND, caller, request.tid, nonblocking=bool(flags & os.O_NONBLOCK)
            )
            joined = granted.joined
        try:
            session = slot.session
            if joined and session is not None and session.state is State.OPEN:
                handle = SessionHandle(node, session, caller.writer, turn, True)
                self._sessions.attach(session, handle)
                turn = None
                return handle
            self._open_twin_file(twin, request, intent)
            return self._appends.attach(twin, caller, request.tid, request.uid)
        finally:
            if turn is not None:
                state.waiting.release(turn)

    def _open_twin_file(self, twin: Twin, request: Request, intent: Intent | None) -> None:
        try:
            self._appends.open_file(twin, create=intent is not None and intent.create_mode is not None)
        except FileNotFoundError:
            if intent is None or not intent.may_create:
                raise
            assert twin.slot is not None
            twin.new_file = (self._default_mode(twin.slot, request.tid), request.uid, request.gid)
            self._appends.open_file(twin, create=True)

    async def _open_beside_twin(self, node: Node, twin: Twin, flags: int, request: Request) -> FileHandle:
        """An appenders' inode opened for something else, through /proc/self/fd: what stands there, in place."""
        slot = twin.slot
        if twin.fd < 0:
            raise OSError(errno.ESTALE, "the file was removed")
        pen = None
        if slot is not None and is_writing(flags):
            pen = self._state.new_handle_id()
            caller = self._state.processes.caller(request.tid)
            await self._state.acquire(slot, pen, Kind.PEN, caller, request.tid)
        fd = os.open(f"/proc/self/fd/{twin.fd}", flags & IN_PLACE_FLAGS | (flags & os.O_TRUNC) | os.O_CLOEXEC)
        if slot is not None and pen is not None:
            self._state.slots.in_use(slot)
        handle = PlainHandle(node, fd, writing=is_writing(flags), slot=slot if pen is not None else None, pen=pen)
        return attached(handle)
