"""Whole-file changes by one call: truncate(2), and what an appender does besides appending (W1, Q7)."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from functools import partial

from lockfs.core.arbiter import Kind
from lockfs.core.ids import HandleId
from lockfs.core.policy import Mode
from lockfs.core.session import State
from lockfs.runtime.appends import Appends, Twin
from lockfs.runtime.handles import AppendHandle
from lockfs.runtime.mountstate import MountState
from lockfs.runtime.openflags import Request
from lockfs.runtime.opening import Opener
from lockfs.runtime.processes import Caller
from lockfs.runtime.session import Session, SessionKind
from lockfs.runtime.sessions import Sessions
from lockfs.store.staging import write_all

InSession = Callable[[Session], Awaitable[object]]
"""The change, where a session makes a new version."""
InPlace = Callable[[int], object]
"""The same change to a file that is written in place, by descriptor."""


class OneStep:
    """Takes the pen, changes the file, gives the pen back. All raise OSError."""

    def __init__(self, state: MountState, sessions: Sessions, appends: Appends, opener: Opener) -> None:
        self._state = state
        self._sessions = sessions
        self._appends = appends
        self._opener = opener

    async def truncate(self, session: Session, size: int, request: Request) -> None:
        """truncate(2): a session of one step, on a private inode, where waiting blocks nobody."""
        state = self._state
        caller = state.processes.caller(request.tid)
        pen = state.new_handle_id()
        change = partial(self._sessions.resize, size=size)
        await state.acquire(session.slot, pen, Kind.PEN, caller, request.tid)
        if session.slot.session is not None:
            await self._change_and_close(session.slot.session, change, caller, pen)
        else:
            await self._with_pen(session, SessionKind.TRUNCATE, change, caller, pen)

    async def truncate_twin(self, handle: AppendHandle, size: int, request: Request) -> None:
        """ftruncate(2) by an appender."""
        await self._appends.end_record(handle)
        caller = self._state.processes.caller(request.tid)
        in_session = partial(self._sessions.resize, size=size)
        await self._change_twin(
            handle.twin, caller, request.tid, SessionKind.TRUNCATE, in_session, lambda fd: os.ftruncate(fd, size)
        )

    async def write_twin(self, handle: AppendHandle, offset: int, data: bytes) -> int:
        """pwrite(2) by an appender who has taken O_APPEND back (fcntl(2), F_SETFL)."""
        await self._appends.end_record(handle)
        done = len(data)

        async def in_session(session: Session) -> None:
            nonlocal done
            done = await self._sessions.write(session, offset, data)

        def in_place(fd: int) -> None:
            nonlocal done
            done = write_all(fd, data, offset)

        await self._change_twin(handle.twin, handle.caller, handle.tid, SessionKind.EDITOR, in_session, in_place)
        return done

    async def _change_twin(
        self, twin: Twin, caller: Caller, tid: int, kind: SessionKind, in_session: InSession, in_place: InPlace
    ) -> None:
        """An appender's inode is shared by all appenders, and locked: a brief wait."""
        slot = twin.slot
        if slot is None:
            self._in_place(twin, in_place)
            return
        state = self._state
        pen = state.new_handle_id()
        await state.acquire_briefly(slot, pen, Kind.PEN, caller, tid)
        if slot.session is not None:
            for handle in slot.session.handles:
                handle.node.kernel_lags = True
            await self._change_and_close(slot.session, in_session, caller, pen)
        elif self._opener.mode_at(slot) is Mode.PROTECT:
            session = self._sessions.prepare(slot, caller.writer)
            try:
                await self._with_pen(session, kind, in_session, caller, pen)
            finally:
                if session.state is State.PREPARED:
                    self._sessions.give_up(session)
        else:
            try:
                self._in_place(twin, in_place)
                target = state.nodes.find(twin.file_id, twin.node.area)
                if target is not None and target.nlookup > 0:
                    target.kernel_lags = True
                    await state.kernel.forget_content(target)
            finally:
                state.waiting.release(pen)

    @staticmethod
    def _in_place(twin: Twin, change: InPlace) -> None:
        """By a descriptor of its own: pwrite(2) on one with O_APPEND would append."""
        fd = os.open(f"/proc/self/fd/{twin.fd}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            change(fd)
        finally:
            os.close(fd)

    async def _with_pen(
        self, session: Session, kind: SessionKind, change: InSession, caller: Caller, pen: HandleId
    ) -> None:
        """Begin the session, change it, end it; the pen is given back in any case."""
        slot = session.slot
        try:
            if session.state is not State.PREPARED:
                raise OSError(errno.ESTALE, "the session ended meanwhile")
            base = os.stat(slot.name, dir_fd=self._state.nodes.dir_fd(slot.parent), follow_symlinks=False)
            self._sessions.begin(session, kind, base, caller)
        except BaseException:
            self._state.waiting.release(pen)
            raise
        await self._state.forget_stale_name(slot)
        await self._change_and_close(session, change, caller, pen)

    async def _change_and_close(self, session: Session, change: InSession, caller: Caller, pen: HandleId) -> None:
        """As one who opens, changes and closes: whoever else of the family has it open goes on."""
        handle = self._sessions.take_part(session, caller, pen)
        try:
            await change(session)
            await self._sessions.sync_before_commit(session)
        finally:
            await self._sessions.release(handle)
        if session.failed:
            raise OSError(session.failed, "the file was not changed")
