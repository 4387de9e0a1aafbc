"""The request handlers of a mount with extended attributes and ACLs (`--xattrs`).

Without these, pyfuse3 answers ENOSYS, and the kernel never asks again: the price of the option is that it asks for
security.capability before each write (fs/fuse, file_remove_privs).
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

from pyfuse3 import InodeT, ModeT, RequestContext, XAttrNameT

from lockfs.fuse.boundary import guarded
from lockfs.fuse.operations import Operations, request_of
from lockfs.runtime.nodes import Node


class XattrOperations(Operations):
    """pyfuse3's operations, with extended attributes. The kernel enforces the ACLs, from what it reads here."""

    enable_acl = True

    def _mode_for_new(self, parent: Node, mode: ModeT, ctx: RequestContext) -> ModeT:
        """The kernel leaves the umask to us where it could be told so (fuse/umask.py)."""
        return ModeT(self._fs.xattrs.mode_for_new(parent, mode, ctx.umask))

    @guarded
    async def getxattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> bytes:
        if self._control.owns(inode):
            raise OSError(errno.ENODATA, "a control file")
        return self._fs.xattrs.get(self._nodes.get(inode), name, ctx.pid)

    @guarded
    async def listxattr(self, inode: InodeT, ctx: RequestContext) -> Sequence[XAttrNameT]:
        if self._control.owns(inode):
            return []
        return [XAttrNameT(name) for name in self._fs.xattrs.names(self._nodes.get(inode), ctx.pid)]

    @guarded
    async def setxattr(self, inode: InodeT, name: XAttrNameT, value: bytes, ctx: RequestContext) -> None:
        self._fs.xattrs.set(self._node(inode), name, value, request_of(ctx))

    @guarded
    async def removexattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> None:
        self._fs.xattrs.remove(self._node(inode), name, request_of(ctx))
