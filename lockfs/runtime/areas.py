"""Mounts below the backing directory.

rename(2) does not cross mounts (nor btrfs subvolumes), so each of them has an area of its own: what is written there
is staged in a hidden directory at its root. An area also keeps its nodes apart, because a bind mount can show a file
under two mounts, and only by the right one may it be written.

What tells where an area begins costs system calls, so it is asked only where a device number or the name of a known
mountpoint says that one may begin.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from lockfs.core.errors import LockfsError
from lockfs.runtime.events import log, shown
from lockfs.store import mountinfo
from lockfs.store.area import StagingArea
from lockfs.store.layout import FileId, layout_at

if TYPE_CHECKING:
    from lockfs.runtime.nodes import Node, NodeTable

_TRANSIENT = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""What a later attempt may not meet again: the open fails with it. Anything else forbids staging."""
_DEVICE_SHIFT = 48
_FORMER_NAMES = 10_000


class Area:
    """A part of the tree within which rename(2) works."""

    __slots__ = ("by_file", "devices", "fds", "hidden_id", "is_file", "is_overlay", "mount_id", "root", "store", "told")

    def __init__(self, mount: int, device: int) -> None:
        self.mount_id = mount
        self.devices = {device}
        """Device numbers that files in it show; overlayfs has several."""
        self.is_overlay = False
        """Inode numbers change: of files when they are copied up, of directories when nobody holds them."""
        self.by_file: dict[FileId, Node] = {}
        self.fds: set[Node] = set()
        """Nodes that have a path descriptor."""
        self.root: Node | None = None
        self.is_file = False
        """A single file is mounted there: nothing can be renamed over it."""
        self.store: StagingArea | None = None
        """Where it stages, while that is open."""
        self.hidden_id: FileId | None = None
        """Of the directory where it stages, once known."""
        self.told = False


class Areas:
    """The areas of one mount; `home` is that of the backing directory itself."""

    def __init__(self, root_fd: int, mountpoint: str) -> None:
        self.home = Area(mountinfo.mount_id(root_fd), os.fstat(root_fd).st_dev)
        self._overlays: set[int] = set()
        self._gone: list[StagingArea] = []
        self.any_below = False
        """Whether anything is mounted there now."""
        self.names: frozenset[bytes] = frozenset()
        """The last components of the mountpoints below the backing directory, of former ones too: what comes back there
        is noticed though the table of mounts was not read again yet."""
        self._root_fd = root_fd
        self._mountpoint = mountpoint
        self._others: dict[tuple[int, FileId], Area] = {}
        self._devices: dict[int, int] = {0: 0, next(iter(self.home.devices)): 0}
        self.read_mounts()

    def read_mounts(self) -> list[bytes]:
        """Read the table of mounts again; returns the mountpoints, relative to the backing directory."""
        try:
            table = mountinfo.read_table()
            paths = mountinfo.below(table, self._root_fd)
        except OSError as error:  # no /proc: device numbers still tell most
            log.warning("mounts below the source not known error=%s", error.strerror)
            table, paths = [], []
        self._overlays = {mount.mount_id for mount in table if mount.fstype == b"overlay"}
        self.home.is_overlay = self.home.mount_id in self._overlays
        self.any_below = bool(paths)
        former = self.names if len(self.names) < _FORMER_NAMES else frozenset()
        self.names = former | {os.path.basename(path) for path in paths}
        return paths

    def inode_number(self, dev: int, ino: int) -> int:
        """What st_ino shows of a file: the backing number, and for another device than the backing directory's, which
        programs cannot tell from that by st_dev, one with the device in its upper bits."""
        upper = self._devices.setdefault(dev, len(self._devices) - 1)
        return ino | upper << _DEVICE_SHIFT if ino >> _DEVICE_SHIFT == 0 else ino

    def others(self) -> list[Area]:
        """The areas below the backing directory."""
        return list(self._others.values())

    def area_of(self, outer: Area, parent_fd: int, name: bytes, status: os.stat_result) -> Area:
        """The area of an entry at which one may begin; `outer` is its directory's."""
        try:
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
        except OSError:
            return outer  # gone; whoever comes for it will see
        try:
            mount = mountinfo.mount_id(fd)
        finally:
            os.close(fd)
        is_dir = stat.S_ISDIR(status.st_mode)
        if mount == outer.mount_id and (status.st_dev in outer.devices or not is_dir):
            outer.devices.add(status.st_dev)  # a lower layer of overlayfs shows through
            return outer
        key = (mount, (status.st_dev, status.st_ino))
        area = self._others.get(key)
        if area is None:
            area = self._others[key] = Area(mount, status.st_dev)
        area.is_file = not is_dir
        area.is_overlay = mount in self._overlays
        return area

    def forget(self, area: Area) -> None:
        """Its root is not known any more. A session in a directory that was cut off may still be open."""
        area.root = None
        if self.close_store(area):
            for key, known in list(self._others.items()):
                if known is area:
                    del self._others[key]

    @staticmethod
    def close_store(area: Area, *, by_force: bool = False) -> bool:
        """Hold its hidden directory no longer; False if sessions need it."""
        if area.store is not None:
            if area.store.uses and not by_force:
                return False
            area.store.close()
            area.store = None
        return True

    def close(self) -> None:
        """Give all mounts below the backing directory back."""
        for area in self.others():
            self.close_store(area, by_force=True)
        for store in self._gone:
            store.close()

    def is_hidden(self, file_id: FileId) -> bool:
        """Whether this is a hidden directory in use, met through another mount."""
        return any(area.hidden_id == file_id for area in (self.home, *self.others()))

    def may_hide(self, directory: Node) -> bool:
        """Whether a hidden directory may be among a directory's entries."""
        return directory.area.root is directory or bool(self._others)

    # --- staging ---------------------------------------------------------------------------------------------------

    def can_stage(self, area: Area, nodes: NodeTable) -> bool:
        """Whether files there can be replaced in one step; else they are written in place (D4).

        Raises OSError where that cannot be told now (ENOSPC ...).
        """
        if area.store is not None:
            return True
        if area.is_file:
            return False
        try:
            self.store_of(area, nodes)
        except OSError as error:
            if error.errno in _TRANSIENT:
                raise
            if not area.told and error.errno != errno.EROFS and area.root is not None:
                area.told = True
                log.warning(
                    "files are written in place path=%s reason=%r", shown(area.root.path()), f"no staging: {error}"
                )
            return False
        return True

    def store_of(self, area: Area, nodes: NodeTable) -> StagingArea:
        """Where an area stages, opened if need be. Raises OSError."""
        if area.store is None:
            if area.root is None or area is self.home:
                raise OSError(errno.EROFS, "nothing can be staged")
            area.store = self.open_store(nodes.dir_fd(area.root), area.root.path())
            area.hidden_id = area.store.hidden_id
        area.store.idle = False
        return area.store

    def renew(self, area: Area, nodes: NodeTable) -> StagingArea:
        """Somebody removed the hidden directory, past the mount: make it anew. Raises OSError."""
        gone = self.store_of(area, nodes)
        if area.root is None:
            raise OSError(errno.EROFS, "nothing can be staged")
        area.store = self.open_store(nodes.dir_fd(area.root), area.root.path())
        area.hidden_id = area.store.hidden_id
        gone.staging.close()
        self._gone.append(gone)  # sessions may still use it
        log.warning("the staging directory was removed, and is made anew path=%s", shown(area.root.path()))
        return area.store

    def open_store(self, directory_fd: int, path: bytes) -> StagingArea:
        """Open the hidden directory at an area's root, and keep what a crashed daemon left in it. Raises OSError."""
        known = {
            area.store.hidden_id: area.store.layout.lock_fd
            for area in (self.home, *self.others())
            if area.store is not None
        }
        root_fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory_fd)
        try:
            layout = layout_at(root_fd, shown(path), self._mountpoint, known)
        except LockfsError as error:
            raise OSError(errno.EBUSY, str(error)) from error
        store = StagingArea(layout)
        if store.hidden_id not in known:
            kept = store.sweep()
            if kept:
                log.warning(
                    "staged files of a crashed daemon moved to the orphans path=%s count=%d ids=%s",
                    shown(path), len(kept), kept,
                )  # fmt: skip
        return store
