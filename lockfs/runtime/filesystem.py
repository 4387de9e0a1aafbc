"""One mount's parts, wired together; what the FUSE layer talks to."""

from __future__ import annotations

import mmap
import os

import trio

from lockfs.core.ids import HandleId
from lockfs.runtime.appends import Appends
from lockfs.runtime.attributes import Attributes
from lockfs.runtime.creating import Creator
from lockfs.runtime.directories import Directories
from lockfs.runtime.events import log
from lockfs.runtime.handles import AppendHandle, FileHandle, PlainHandle, SessionHandle
from lockfs.runtime.mountstate import Kernel, MountState
from lockfs.runtime.namespace import Namespace
from lockfs.runtime.nodes import Node
from lockfs.runtime.one_step import OneStep
from lockfs.runtime.opening import Opener
from lockfs.runtime.processes import append_flags
from lockfs.runtime.reading import Reader
from lockfs.runtime.second_walk import SecondWalk
from lockfs.runtime.sessions import Sessions
from lockfs.runtime.settings import Settings
from lockfs.runtime.submounts import Submounts
from lockfs.runtime.xattrs import Xattrs
from lockfs.store.layout import Layout
from lockfs.store.staging import write_all

_STOP_POLL_S = 0.05


class Filesystem:
    """The runtime of one mount. Make it inside trio's loop."""

    def __init__(self, settings: Settings, layout: Layout, kernel: Kernel, max_dir_fds: int) -> None:
        self.state = MountState(settings, layout, kernel, max_dir_fds)
        self.sessions = Sessions(self.state)
        self.appends = Appends(self.state, self.sessions)
        self.walk = SecondWalk(self.state, self.sessions, self.appends)
        self.opener = Opener(self.state, self.sessions, self.appends, self.walk)
        self.creator = Creator(self.state, self.sessions, self.appends, self.walk)
        self.names = Namespace(self.state, self.sessions, self.appends)
        self.one_step = OneStep(self.state, self.sessions, self.appends, self.opener)
        self.attributes = Attributes(self.state, self.sessions, self.appends, self.walk, self.opener, self.one_step)
        self.xattrs = Xattrs(self.state, self.sessions, self.attributes)
        self.directories = Directories(self.state, self.sessions)
        self.submounts = Submounts(self.state)
        self._reader = Reader(self.state)
        self._sweep()

    def _sweep(self) -> None:
        """Keep what a crashed daemon left (N3)."""
        state = self.state
        if state.layout.read_only:
            return
        kept = state.store.sweep()
        if kept:
            state.counters.orphans += len(kept)
            log.warning("staged files of a crashed daemon moved to the orphans count=%d ids=%s", len(kept), kept)

    # --- open files ------------------------------------------------------------------------------------------------

    async def read(self, handle: FileHandle, offset: int, size: int) -> bytes | bytearray | memoryview:
        """pread(2)."""
        if isinstance(handle, AppendHandle):
            return self.appends.read(handle, offset, size)
        return await self._reader.read(handle.fd, offset, size)

    async def write(self, handle: FileHandle, offset: int, data: bytes) -> int:
        """pwrite(2), or a record's append. Fewer bytes only at the filesystem's limit for a file's size."""
        if isinstance(handle, AppendHandle):
            if self.appends.is_positioned(handle, offset, len(data)):
                return await self.one_step.write_twin(handle, offset, data)
            await self.appends.write(handle, data)
            return len(data)
        if handle.node.kernel_lags or (isinstance(handle, PlainHandle) and handle.appends):
            place = self._place(handle, offset, len(data))
            if place != offset:
                offset = place
                # It has put the bytes into its page cache elsewhere, and locks these pages until the reply.
                self.state.spawn(self.state.kernel.forget_content, handle.node)
        if isinstance(handle, SessionHandle):
            if handle.flushed and offset % mmap.PAGESIZE == 0:  # a page of a mapping comes whole
                self.sessions.watch_mapping(handle)
            return await self.sessions.write(handle.session, offset, data)
        return write_all(handle.fd, data, offset)

    def _place(self, handle: FileHandle, offset: int, length: int) -> int:
        """Where a write belongs, if the file's size was changed under the kernel, by another inode (A6) or past the
        mount (M2): O_APPEND means the end, and the kernel takes an old one for it. Whether the writer has O_APPEND
        (`make` puts it on its output) only its descriptors tell."""
        status = os.fstat(handle.fd)
        size = status.st_size
        if offset == size:
            return offset
        if offset % mmap.PAGESIZE == 0 and (length % mmap.PAGESIZE == 0 or offset + length == size):
            return offset  # pages of a mapping
        shown = self.state.nodes.number_shown
        inodes = {handle.node.nodeid, shown(status)}
        writer, opened_so = None, False
        if isinstance(handle, SessionHandle):
            writer = handle.writer
            inodes.add(shown(handle.session.status()))
        elif isinstance(handle, PlainHandle):
            writer, opened_so = handle.writer, handle.appends
        flags = append_flags(writer.pid, inodes) if writer is not None else frozenset()
        appends = flags == {True} or (opened_so and not flags)
        return size if appends else offset

    async def flush(self, handle: FileHandle) -> None:
        """One close(2) of a descriptor."""
        if isinstance(handle, SessionHandle):
            await self.sessions.flush(handle)
        elif isinstance(handle, AppendHandle):
            await self.appends.flush(handle)

    async def sync(self, handle: FileHandle) -> None:
        """fsync(2)."""
        if isinstance(handle, SessionHandle):
            await self.sessions.sync(handle.session)
        elif isinstance(handle, AppendHandle):
            await self.appends.sync(handle)
        else:
            await self.state.in_thread(os.fsync, handle.fd)

    async def release(self, handle: FileHandle) -> None:
        """The last close. A commit happens before the first await (W3)."""
        if isinstance(handle, SessionHandle):
            await self.sessions.release(handle)
        elif isinstance(handle, AppendHandle):
            await self.appends.release(handle)
        elif isinstance(handle, PlainHandle):
            self._release_plain(handle)

    def _release_plain(self, handle: PlainHandle) -> None:
        handle.node.handles.discard(handle)
        os.close(handle.fd)
        pen: HandleId | None = handle.pen
        if pen is not None:
            self.state.waiting.release(pen)
        if handle.slot is not None:
            self.state.slots.done(handle.slot)
        self.forget(handle.node, 0)

    def forget(self, node: Node, count: int) -> None:
        """The kernel dropped references to a node."""
        node.nlookup -= count
        if node.twin is not None:
            self.appends.drop_if_unused(node.twin)
        else:
            self.state.nodes.drop_if_unused(node)

    # --- the end ---------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Graceful (N7): no new writers, a grace period for open sessions; what is left goes to the orphans."""
        self.state.stopping = True
        self.state.waiting.dismiss_all()
        with trio.move_on_after(self.state.settings.grace_s):
            while self.sessions.open:  # noqa: ASYNC110 - once in a mount's life; an event would burden every session
                await trio.sleep(_STOP_POLL_S)
        self.abort_sessions()

    def abort_sessions(self) -> None:
        """Whatever is not committed goes to the orphans."""
        for session in list(self.sessions.open):
            self.sessions.abort(session, "the mount was stopped")

    def close(self) -> None:
        """Give everything back."""
        self.abort_sessions()
        self.state.areas.close()
        self.state.nodes.close()
        if self.state.layout.read_only:
            self.state.layout.close()
        else:
            self.state.store.close()
