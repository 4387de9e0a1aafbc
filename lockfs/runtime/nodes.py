"""The inodes that the kernel knows, and how each is reached in the backing directory.

A node keeps the directory entries by which it was found, not a path: operations go through the parent's descriptor
and the entry's name, and are checked against the file's identity (device and inode number). Directories have a path
descriptor (O_PATH), opened when first needed and kept in a bounded cache; files have none, except the unlinked ones.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict

from lockfs.runtime.areas import Area, Areas
from lockfs.runtime.node import ROOT_ID, Node
from lockfs.runtime.statuses import with_fields
from lockfs.store.layout import FileId

__all__ = ["ROOT_ID", "Node", "NodeTable"]

_FIRST_VIRTUAL_ID = 1 << 62
_PATH_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_FORMER_NAMES = 4
"""How many names a node may lose while somebody who has walked by one of them is on the way to open it."""
_RESERVED = frozenset({0, ROOT_ID})


class NodeTable:
    """All nodes of a mount, by number and by file."""

    def __init__(self, root_fd: int, max_fds: int, areas: Areas) -> None:
        status = os.fstat(root_fd)
        self.root_dev = status.st_dev
        self.areas = areas
        self.root = areas.home.root = Node(ROOT_ID, (status.st_dev, status.st_ino), stat.S_IFDIR, areas.home)
        self.root.nlookup = 1
        self.root.fd = os.dup(root_fd)
        self._by_id: dict[int, Node] = {ROOT_ID: self.root}
        areas.home.by_file[self.root.file_id] = self.root
        self._next_virtual = _FIRST_VIRTUAL_ID
        self._max_fds = max_fds
        self._fds: OrderedDict[Node, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, nodeid: int) -> Node:
        """The node of a number that the kernel uses. Raises OSError(ESTALE)."""
        node = self._by_id.get(nodeid)
        if node is None:
            raise OSError(errno.ESTALE, "unknown inode")
        return node

    @staticmethod
    def find(file_id: FileId, area: Area) -> Node | None:
        """The node of a file in a mount, if the kernel knows it."""
        return area.by_file.get(file_id)

    def _number(self, file_id: FileId) -> int:
        """What st_ino shows, where it is free, so that st_ino and d_ino agree; else a number of our own."""
        dev, ino = file_id
        number = ino if dev == self.root_dev else self.areas.inode_number(dev, ino)
        if number not in self._by_id and number not in _RESERVED and number < _FIRST_VIRTUAL_ID:
            return number
        return self.virtual_number()

    def number_shown(self, status: os.stat_result) -> int:
        """What st_ino shows of a file."""
        ino = status.st_ino
        return ino if status.st_dev == self.root_dev else self.areas.inode_number(status.st_dev, ino)

    def virtual_number(self) -> int:
        """A node number that is no inode number of the backing filesystem."""
        self._next_virtual += 1
        return self._next_virtual

    def committed(self, status: os.stat_result, parent: Node, name: bytes) -> Node:
        """The node of the file that `status` (of the entry `name` in `parent`) describes, made if need be."""
        file_id = (status.st_dev, status.st_ino)
        area = parent.area
        if status.st_dev not in area.devices or name in self.areas.names:
            area = self.areas.area_of(area, self.dir_fd(parent), name, status)
        kind = stat.S_IFMT(status.st_mode)
        if area.is_overlay and kind == stat.S_IFDIR:
            return self._held_directory(area, parent, name)
        node = self._named(area, file_id, kind, parent, name)
        if node.more and status.st_nlink == 1:
            self.only_name(node, parent, name)
        return node

    def _held_directory(self, area: Area, parent: Node, name: bytes) -> Node:
        """A directory whose inode number is its own only while it is open (overlayfs). Raises OSError."""
        fd = os.open(name, _PATH_FLAGS | os.O_DIRECTORY, dir_fd=self.dir_fd(parent))
        status = os.fstat(fd)
        node = self._named(area, (status.st_dev, status.st_ino), stat.S_IFDIR, parent, name)
        if node.fd >= 0:
            os.close(fd)
        else:
            self._keep_fd(node, fd)
        return node

    def _named(self, area: Area, file_id: FileId, kind: int, parent: Node, name: bytes) -> Node:
        node = area.by_file.get(file_id)
        if node is not None and node.kind != kind:
            self._displace(node)  # the number was used again, past the mount
            node = None
        if node is None:
            node = Node(self._number(file_id), file_id, kind, area)
            self._by_id[node.nodeid] = node
            area.by_file[file_id] = node
            if area is not parent.area:
                area.root = node
        if node.parent is not parent or node.name != name:
            if node.is_dir and node.nlookup > 0:
                self._refuse_loop(node, parent)
            self.add_name(node, parent, name)
        return node

    def _refuse_loop(self, node: Node, parent: Node) -> None:
        """A directory below itself: one on the way was moved past the mount, or it is a bind mount that is too new to
        be known as one. Raises OSError(ELOOP)."""
        below, above = node, parent
        while above is not node:
            if above.parent is None:
                return
            below, above = above, above.parent
        if below is node or self._leads_to(below):
            self.areas.read_mounts()
            raise OSError(errno.ELOOP, "a directory below itself")
        self.drop_name(below, node, below.name)

    def only_name(self, node: Node, parent: Node, name: bytes) -> None:
        """A file with one link was found there: what else it was known by has changed past the mount (M2)."""
        for place in list(node.names()):
            if place != (parent, name):
                self.drop_name(node, *place)

    def private(self, file_id: FileId, area: Area) -> Node:
        """A node for a staged file, not reachable by name."""
        stale = area.by_file.get(file_id)
        if stale is not None:
            self._displace(stale)
        node = Node(self._number(file_id), file_id, stat.S_IFREG, area)
        self._by_id[node.nodeid] = node
        area.by_file[file_id] = node
        return node

    def unlisted(self, area: Area) -> Node:
        """A node that stands for no file of its own."""
        node = Node(self.virtual_number(), (0, 0), stat.S_IFREG, area)
        self._by_id[node.nodeid] = node
        return node

    def _displace(self, node: Node) -> None:
        """The file behind `node` is gone and its inode number belongs to another one now."""
        if node.area.by_file.get(node.file_id) is node:
            del node.area.by_file[node.file_id]
        for parent, name in list(node.names()):
            self.drop_name(node, parent, name)

    def add_name(self, node: Node, parent: Node, name: bytes) -> None:
        """The entry `name` in `parent` leads to `node`."""
        node.superseded = False
        if node.fd >= 0 and not node.is_dir:
            self._close_fd(node)  # held while it had no name
        if node.parent is not None:
            if node.has_name(parent, name) and node.more is not None:
                node.more.pop((parent, name), None)
                parent.pins -= 1
            if node.is_dir:  # a directory has one name; the old one was changed past the mount
                self._unpin(node.parent)
            else:
                node.more = node.more or {}
                node.more[(node.parent, node.name)] = None
        node.parent = parent
        node.name = name
        parent.pins += 1

    def drop_name(self, node: Node, parent: Node, name: bytes) -> None:
        """The entry `name` in `parent` does not lead to `node` any more."""
        if node.parent is parent and node.name == name:
            node.parent = None
            node.name = b""
            if node.more:
                (node.parent, node.name), _ = node.more.popitem()
        elif node.more and (parent, name) in node.more:
            del node.more[(parent, name)]
        else:
            return
        node.former = ((parent, name), *node.former[: _FORMER_NAMES - 1])
        self._unpin(parent)

    def places(self, node: Node) -> frozenset[tuple[Node, bytes]]:
        """The entries that somebody who has just walked to `node` may have walked by."""
        names = frozenset(node.names())
        return names.union(place for place in node.former if self._is_known(place[0]))

    def last_place(self, node: Node) -> tuple[Node, bytes] | None:
        """The entry that leads to a node, or led there last; where a commit replaced it, its newer version stands."""
        if node.parent is not None:
            return node.parent, node.name
        return node.former[0] if node.former and self._is_known(node.former[0][0]) else None

    def _is_known(self, node: Node) -> bool:
        return self._by_id.get(node.nodeid) is node

    def pin(self, node: Node) -> None:
        """Keep a node though the kernel may forget it."""
        node.pins += 1

    def unpin(self, node: Node) -> None:
        """End a `pin`."""
        self._unpin(node)

    def _unpin(self, node: Node) -> None:
        node.pins -= 1
        self.drop_if_unused(node)

    def unfile(self, node: Node) -> None:
        """The node's file will not be published: its inode number may come back with another file."""
        self._displace(node)

    def drop_if_unused(self, node: Node) -> None:
        """Remove a node that neither the kernel nor we refer to."""
        while node.nlookup <= 0 and node.pins <= 0 and not node.handles and node is not self.root:
            if node.session is not None or node.twin is not None:
                return
            if self._by_id.get(node.nodeid) is not node:
                return
            del self._by_id[node.nodeid]
            if node.area.by_file.get(node.file_id) is node:
                del node.area.by_file[node.file_id]
            self._close_fd(node)
            if node.area.root is node:
                self.areas.forget(node.area)
            parents = [parent for parent, _ in node.names()]
            node.parent = None
            node.more = None
            for parent in parents[1:]:
                self._unpin(parent)
            if not parents:
                return
            node = parents[0]  # a loop, not a recursion: paths can be deep
            node.pins -= 1

    def _close_fd(self, node: Node) -> None:
        if node.fd >= 0:
            os.close(node.fd)
            node.fd = -1
            node.area.fds.discard(node)
        self._fds.pop(node, None)

    def close_fds(self, area: Area) -> None:
        """Hold no descriptor in a mount, so that it can be unmounted; of what a name leads to they come back."""
        for node in list(area.fds):
            if not node.is_dir or node.parent is not None:
                self._close_fd(node)

    def dir_fd(self, node: Node) -> int:
        """A path descriptor of a directory, valid until the next call. Raises OSError(ESTALE) if it was replaced."""
        if node.fd >= 0:
            if node in self._fds:
                self._fds.move_to_end(node)
            return node.fd
        chain = [node]
        while chain[-1].fd < 0:
            parent = chain[-1].parent
            if parent is None:
                raise OSError(errno.ESTALE, "directory without a name")
            chain.append(parent)
        chain.pop()
        for directory in reversed(chain):
            assert directory.parent is not None
            self._keep_fd(directory, _open_checked(directory.parent.fd, directory.name, directory))
        return node.fd

    def _keep_fd(self, node: Node, fd: int) -> None:
        node.fd = fd
        node.area.fds.add(node)
        self._fds[node] = None
        if len(self._fds) > self._max_fds:
            oldest = next(iter(self._fds))
            if oldest is not node and oldest is not node.parent:
                self._close_fd(oldest)

    def hold(self, node: Node, parent: Node, name: bytes) -> None:
        """The entry is about to go. If the kernel knows the node and no other name leads there, keep a path descriptor
        until the kernel forgets it."""
        if node.nlookup <= 0 or any(place != (parent, name) for place in node.names()):
            return
        if node.fd >= 0:
            self._fds.pop(node, None)
            return
        try:
            node.fd = _open_checked(self.dir_fd(parent), name, node)
            node.area.fds.add(node)
        except OSError as error:
            if error.errno not in (errno.ESTALE, errno.ENOENT):
                raise

    def status(self, node: Node) -> os.stat_result:
        """fstat(2) of a committed node, by whatever leads to it. Raises OSError(ESTALE)."""
        fd = node.fd if node.fd >= 0 else next((handle.fd for handle in node.handles), -1)
        if fd >= 0:
            status = os.fstat(fd)
            # link(2) and others refuse a file without links; this one was merely replaced by its newer version.
            return with_fields(status, {stat.ST_NLINK: 1}) if node.superseded and not status.st_nlink else status
        for parent, name in list(node.names()):
            try:
                status = os.stat(name, dir_fd=self.dir_fd(parent), follow_symlinks=False)
            except FileNotFoundError:
                continue
            if node.is_at(status):
                return status
        raise OSError(errno.ESTALE, "the file was replaced")

    def entry(self, node: Node) -> tuple[int, bytes]:
        """Parent descriptor and name of a committed node, checked. Raises OSError(ESTALE)."""
        for parent, name in list(node.names()):
            parent_fd = self.dir_fd(parent)
            try:
                status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if node.is_at(status):
                return parent_fd, name
        raise OSError(errno.ESTALE, "the file was replaced")

    def target_of(self, node: Node) -> bytes:
        """readlink(2). Raises OSError(ESTALE) if something else stands there."""
        parent_fd, name = self.entry(node)
        try:
            return os.readlink(name, dir_fd=parent_fd)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):
                raise OSError(errno.ESTALE, "the link was replaced") from None
            raise

    def path_fd(self, node: Node) -> int:
        """A new path descriptor of a node; the caller closes it. Raises OSError(ESTALE)."""
        if node.fd >= 0:
            return os.dup(node.fd)
        for parent, name in list(node.names()):
            try:
                return _open_checked(self.dir_fd(parent), name, node)
            except OSError as error:
                if error.errno not in (errno.ESTALE, errno.ENOENT):
                    raise
        for handle in node.handles:
            return os.dup(handle.fd)
        raise OSError(errno.ESTALE, "the file was replaced")

    def open_file(self, node: Node, flags: int) -> int:
        """Open a committed file. Raises OSError(ESTALE) if the entry leads to another file now."""
        if node.fd < 0 and node.parent is not None:
            was_there = node.area.is_overlay and flags & os.O_ACCMODE != os.O_RDONLY and self._leads_to(node)
            try:
                fd = os.open(node.name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.dir_fd(node.parent))
            except OSError:
                if self._leads_to(node):
                    raise
                # Removed or replaced (by a symbolic link, a directory ...) past the mount: the kernel shall look again.
                raise OSError(errno.ESTALE, "the file was removed") from None
            status = os.fstat(fd)
            if node.is_at(status):
                version = (status.st_ctime_ns, status.st_mtime_ns, status.st_size)
                node.was_changed = node.version is not None and node.version != version
                node.version = version
                return fd
            if was_there:  # copied up by this open
                self.renumber(node, (status.st_dev, status.st_ino))
                return fd
            os.close(fd)
        path_fd = self.path_fd(node)
        try:
            return os.open(f"/proc/self/fd/{path_fd}", flags | os.O_CLOEXEC)
        finally:
            os.close(path_fd)

    def open_unnoticed(self, node: Node) -> int:
        """Open a committed file to look at it for ourselves: its atime stays, where we may ask for that."""
        try:
            return self.open_file(node, os.O_RDONLY | os.O_NONBLOCK | os.O_NOATIME)
        except PermissionError:  # not root, and somebody else's file
            return self.open_file(node, os.O_RDONLY | os.O_NONBLOCK)

    def _leads_to(self, node: Node) -> bool:
        """Whether a file's latest name leads to it now."""
        assert node.parent is not None
        try:
            status = os.stat(node.name, dir_fd=self.dir_fd(node.parent), follow_symlinks=False)
        except OSError:
            return False
        return node.is_at(status)

    def renumber(self, node: Node, file_id: FileId) -> None:
        """The same file has another number now (overlayfs, after a copy-up)."""
        if node.area.by_file.get(node.file_id) is node:
            del node.area.by_file[node.file_id]
        stale = node.area.by_file.get(file_id)
        if stale is not None:
            self._displace(stale)
        node.file_id = file_id
        node.area.by_file[file_id] = node

    def close(self) -> None:
        """Close all descriptors."""
        for node in list(self._by_id.values()):
            self._close_fd(node)


def _open_checked(parent_fd: int, name: bytes, node: Node) -> int:
    fd = os.open(name, _PATH_FLAGS, dir_fd=parent_fd)
    status = os.fstat(fd)
    if not node.is_at(status):
        os.close(fd)
        raise OSError(errno.ESTALE, "the entry was replaced")
    return fd
