"""The request handlers: decode, ask the runtime, encode; nothing else."""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Callable, Sequence
from typing import cast

import pyfuse3
from pyfuse3 import EntryAttributes, FileHandleT, FileInfo, FlagT, InodeT, ModeT, RequestContext

from lockfs.fuse.boundary import guarded
from lockfs.fuse.control import DIRECTORY_ID, Control
from lockfs.fuse.encoding import attributes_of, changes_of, statvfs_of
from lockfs.fuse.listing import NameReply
from lockfs.runtime.filesystem import Filesystem
from lockfs.runtime.handles import AppendHandle, DirHandle, FileHandle
from lockfs.runtime.nodes import Node
from lockfs.runtime.openflags import Request, is_writing
from lockfs.runtime.statuses import as_announced
from lockfs.store.layout import HIDDEN


def request_of(ctx: RequestContext) -> Request:
    return Request(ctx.pid, ctx.uid, ctx.gid)


class Operations(pyfuse3.Operations):
    """pyfuse3's operations for one mount."""

    supports_dot_lookup = False
    enable_writeback_cache = False
    enable_acl = False

    def __init__(self, filesystem: Filesystem, control: Control, greeted: Callable[[], None]) -> None:
        super().__init__()
        self._fs = filesystem
        self._nodes = filesystem.state.nodes
        self._control = control
        self._greeted = greeted
        self._cache_s = filesystem.state.settings.cache_s
        self._files: dict[int, FileHandle | bytes] = {}
        self._dirs: dict[int, DirHandle | None] = {}
        self._numbers = itertools.count(1)
        self._names = NameReply()

    def init(self) -> None:
        """The kernel said hello."""
        self._greeted()

    def count_error(self) -> None:
        """A handler failed unexpectedly (N6)."""
        self._fs.state.counters.errors += 1

    # --- nodes -----------------------------------------------------------------------------------------------------

    def _node(self, nodeid: int) -> Node:
        if self._control.owns(nodeid):
            raise OSError(errno.EPERM, "a control file")
        return self._nodes.get(nodeid)

    def _place(self, parent_id: int, name: bytes) -> Node:
        """The parent of an entry that is to be changed; the hidden name cannot be (C3)."""
        parent = self._node(parent_id)
        if name == HIDDEN and self._fs.state.hides(parent, name):
            raise OSError(errno.EPERM, "lockfs's own directory")
        return parent

    async def _entry(self, parent: Node, name: bytes, tid: int) -> EntryAttributes:
        """Look one name up and take a reference for the kernel."""
        state = self._fs.state
        slot = state.slots.get(parent, name)
        if slot is not None and slot.settling is not None and not self._fs.walk.may_not_wait(tid, slot):
            await slot.settling.wait()
        status: os.stat_result | None = None
        missing: FileNotFoundError | None = None
        try:
            status = os.stat(name, dir_fd=self._nodes.dir_fd(parent), follow_symlinks=False)
        except FileNotFoundError as error:
            missing = error
        if slot is not None or self._fs.walk.intents:
            node = self._fs.walk.private_node(slot, parent, name, tid, status)
            if node is not None:
                seen = self._fs.attributes.status(node, tid)
                node.nlookup += 1
                return attributes_of(seen, node.nodeid, 0, 0)
        if status is None:
            assert missing is not None
            raise missing
        return self._committed_entry(self._nodes.committed(status, parent, name), status, parent, name)

    def _committed_entry(self, node: Node, status: os.stat_result, parent: Node, name: bytes) -> EntryAttributes:
        slot = self._fs.state.slots.get(parent, name)
        node.nlookup += 1
        node.growing = slot is not None and slot.twin is not None and bool(slot.twin.handles)
        if status.st_nlink > 1 and not node.growing:
            node.growing = self._fs.appends.has_open(node.file_id)
        status = as_announced(node, status)
        entry_s = 0.0 if slot is not None and slot.busy else self._cache_s
        # Only getattr can tell an inode number that differs from the node's: have the kernel ask.
        known = node.nodeid == self._nodes.number_shown(status)
        changing = node.growing or self._fs.state.slots.inside(node)
        attr_s = self._cache_s if entry_s and known and not changing else 0.0
        return attributes_of(status, node.nodeid, entry_s, attr_s)

    @guarded
    async def lookup(self, parent_inode: InodeT, name: bytes, ctx: RequestContext) -> EntryAttributes:
        if self._control.owns(parent_inode):
            return self._control.lookup(name)
        parent = self._nodes.get(parent_inode)
        if name == HIDDEN and self._fs.state.hides(parent, name):
            if parent is self._nodes.root:
                return self._control.attributes(DIRECTORY_ID)
            raise OSError(errno.ENOENT, "lockfs's own directory on a mount below")
        return await self._entry(parent, name, ctx.pid)

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        for nodeid, count in inode_list:
            try:
                node = self._node(nodeid)
            except OSError:
                continue
            self._fs.forget(node, count)

    @guarded
    async def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        if self._control.owns(inode):
            return self._control.attributes(inode)
        return self._attributes(self._nodes.get(inode), ctx.pid)

    def _attributes(self, node: Node, tid: int) -> EntryAttributes:
        status = self._fs.attributes.status(node, tid)
        fleeting = (
            node.session is not None or node.twin is not None or node.growing or self._fs.state.slots.inside(node)
        )
        return attributes_of(status, self._nodes.number_shown(status), 0, 0 if fleeting else self._cache_s)

    @guarded
    async def setattr(
        self,
        inode: InodeT,
        attr: EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: FileHandleT | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        node = self._node(inode)
        handle = self._files.get(fh) if fh is not None else None
        file = handle if isinstance(handle, FileHandle) else None
        await self._fs.attributes.change(node, changes_of(attr, fields), file, request_of(ctx))
        return self._attributes(node, ctx.pid)

    @guarded
    async def readlink(self, inode: InodeT, ctx: RequestContext) -> bytes:
        return self._nodes.target_of(self._node(inode))

    def _mode_for_new(self, parent: Node, mode: ModeT, ctx: RequestContext) -> ModeT:
        """The mode of a file to be made; the kernel has taken the umask off already."""
        return mode

    # --- names -----------------------------------------------------------------------------------------------------

    async def _made(self, parent: Node, name: bytes, kind: int, ctx: RequestContext) -> EntryAttributes:
        """The reply for a new entry. Raises OSError; ESTALE, and the kernel tries once more, if something else took its
        place past the mount meanwhile (M2): to an entry of another kind it says EIO."""
        attributes = await self._entry(parent, name, ctx.pid)
        if stat.S_IFMT(attributes.st_mode) != kind:
            await self.forget([(attributes.st_ino, 1)])
            raise OSError(errno.ESTALE, "another entry took its place")
        return attributes

    @guarded
    async def mknod(
        self, parent_inode: InodeT, name: bytes, mode: ModeT, rdev: int, ctx: RequestContext
    ) -> EntryAttributes:
        parent = self._place(parent_inode, name)
        mode = self._mode_for_new(parent, mode, ctx)
        self._fs.names.mknod(parent, name, mode, rdev, request_of(ctx))
        return await self._made(parent, name, stat.S_IFMT(mode) or stat.S_IFREG, ctx)

    @guarded
    async def mkdir(self, parent_inode: InodeT, name: bytes, mode: ModeT, ctx: RequestContext) -> EntryAttributes:
        parent = self._node(parent_inode)
        if name == HIDDEN and self._fs.state.hides(parent, name):
            raise OSError(errno.EEXIST, "lockfs's own directory")
        mode = self._mode_for_new(parent, mode, ctx)
        self._fs.names.mkdir(parent, name, mode, request_of(ctx))
        return await self._made(parent, name, stat.S_IFDIR, ctx)

    @guarded
    async def symlink(self, parent_inode: InodeT, name: bytes, target: bytes, ctx: RequestContext) -> EntryAttributes:
        parent = self._place(parent_inode, name)
        self._fs.names.symlink(parent, name, target, request_of(ctx))
        return await self._made(parent, name, stat.S_IFLNK, ctx)

    @guarded
    async def link(
        self, inode: InodeT, new_parent_inode: InodeT, new_name: bytes, ctx: RequestContext
    ) -> EntryAttributes:
        node = self._node(inode)
        parent = self._place(new_parent_inode, new_name)
        self._fs.names.link(node, parent, new_name)
        return await self._made(parent, new_name, node.kind, ctx)

    @guarded
    async def unlink(self, parent_inode: InodeT, name: bytes, ctx: RequestContext) -> None:
        self._fs.names.unlink(self._place(parent_inode, name), name, ctx.pid)

    @guarded
    async def rmdir(self, parent_inode: InodeT, name: bytes, ctx: RequestContext) -> None:
        self._fs.names.rmdir(self._place(parent_inode, name), name)

    @guarded
    async def rename(
        self,
        parent_inode_old: InodeT,
        name_old: bytes,
        parent_inode_new: InodeT,
        name_new: bytes,
        flags: FlagT,
        ctx: RequestContext,
    ) -> None:
        old = self._place(parent_inode_old, name_old)
        new = self._place(parent_inode_new, name_new)
        await self._fs.names.rename(old, name_old, new, name_new, flags, request_of(ctx))

    # --- files -----------------------------------------------------------------------------------------------------

    def _opened(self, handle: FileHandle | bytes) -> FileInfo:
        number = next(self._numbers)
        self._files[number] = handle
        # Appenders: reads must see the held tail. Control files: their size is not known to the kernel.
        direct = isinstance(handle, bytes | AppendHandle)
        # By its times the kernel notices most changes past the mount, but a program can put the time back (M2).
        keep = isinstance(handle, bytes) or not handle.node.was_changed
        return FileInfo(fh=FileHandleT(number), direct_io=direct, keep_cache=keep)

    def _file(self, fh: int) -> FileHandle:
        handle = self._files[fh]
        if isinstance(handle, bytes):
            raise OSError(errno.EBADF, "a control file")
        return handle

    @guarded
    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> FileInfo:
        if self._control.owns(inode):
            if is_writing(flags):
                raise OSError(errno.EACCES, "control files are read-only")
            return self._opened(self._control.content(inode))
        return self._opened(await self._fs.opener.open(self._nodes.get(inode), flags, request_of(ctx)))

    @guarded
    async def create(
        self, parent_inode: InodeT, name: bytes, mode: ModeT, flags: FlagT, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        parent = self._place(parent_inode, name)
        mode = self._mode_for_new(parent, mode, ctx)
        handle = await self._fs.creator.create(parent, name, mode, flags, request_of(ctx))
        node = handle.node
        node.nlookup += 1
        status = self._fs.attributes.status(node, ctx.pid)
        return self._opened(handle), attributes_of(status, node.nodeid, 0, 0)

    @guarded
    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        handle = self._files[fh]
        if isinstance(handle, bytes):
            return handle[off : off + size]
        return cast(bytes, await self._fs.read(handle, off, size))  # pyfuse3 takes any buffer

    @guarded
    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        return await self._fs.write(self._file(fh), off, buf)

    @guarded
    async def flush(self, fh: FileHandleT) -> None:
        handle = self._files[fh]
        if not isinstance(handle, bytes):
            await self._fs.flush(handle)

    @guarded
    async def release(self, fh: FileHandleT) -> None:
        handle = self._files.pop(fh)
        if not isinstance(handle, bytes):
            await self._fs.release(handle)

    @guarded
    async def fsync(self, fh: FileHandleT, datasync: bool) -> None:
        handle = self._files[fh]
        if not isinstance(handle, bytes):
            await self._fs.sync(handle)

    @guarded
    async def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        return statvfs_of(os.fstatvfs(self._fs.state.layout.root_fd))

    # --- directories -----------------------------------------------------------------------------------------------

    @guarded
    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        number = next(self._numbers)
        if self._control.owns(inode):
            self._dirs[number] = None
        else:
            self._dirs[number] = self._fs.directories.open(self._nodes.get(inode), ctx.pid)
        return FileHandleT(number)

    @guarded
    async def readdir(self, fh: FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        handle = self._dirs[fh]
        if handle is None:
            self._list_control(start_id, token)
            return
        entries = await self._fs.directories.entries(handle, start_id)
        if self._names.works:
            self._names.fill(token, entries)
            return
        for name, number, kind, position in entries:
            if not await self._reply_looked_up(handle, token, name, number, kind, position):
                return

    def _list_control(self, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        entries = [(b".", DIRECTORY_ID), (b"..", DIRECTORY_ID), *self._control.entries()]
        for index, (name, nodeid) in enumerate(entries):
            if index >= start_id:
                attributes = self._control.attributes(nodeid)
                if not pyfuse3.readdir_reply(token, name, attributes, index + 1):
                    return

    async def _reply_looked_up(
        self, handle: DirHandle, token: pyfuse3.ReaddirToken, name: bytes, number: int, kind: int, position: int
    ) -> bool:
        """One entry with its attributes; False when the reply is full. One that vanished meanwhile is passed over."""
        if name in (b".", b".."):
            attributes = attributes_of(os.fstat(handle.fd), number, 0, 0)
            return bool(pyfuse3.readdir_reply(token, name, attributes, position))
        try:
            attributes = await self._entry(handle.node, name, handle.tid)
        except FileNotFoundError:
            return True
        if not stat.S_ISDIR(kind):
            # The kernel may take this reply in late, when a writer's lookup has come and gone in between: it would
            # bring back a name that leads to the old version, and keep it (W3).
            attributes.entry_timeout = 0
        if pyfuse3.readdir_reply(token, name, attributes, position):
            return True
        await self.forget([(attributes.st_ino, 1)])
        return False

    @guarded
    async def releasedir(self, fh: FileHandleT) -> None:
        handle = self._dirs.pop(fh)
        if handle is not None:
            self._fs.directories.close(handle)

    @guarded
    async def fsyncdir(self, fh: FileHandleT, datasync: bool) -> None:
        handle = self._dirs[fh]
        if handle is not None:
            await self._fs.state.in_thread(os.fsync, handle.fd)
