"""Mounts a backing directory and serves it until it is unmounted."""

from __future__ import annotations

import logging
import os
import resource
import signal
from collections.abc import Callable

import pyfuse3
import trio

from lockfs.core.errors import LockfsError
from lockfs.fuse import loop, umask
from lockfs.fuse.control import Control
from lockfs.fuse.operations import Operations
from lockfs.fuse.ordering import raise_background_limit
from lockfs.fuse.xattrs import XattrOperations
from lockfs.runtime.filesystem import Filesystem
from lockfs.runtime.nodes import Node
from lockfs.runtime.settings import Settings
from lockfs.runtime.stats import Stats
from lockfs.store.layout import Layout, open_layout

log = logging.getLogger("lockfs")

_MAX_TASKS = 100_000
"""Every waiting request has a task; with too few, nobody would read the holder's release (fuse-facts)."""
_MIN_TASKS = 8


class PyfuseKernel:
    """Tells the kernel what it may not keep. Inodes that it does not know are none of its business."""

    def forget_attributes(self, node: Node) -> None:
        """See `Kernel`. Only marks the attributes, takes no lock that a request could hold."""
        if node.nlookup > 0:
            try:
                pyfuse3.invalidate_inode(pyfuse3.InodeT(node.nodeid), attr_only=True)
            except OSError:
                pass

    async def forget_name(self, parent: Node, name: bytes) -> None:
        """See `Kernel`."""
        try:
            await trio.to_thread.run_sync(pyfuse3.invalidate_entry, pyfuse3.InodeT(parent.nodeid), name)
        except OSError:
            pass

    async def forget_content(self, node: Node) -> None:
        """See `Kernel`. May wait for pages that are just being read, hence the thread."""
        try:
            await trio.to_thread.run_sync(pyfuse3.invalidate_inode, pyfuse3.InodeT(node.nodeid))
        except OSError:
            pass


def serve(settings: Settings, on_ready: Callable[[], None]) -> None:
    """Mount and serve until unmounted, SIGTERM or SIGINT (graceful, N7). Calls `on_ready` when the kernel's INIT is
    answered. Raises `LockfsError` (one clear line) when it cannot mount."""
    _raise_descriptor_limit()
    os.umask(0)
    layout = open_layout(os.fspath(settings.source), os.fspath(settings.mountpoint), read_only=settings.read_only)
    trio.run(_serve, settings, layout, on_ready)


def _raise_descriptor_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _shown_source(settings: Settings) -> str:
    return os.fsencode(settings.source).decode("ascii", "backslashreplace")


def _mount_options(settings: Settings) -> list[str]:
    allow_other = ["allow_other"] if settings.allow_other else []
    read_only = ["ro"] if settings.read_only and "ro" not in settings.fuse_options else []
    return ["default_permissions", *allow_other, *read_only, *settings.fuse_options]


def _options(settings: Settings) -> set[str]:
    escaped = _shown_source(settings).replace("\\", "\\\\").replace(",", "\\,")
    return {f"fsname={escaped}", "subtype=lockfs", *_mount_options(settings)}


def _mount(operations: Operations, settings: Settings, layout: Layout) -> int | None:
    """Mount. The descriptor, if it was done by ourselves and is ours to undo."""
    mountpoint = os.fspath(settings.mountpoint)
    fd = None
    if settings.xattrs and os.geteuid() == 0:
        fd = umask.mount_unmasked(_shown_source(settings), mountpoint, _mount_options(settings))
    try:
        pyfuse3.init(operations, mountpoint if fd is None else f"/dev/fd/{fd}", _options(settings))
        return fd
    except (RuntimeError, UnicodeEncodeError) as error:
        layout.close()
        if fd is not None:
            umask.unmount(mountpoint)
            os.close(fd)
        raise LockfsError(
            f"cannot mount on {settings.mountpoint} ({error}); check the -o options, /dev/fuse and your permissions"
        ) from error


async def _serve(settings: Settings, layout: Layout, on_ready: Callable[[], None]) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    filesystem = Filesystem(settings, layout, PyfuseKernel(), max_dir_fds=soft // 2)
    loop.install()
    greeted = trio.Event()
    handlers = XattrOperations if settings.xattrs else Operations
    fd = _mount(handlers(filesystem, Control(Stats(filesystem)), greeted.set), settings, layout)
    log.info("mounted source=%s mountpoint=%s pid=%d", settings.source, settings.mountpoint, os.getpid())
    try:
        async with trio.open_nursery() as nursery:
            filesystem.state.nursery = nursery
            nursery.start_soon(filesystem.state.waiting.watch_signals)
            nursery.start_soon(filesystem.walk.intents.expire)
            nursery.start_soon(filesystem.submounts.sweep)
            nursery.start_soon(filesystem.submounts.watch)
            nursery.start_soon(_stop_on_signal, filesystem)
            nursery.start_soon(_get_ready, filesystem, greeted, on_ready)
            await pyfuse3.main(min_tasks=_MIN_TASKS, max_tasks=_MAX_TASKS)
            nursery.cancel_scope.cancel()
    finally:
        to_unmount = fd is not None and not umask.is_unmounted(fd)
        pyfuse3.close(unmount=True)
        if to_unmount:
            umask.unmount(os.fspath(settings.mountpoint))
        filesystem.close()
        log.info("unmounted mountpoint=%s", settings.mountpoint)


async def _get_ready(filesystem: Filesystem, greeted: trio.Event, on_ready: Callable[[], None]) -> None:
    """Once the kernel said hello: order, then let people in."""
    await greeted.wait()
    await filesystem.state.in_thread(raise_background_limit, os.fspath(filesystem.state.settings.mountpoint))
    on_ready()


async def _stop_on_signal(filesystem: Filesystem) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            log.info("stopping signal=%s", signal.Signals(number).name)
            await filesystem.stop()
            pyfuse3.terminate()
            return
