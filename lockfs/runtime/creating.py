"""Creating and opening a file in one step, where nobody may wait (W2, W8)."""

from __future__ import annotations

import errno
import os

from lockfs.core.arbiter import Kind
from lockfs.core.policy import Mode
from lockfs.runtime.appends import Appends
from lockfs.runtime.handles import FileHandle, PlainHandle, SessionHandle, attached
from lockfs.runtime.intents import Intent
from lockfs.runtime.mountstate import MountState
from lockfs.runtime.nodes import Node
from lockfs.runtime.openflags import IN_PLACE_FLAGS, Request, is_append, is_writing, opens_like_sqlite
from lockfs.runtime.second_walk import SecondWalk
from lockfs.runtime.session import SessionKind
from lockfs.runtime.sessions import Sessions


class Creator:
    """Answers create."""

    def __init__(self, state: MountState, sessions: Sessions, appends: Appends, walk: SecondWalk) -> None:
        self._state = state
        self._sessions = sessions
        self._appends = appends
        self._walk = walk

    async def create(self, parent: Node, name: bytes, mode: int, flags: int, request: Request) -> FileHandle:
        """Create and open. Never waits: the kernel holds the directory's lock (fuse-facts).

        Raises OSError; ESTALE sends the kernel round, to the open that may wait.
        """
        walked_twice = self._walk.intents.of(request.tid) is not None
        self._walk.intents.discard(request.tid)
        self._state.refuse_when_stopping()
        rule = self._state.policy.rule_for(parent.path(name)).mode
        if rule is Mode.PROTECT and opens_like_sqlite(flags):
            rule = Mode.SHARED
        if rule is Mode.PROTECT and not self._state.can_stage(parent.area):
            rule = Mode.LIVE  # a mount below in which nothing can be staged
        slot = self._state.slots.get(parent, name)
        again = Intent(
            request.tid,
            None,
            frozenset({(parent, name)}),
            is_append(flags),
            mode,
            request.uid,
            request.gid,
            may_create=True,
            plain=rule is Mode.SHARED or (rule is Mode.LIVE and not is_append(flags)),
        )
        if slot is not None and self._state.arbiter.holder(slot.key) is not None:
            if flags & os.O_EXCL:
                raise OSError(errno.EEXIST, "somebody is creating it")
            if walked_twice:  # the kernel goes round once only
                raise OSError(errno.EBUSY, "removed, and now created by somebody else")
            raise self._walk.sent_round(again)
        if rule is not Mode.PROTECT or not is_writing(flags) or is_append(flags):
            return await self._create_in_place(parent, name, mode, flags, request, rule, again)
        try:
            os.stat(name, dir_fd=self._state.nodes.dir_fd(parent), follow_symlinks=False)
        except FileNotFoundError:
            return await self._create_session(parent, name, mode, request)
        if flags & os.O_EXCL:
            raise OSError(errno.EEXIST, "it exists")
        raise self._walk.sent_round(again)

    async def _create_session(self, parent: Node, name: bytes, mode: int, request: Request) -> SessionHandle:
        """A new file, by a writer who gets the pen at once; nobody else sees it before the commit (W2)."""
        state = self._state
        slot = state.slots.obtain(parent, name)
        caller = state.processes.caller(request.tid)
        hid = state.new_handle_id()
        await state.acquire(slot, hid, Kind.PEN, caller, request.tid, nonblocking=True)
        try:
            session = self._sessions.prepare(slot, caller.writer)
            session.new_mode, session.new_uid, session.new_gid = mode & 0o7777, request.uid, request.gid
            try:
                self._sessions.begin(session, SessionKind.REPLACER, None, caller)
            except BaseException:
                self._sessions.give_up(session)
                raise
        except BaseException:
            state.waiting.release(hid)
            state.slots.drop_if_idle(slot)
            raise
        handle = SessionHandle(session.node, session, caller.writer, hid, True)
        self._sessions.attach(session, handle)
        return handle

    async def _create_in_place(
        self, parent: Node, name: bytes, mode: int, flags: int, request: Request, rule: Mode, again: Intent
    ) -> FileHandle:
        """A new file that is visible at once: shared, live, an appender's, or one that is only read."""
        state = self._state
        parent_fd = state.nodes.dir_fd(parent)
        append_twin = is_append(flags) and rule is not Mode.SHARED
        open_flags = flags & IN_PLACE_FLAGS | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(name, open_flags, mode & 0o7777, dir_fd=parent_fd)
        except FileExistsError:
            if flags & os.O_EXCL:
                raise
            raise self._walk.sent_round(again) from None
        try:
            state.give_ownership(fd, parent, request.uid, request.gid)
            status = os.fstat(fd)
        except OSError:
            os.close(fd)
            raise
        node = state.nodes.committed(status, parent, name)
        if append_twin:
            os.close(fd)
            caller = state.processes.caller(request.tid)
            twin = self._appends.twin_of(state.slots.obtain(parent, name))
            self._appends.open_file(twin, create=False)
            state.nodes.drop_if_unused(node)
            return self._appends.attach(twin, caller, request.tid, request.uid)
        slot, pen = None, None
        appends = bool(flags & os.O_APPEND)
        writer = state.processes.caller(request.tid).writer if appends else None
        if rule is Mode.LIVE and is_writing(flags):
            slot = state.slots.obtain(parent, name)
            state.slots.in_use(slot)
            pen = state.new_handle_id()
            caller = state.processes.caller(request.tid)
            writer = caller.writer
            await state.acquire(slot, pen, Kind.PEN, caller, request.tid, nonblocking=True)
        return attached(
            PlainHandle(node, fd, writing=is_writing(flags), slot=slot, pen=pen, writer=writer, appends=appends)
        )
