"""Names: making, linking, removing and renaming entries, with their sessions and appenders (W7, W8, Q7)."""

from __future__ import annotations

import errno
import os
import stat

from lockfs.core.arbiter import Kind
from lockfs.core.ids import HandleId
from lockfs.core.session import State
from lockfs.runtime.appends import Appends
from lockfs.runtime.handles import PlainHandle
from lockfs.runtime.mountstate import MountState
from lockfs.runtime.nodes import Node
from lockfs.runtime.openflags import Request
from lockfs.runtime.session import Session
from lockfs.runtime.sessions import Sessions
from lockfs.runtime.slots import Slot
from lockfs.store.entries import RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT, change_mode, rename


class Namespace:
    """Operations on entries. All raise OSError."""

    def __init__(self, state: MountState, sessions: Sessions, appends: Appends) -> None:
        self._state = state
        self._sessions = sessions
        self._appends = appends

    def _session_at(self, parent: Node, name: bytes) -> Session | None:
        slot = self._state.slots.get(parent, name)
        return slot.session if slot is not None else None

    def _refuse_pending(self, parent: Node, name: bytes) -> None:
        """A name that a session is about to create is taken (W8): a new file, or one that a stranger removed."""
        if self._session_at(parent, name) is not None:
            raise OSError(errno.EEXIST, "somebody is creating it")

    # --- making ----------------------------------------------------------------------------------------------------

    def _made(self, parent: Node, name: bytes, request: Request) -> os.stat_result:
        """Give a new entry its owner; returns its status."""
        parent_fd = self._state.nodes.dir_fd(parent)
        status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        gid = request.gid
        if os.fstat(parent_fd).st_mode & stat.S_ISGID:
            gid = status.st_gid
        if (status.st_uid, status.st_gid) != (request.uid, gid):
            try:
                os.chown(name, request.uid, gid, dir_fd=parent_fd, follow_symlinks=False)
            except PermissionError:
                return status  # not root: everything is the mounting user's
            if status.st_mode & (stat.S_ISUID | stat.S_ISGID) and not stat.S_ISDIR(status.st_mode):
                change_mode(parent_fd, name, stat.S_IMODE(status.st_mode))  # chown(2) took these bits away
            return os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        return status

    def mkdir(self, parent: Node, name: bytes, mode: int, request: Request) -> os.stat_result:
        """mkdir(2)."""
        self._refuse_pending(parent, name)
        os.mkdir(name, mode & 0o7777, dir_fd=self._state.nodes.dir_fd(parent))
        return self._made(parent, name, request)

    def mknod(self, parent: Node, name: bytes, mode: int, device: int, request: Request) -> os.stat_result:
        """mknod(2): FIFOs, sockets, devices, and empty regular files."""
        self._refuse_pending(parent, name)
        os.mknod(name, mode, device, dir_fd=self._state.nodes.dir_fd(parent))
        return self._made(parent, name, request)

    def symlink(self, parent: Node, name: bytes, target: bytes, request: Request) -> os.stat_result:
        """symlink(2)."""
        self._refuse_pending(parent, name)
        os.symlink(target, name, dir_fd=self._state.nodes.dir_fd(parent))
        return self._made(parent, name, request)

    def link(self, node: Node, parent: Node, name: bytes) -> os.stat_result:
        """link(2). A file that its own family is still writing is published under the new name as it is."""
        self._refuse_pending(parent, name)
        new_fd = self._state.nodes.dir_fd(parent)
        session = node.session
        if session is not None and session.state is not State.ENDED and session.copied:
            session.store.staging.link(session.staged, new_fd, name)
        else:
            self._link_committed(node, parent, name)
        return os.stat(name, dir_fd=self._state.nodes.dir_fd(parent), follow_symlinks=False)

    def _link_committed(self, node: Node, parent: Node, name: bytes) -> None:
        slot = node.session.slot if node.session is not None else node.twin.slot if node.twin is not None else None
        if slot is not None:
            old_fd, old_name = os.dup(self._state.nodes.dir_fd(slot.parent)), slot.name
        else:
            entry_fd, old_name = self._entry(node)
            old_fd = os.dup(entry_fd)  # the next descriptor may displace this one
        try:
            new_fd = self._state.nodes.dir_fd(parent)
            os.link(old_name, name, src_dir_fd=old_fd, dst_dir_fd=new_fd, follow_symlinks=False)
        finally:
            os.close(old_fd)

    def _entry(self, node: Node) -> tuple[int, bytes]:
        """An entry that leads to the node, or, if a commit replaced it just now, to its newer version."""
        place = self._state.nodes.last_place(node) if node.superseded else None
        if place is not None:
            return self._state.nodes.dir_fd(place[0]), place[1]
        return self._state.nodes.entry(node)

    # --- removing --------------------------------------------------------------------------------------------------

    def _find(self, parent: Node, name: bytes) -> tuple[os.stat_result, Node | None]:
        status = os.stat(name, dir_fd=self._state.nodes.dir_fd(parent), follow_symlinks=False)
        return status, self._state.nodes.find((status.st_dev, status.st_ino), parent.area)

    def unlink(self, parent: Node, name: bytes, tid: int) -> None:
        """unlink(2). By a stranger it removes the old version, and a session's commit makes the file anew (W7); by
        the writer's own family it removes what they write: an anonymous temporary file."""
        session = self._session_at(parent, name)
        own = session is not None and self._sessions.is_own(session, tid)
        try:
            _, node = self._find(parent, name)
            if node is not None:
                self._state.nodes.hold(node, parent, name)
            os.unlink(name, dir_fd=self._state.nodes.dir_fd(parent))
        except FileNotFoundError:
            if not own:
                raise
            node = None
        if session is not None and own:
            self._sessions.detach(session, removed_by_writer=True)
        if node is not None:
            self._removed(node, parent, name)

    def _removed(self, node: Node, parent: Node, name: bytes) -> None:
        self._state.nodes.drop_name(node, parent, name)
        self._state.kernel.forget_attributes(node)
        slot = self._state.slots.get(parent, name)
        if slot is not None:
            self._release_pens_in_place(node, slot)
            if slot.twin is not None:
                self._appends.leave_file(slot.twin)

    def _release_pens_in_place(self, node: Node, slot: Slot) -> None:
        """Live writers go on in a file without a name; the name is free for the next writer."""
        for handle in node.handles:
            if isinstance(handle, PlainHandle) and handle.pen is not None and handle.slot is slot:
                self._state.waiting.release(handle.pen)
                self._state.slots.done(slot)
                handle.pen = handle.slot = None

    def rmdir(self, parent: Node, name: bytes) -> None:
        """rmdir(2). ENOTEMPTY also if a session will create a file in there (W7)."""
        _, node = self._find(parent, name)
        self._refuse_pending_inside(node)
        if node is not None:
            self._state.nodes.hold(node, parent, name)
        os.rmdir(name, dir_fd=self._state.nodes.dir_fd(parent))
        if node is not None:
            self._state.nodes.drop_name(node, parent, name)

    def _refuse_pending_inside(self, directory: Node | None) -> None:
        if directory is None or not directory.is_dir:
            return
        if any(slot.parent is directory and slot.session is not None for slot in self._state.slots):
            raise OSError(errno.ENOTEMPTY, "somebody is creating a file in it")

    # --- renaming --------------------------------------------------------------------------------------------------

    async def rename(
        self, parent: Node, name: bytes, new_parent: Node, new_name: bytes, flags: int, request: Request
    ) -> None:
        """rename(2), renameat2(2). Over a path that a stranger holds: waits a moment, then EBUSY (Q7)."""
        if flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT):
            raise OSError(errno.EINVAL, "unknown flag")
        if parent is new_parent and name == new_name:
            self._find(parent, name)
            return
        if flags & RENAME_NOREPLACE:
            self._refuse_pending(new_parent, new_name)
        pen = None
        if not flags & RENAME_EXCHANGE:  # else nothing is replaced: sessions follow their files
            pen = await self._pen_at(new_parent, new_name, request)
        try:
            self._rename(parent, name, new_parent, new_name, flags, request)
        finally:
            if pen is not None:
                self._state.waiting.release(pen)

    async def _pen_at(self, parent: Node, name: bytes, request: Request) -> HandleId | None:
        """The pen of the target, if a stranger has it now: a rename over it is a writer too (W1)."""
        slot = self._state.slots.get(parent, name)
        if slot is None or self._state.arbiter.holder(slot.key) is None:
            return None
        caller = self._state.processes.caller(request.tid)
        if self._state.arbiter.is_family(slot.key, caller.lineage):
            return None
        pen = self._state.new_handle_id()
        await self._state.acquire_briefly(slot, pen, Kind.PEN, caller, request.tid)
        return pen

    def _rename(
        self, parent: Node, name: bytes, new_parent: Node, new_name: bytes, flags: int, request: Request
    ) -> None:
        nodes = self._state.nodes
        session = self._session_at(parent, name)
        try:
            status, moved = self._find(parent, name)
        except FileNotFoundError:
            if session is None or not self._sessions.is_own(session, request.tid):
                raise
            if flags & RENAME_WHITEOUT:
                raise OSError(errno.EINVAL, "nothing stands there yet that a whiteout could hide") from None
            self._rename_pending(session, new_parent, new_name, flags)
            return
        try:
            there, replaced = self._find(new_parent, new_name)
        except FileNotFoundError:
            replaced = None
        else:
            if not flags & RENAME_NOREPLACE and os.path.samestat(status, there):
                return  # two names of one file: rename(2) does nothing
        if not flags & RENAME_EXCHANGE:
            if replaced is not None:
                self._refuse_pending_inside(replaced)
                nodes.hold(replaced, new_parent, new_name)
            self._refuse_two_queues(parent, name, new_parent, new_name)
        old_fd = os.dup(nodes.dir_fd(parent))
        try:
            rename(old_fd, name, nodes.dir_fd(new_parent), new_name, flags)
        finally:
            os.close(old_fd)
        if flags & RENAME_EXCHANGE:
            self._exchanged(moved, parent, name, replaced, new_parent, new_name)
        else:
            self._moved(moved, parent, name, replaced, new_parent, new_name)
        if flags & RENAME_WHITEOUT:
            self._made(parent, name, request)

    def _refuse_two_queues(self, parent: Node, name: bytes, new_parent: Node, new_name: bytes) -> None:
        """A session that moves to a name which others queue for would meet them there."""
        slot = self._state.slots.get(parent, name)
        there = self._state.slots.get(new_parent, new_name)
        if slot is not None and slot.busy and there is not None and self._state.arbiter.waiting(there.key):
            raise OSError(errno.EBUSY, "others wait to write the target")

    def _moved(
        self, moved: Node | None, parent: Node, name: bytes, replaced: Node | None, new_parent: Node, new_name: bytes
    ) -> None:
        state = self._state
        self._leave_target(new_parent, new_name, replaced)
        if replaced is not None:
            state.nodes.drop_name(replaced, new_parent, new_name)
            state.kernel.forget_attributes(replaced)
        if moved is not None:
            state.nodes.drop_name(moved, parent, name)
            state.nodes.add_name(moved, new_parent, new_name)
        slot = state.slots.get(parent, name)
        if slot is not None and slot.busy:
            state.slots.move(slot, new_parent, new_name)
        there = state.slots.get(new_parent, new_name)
        if there is not None:
            there.stale_name = True

    def _leave_target(self, parent: Node, name: bytes, replaced: Node | None) -> None:
        """Another file stands at the entry now: its appenders keep the old one, the family's session has lost it."""
        slot = self._state.slots.get(parent, name)
        if slot is None:
            return
        if slot.session is not None:
            self._sessions.detach(slot.session, replaced=True)
        if replaced is not None:
            self._release_pens_in_place(replaced, slot)
        if slot.twin is not None:
            self._appends.leave_file(slot.twin)

    def _rename_pending(self, session: Session, parent: Node, name: bytes, flags: int) -> None:
        """A file that is not committed yet is renamed by its writer: the session goes along, nothing else moves."""
        if parent.area is not session.slot.parent.area:
            raise OSError(errno.EXDEV, "another mount below the backing directory")
        try:
            status, there = self._find(parent, name)
        except FileNotFoundError:
            there = None
            if flags & RENAME_EXCHANGE:
                raise
        else:
            if flags & RENAME_NOREPLACE:
                raise OSError(errno.EEXIST, "it exists")
            if flags & RENAME_EXCHANGE:
                raise OSError(errno.EINVAL, "a file that is not committed yet cannot be exchanged")
            if stat.S_ISDIR(status.st_mode):
                raise OSError(errno.EISDIR, "a directory stands there")
        self._refuse_two_queues(session.slot.parent, session.slot.name, parent, name)
        self._leave_target(parent, name, there)
        self._state.slots.move(session.slot, parent, name)

    def _exchanged(
        self, one: Node | None, parent: Node, name: bytes, other: Node | None, new_parent: Node, new_name: bytes
    ) -> None:
        nodes = self._state.nodes
        for node, old, new in (
            (one, (parent, name), (new_parent, new_name)),
            (other, (new_parent, new_name), (parent, name)),
        ):
            if node is not None:
                nodes.drop_name(node, *old)
                nodes.add_name(node, *new)
        self._state.slots.exchange((parent, name), (new_parent, new_name))
