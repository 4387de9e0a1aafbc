"""stat(2), chmod(2), chown(2), utimensat(2), truncate(2), on whatever kind of node (W5, Q7)."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from lockfs.core.arbiter import Kind
from lockfs.core.policy import Mode
from lockfs.core.session import State
from lockfs.runtime.appends import Appends, Twin
from lockfs.runtime.handles import AppendHandle, FileHandle, PlainHandle, SessionHandle
from lockfs.runtime.intents import Intent
from lockfs.runtime.mountstate import MountState
from lockfs.runtime.nodes import Node
from lockfs.runtime.one_step import OneStep
from lockfs.runtime.openflags import Request
from lockfs.runtime.opening import Opener
from lockfs.runtime.second_walk import SecondWalk
from lockfs.runtime.session import Session
from lockfs.runtime.sessions import Sessions
from lockfs.runtime.statuses import as_announced, new_file_status
from lockfs.store.entries import change_mode, set_times

Target = str | tuple[int, bytes]
"""A version of a file: a path through /proc/self/fd, or an entry of an open directory."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What setattr is to change; None: leave it. Times in nanoseconds, size in bytes."""

    size: int | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None


class Attributes:
    """Reads and changes attributes. All raise OSError."""

    def __init__(
        self,
        state: MountState,
        sessions: Sessions,
        appends: Appends,
        walk: SecondWalk,
        opener: Opener,
        one_step: OneStep,
    ) -> None:
        self._state = state
        self._sessions = sessions
        self._appends = appends
        self._walk = walk
        self._opener = opener
        self._one_step = one_step

    def status(self, node: Node, tid: int) -> os.stat_result:
        """What this thread sees of a node."""
        if node.twin is not None:
            return self._appends.status(node.twin, tid)
        session = node.session
        if session is None:
            return as_announced(node, self._state.nodes.status(node))
        if session.state is State.PREPARED:
            return self._prepared_status(session)
        return session.status()

    def _prepared_status(self, session: Session) -> os.stat_result:
        """A session that has no pen yet looks like the version that stands."""
        slot = session.slot
        try:
            return self._state.regular_at(slot)
        except FileNotFoundError:
            if not session.may_create:
                raise  # if the open has O_CREAT, the kernel comes back with a create
            return new_file_status(session.new_mode, session.new_uid, session.new_gid, session.staged.ino)

    # --- changing --------------------------------------------------------------------------------------------------

    async def change(self, node: Node, changes: Changes, handle: FileHandle | None, request: Request) -> None:
        """setattr: the size first, since it may have to wait."""
        if changes.size is not None:
            await self._resize(node, changes.size, handle, request)
            rest = (changes.mode, changes.uid, changes.gid, changes.atime_ns, changes.mtime_ns)
            if all(value is None for value in rest):
                return
        for number, target in enumerate(self.targets(node)):
            try:
                _apply(target, changes)
            except FileNotFoundError:
                if number == 0:
                    raise  # the others are versions that may have gone meanwhile

    def targets(self, node: Node) -> list[Target]:
        """All versions that a change of attributes reaches: the committed one and the one being written (W5)."""
        session = node.session
        if node.twin is not None:
            return self._twin_targets(node.twin)
        if session is None:
            return self._committed_targets(node)
        # The committed version comes second: it may be gone, removed by a stranger (W7).
        targets: list[Target] = [f"/proc/self/fd/{session.staged.fd}"]
        if session.state is State.OPEN and not session.is_new:
            committed = self._state.nodes.find(session.base_id, session.slot.parent.area) if session.base_id else None
            if committed is not None:
                try:
                    targets += self._committed_targets(committed)[:1]
                except OSError as error:
                    if error.errno not in (errno.ENOENT, errno.ESTALE):
                        raise
            elif session.base_fd >= 0:
                targets.append(f"/proc/self/fd/{session.base_fd}")
            else:
                targets.append((self._state.nodes.dir_fd(session.slot.parent), session.slot.name))
        return targets

    @staticmethod
    def _twin_targets(twin: Twin) -> list[Target]:
        fds = [twin.fd] if twin.fd >= 0 else []
        if twin.slot is not None and twin.slot.session is not None:
            fds.append(twin.slot.session.staged.fd)
        return [f"/proc/self/fd/{fd}" for fd in fds]

    def _committed_targets(self, node: Node) -> list[Target]:
        targets: list[Target] = []
        if node.fd >= 0:
            targets.append(f"/proc/self/fd/{node.fd}")
        else:
            try:
                targets.append(self._state.nodes.entry(node))
            except OSError:
                for handle in node.handles:
                    targets.append(f"/proc/self/fd/{handle.fd}")
                    break
                else:
                    raise
        newer = self._state.nodes.last_place(node) if node.superseded else None
        for parent, name in node.names() if newer is None else [newer]:
            if newer is not None:  # changed by somebody who walked here before a commit: the file is another one now
                targets.append((self._state.nodes.dir_fd(parent), name))
            slot = self._state.slots.get(parent, name)
            if slot is not None and slot.session is not None:
                targets.append(f"/proc/self/fd/{slot.session.staged.fd}")
        return targets

    # --- size ------------------------------------------------------------------------------------------------------

    async def _resize(self, node: Node, size: int, handle: FileHandle | None, request: Request) -> None:
        intent = self._walk.intents.take(request.tid, node)
        try:
            if intent is not None and intent.error is not None:
                raise intent.error
            session = node.session
            if isinstance(handle, PlainHandle):
                os.ftruncate(handle.fd, size)
            elif isinstance(handle, AppendHandle):
                await self._one_step.truncate_twin(handle, size, request)
            elif isinstance(handle, SessionHandle):
                await self._sessions.resize(handle.session, size)
            elif session is not None and (session.state is not State.PREPARED or self._is_given(intent, node)):
                await self._one_step.truncate(session, size, request)
            elif session is not None or node.twin is not None:
                raise OSError(errno.ESTALE, "somebody else's inode")
            else:
                await self._resize_committed(node, size, request, intent)
        finally:
            if intent is not None:
                self._walk.finish(intent)

    async def _resize_committed(self, node: Node, size: int, request: Request, intent: Intent | None) -> None:
        self._state.refuse_when_stopping()
        places = self._state.nodes.places(node)
        mode = self._opener.mode_of(node, 0 if size else os.O_TRUNC, places) if places else Mode.SHARED
        if intent is None and request.tid > 0 and places and (mode is Mode.PROTECT or node.parent is None):
            again = Intent(request.tid, node, places, append=False, plain=mode is not Mode.PROTECT)
            raise self._walk.sent_round(again)
        if mode is Mode.SHARED or node.parent is None:
            self._truncate_in_place(node, size)
            return
        # Live, or no second walk is possible: the kernel holds this inode's lock, so wait only briefly (Q7).
        slot = self._state.slots.obtain(node.parent, node.name)
        with_pen = self._state.new_handle_id()
        caller = self._state.processes.caller(request.tid)
        self._state.slots.in_use(slot)
        try:
            await self._state.acquire_briefly(slot, with_pen, Kind.PEN, caller, request.tid)
            try:
                self._truncate_in_place(node, size)
            finally:
                self._state.waiting.release(with_pen)
        finally:
            self._state.slots.done(slot)

    def _truncate_in_place(self, node: Node, size: int) -> None:
        fd = self._state.nodes.open_file(node, os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.ftruncate(fd, size)
        finally:
            os.close(fd)

    @staticmethod
    def _is_given(intent: Intent | None, node: Node) -> bool:
        return intent is not None and intent.given is node


_NOTHING = Changes()
"""chown(2) with -1 and -1: it still changes ctime."""


def _apply(target: Target, changes: Changes) -> None:
    """Change one version: owner before mode, because chown(2) clears setuid bits."""
    directory: int | None
    path: str | bytes
    directory, path = (None, target) if isinstance(target, str) else target
    follow = directory is None  # /proc/self/fd/N leads to the file itself; an entry may be a symbolic link
    if changes.uid is not None or changes.gid is not None or changes == _NOTHING:
        uid = -1 if changes.uid is None else changes.uid
        gid = -1 if changes.gid is None else changes.gid
        os.chown(path, uid, gid, dir_fd=directory, follow_symlinks=follow)
    if changes.mode is not None:
        change_mode(directory, path, changes.mode & 0o7777)
    if changes.atime_ns is not None or changes.mtime_ns is not None:
        set_times(path, changes.atime_ns, changes.mtime_ns, directory, follow=follow)
