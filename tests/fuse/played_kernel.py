"""Plays the kernel: calls the request handlers in an order of the test's choosing, without a mount.

For orders that a real kernel produces once in a hundred thousand operations. The callers are threads of real
processes, since the handlers look them up in /proc.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyfuse3
import pytest
import trio
from pyfuse3 import FileHandleT, FlagT, FUSEError, InodeT, RequestContext

from lockfs.fuse.control import Control
from lockfs.fuse.operations import Operations
from lockfs.runtime.filesystem import Filesystem
from lockfs.runtime.nodes import Node
from lockfs.runtime.settings import Settings
from lockfs.runtime.stats import Stats
from lockfs.store.layout import open_layout

SETATTR_FIELDS = [name for name in dir(pyfuse3.SetattrFields) if name.startswith("update_")]
ROOT = InodeT(pyfuse3.ROOT_INODE)


class DeafKernel:
    """A kernel that keeps nothing and so need not be told."""

    def forget_attributes(self, node: Node) -> None:
        pass

    async def forget_content(self, node: Node) -> None:
        pass

    async def forget_name(self, parent: Node, name: bytes) -> None:
        pass


@dataclass(frozen=True)
class Asker:
    """What a request says of its caller (a pyfuse3.RequestContext)."""

    pid: int
    uid: int = os.getuid()
    gid: int = os.getgid()
    umask: int = 0o022

    @property
    def context(self) -> RequestContext:
        return cast(RequestContext, self)


class PlayedKernel:
    """The system calls of one mount's callers, request by request; errors come as OSError."""

    def __init__(self, filesystem: Filesystem) -> None:
        self.filesystem = filesystem
        self.operations = Operations(filesystem, Control(Stats(filesystem)), lambda: None)

    async def _ask(self, call: Callable[[], Any]) -> Any:
        try:
            return await call()
        except FUSEError as error:
            raise OSError(error.errno, os.strerror(error.errno)) from None

    async def lookup(self, asker: Asker, name: bytes) -> InodeT:
        """A name in the root directory; the inode that the kernel would take for it."""
        found = await self._ask(lambda: self.operations.lookup(ROOT, name, asker.context))
        return InodeT(found.st_ino)

    async def open(self, asker: Asker, inode: InodeT, flags: int) -> FileHandleT:
        """The open of an inode."""
        info = await self._ask(lambda: self.operations.open(inode, FlagT(flags), asker.context))
        return cast(FileHandleT, info.fh)

    async def sent_round(self, asker: Asker, name: bytes, flags: int) -> None:
        """The first half of an open for writing, which is answered with ESTALE."""
        inode = await self.lookup(asker, name)
        with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
            await self.open(asker, inode, flags)

    async def open_to_write(self, asker: Asker, name: bytes, flags: int = os.O_RDWR) -> FileHandleT:
        """An open for writing, as the kernel does it: once more from the lookup on if the first answer is ESTALE."""
        try:
            return await self.open(asker, await self.lookup(asker, name), flags)
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
        return await self.open(asker, await self.lookup(asker, name), flags)

    async def truncate(self, asker: Asker, inode: InodeT, size: int) -> None:
        """The SETATTR of truncate(2)."""
        attributes = pyfuse3.EntryAttributes()
        attributes.st_size = size
        fields = cast(
            pyfuse3.SetattrFields, SimpleNamespace(**{**dict.fromkeys(SETATTR_FIELDS, False), "update_size": True})
        )
        await self._ask(lambda: self.operations.setattr(inode, attributes, fields, None, asker.context))

    async def unlink(self, asker: Asker, name: bytes) -> None:
        await self._ask(lambda: self.operations.unlink(ROOT, name, asker.context))

    async def rename(self, asker: Asker, name: bytes, new_name: bytes) -> None:
        await self._ask(lambda: self.operations.rename(ROOT, name, ROOT, new_name, FlagT(0), asker.context))

    async def write(self, handle: FileHandleT, offset: int, data: bytes) -> None:
        written = await self._ask(lambda: self.operations.write(handle, offset, data))
        assert written == len(data)

    async def read(self, handle: FileHandleT, offset: int, size: int) -> bytes:
        return bytes(await self._ask(lambda: self.operations.read(handle, offset, size)))

    async def close(self, handle: FileHandleT) -> None:
        """FLUSH and RELEASE of a descriptor that has no duplicates."""
        await self._ask(lambda: self.operations.flush(handle))
        await self.release(handle)

    async def release(self, handle: FileHandleT) -> None:
        await self._ask(lambda: self.operations.release(handle))


@asynccontextmanager
async def played(source: Path, **settings: Any) -> AsyncIterator[PlayedKernel]:
    """A filesystem over `source`, and the kernel that asks it."""
    mountpoint = source.parent / "mnt"
    layout = open_layout(os.fspath(source), os.fspath(mountpoint))
    filesystem = Filesystem(
        Settings(source=source, mountpoint=mountpoint, **settings), layout, DeafKernel(), max_dir_fds=64
    )
    try:
        async with trio.open_nursery() as nursery:
            filesystem.state.nursery = nursery
            nursery.start_soon(filesystem.state.waiting.watch_signals)
            nursery.start_soon(filesystem.walk.intents.expire)
            yield PlayedKernel(filesystem)
            nursery.cancel_scope.cancel()
    finally:
        filesystem.close()
