"""Extended attributes and ACLs of whatever kind of node (xattr(7), acl(5), W5)."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lockfs.core.session import State
from lockfs.runtime.appends import Twin
from lockfs.runtime.attributes import Attributes, Target
from lockfs.runtime.mountstate import MountState
from lockfs.runtime.nodes import Node
from lockfs.runtime.openflags import Request
from lockfs.runtime.processes import CAP_FSETID, CAP_SYS_ADMIN, credentials
from lockfs.runtime.session import Session
from lockfs.runtime.sessions import Sessions
from lockfs.store.xattrs import ACL_ACCESS, ACL_DEFAULT, CAPABILITY, default_acl, entry_path, fd_path

_ACLS = frozenset({ACL_ACCESS, ACL_DEFAULT})
_CHECKED_BY_THE_KERNEL = ("user.", "trusted.", "security.", ACL_ACCESS, ACL_DEFAULT)
_MEMO_ENTRIES = 4096


class Xattrs:
    """Answers getxattr, listxattr, setxattr and removexattr. All raise OSError.

    The kernel has checked the caller by the node's owner, mode and ACL, and by the name's prefix, before it asks;
    what the backing filesystem would check further, and cannot since it sees lockfs, is checked here.
    """

    def __init__(self, state: MountState, sessions: Sessions, attributes: Attributes) -> None:
        self._state = state
        self._sessions = sessions
        self._attributes = attributes
        self._incapable: dict[int, float] = {}
        """Nodes without security.capability, and until when that is believed: the kernel asks before each write. The
        backing filesystem drops it at a write in any case."""

    # --- reading ---------------------------------------------------------------------------------------------------

    def get(self, node: Node, name: bytes, tid: int) -> bytes:
        """getxattr(2)."""
        wanted = os.fsdecode(name)
        if wanted != CAPABILITY:
            return self._read(node, wanted, tid)
        now_s = time.monotonic()
        if self._incapable.get(node.nodeid, 0.0) > now_s:
            raise OSError(errno.ENODATA, "no capabilities")
        try:
            return self._read(node, wanted, tid)
        except OSError as error:
            if error.errno == errno.ENODATA:
                if len(self._incapable) >= _MEMO_ENTRIES:
                    self._incapable.clear()
                self._incapable[node.nodeid] = now_s + self._state.settings.cache_s
            raise

    def _read(self, node: Node, name: str, tid: int) -> bytes:
        try:
            with self._version(node, tid) as (path, follow):
                return os.getxattr(path, name, follow_symlinks=follow)
        except OSError as error:
            if error.errno == errno.ENOTSUP and name in _ACLS:
                # The kernel takes nothing but ENODATA for "no ACL", and would refuse everybody.
                raise OSError(errno.ENODATA, "a filesystem without ACLs") from error
            raise

    def names(self, node: Node, tid: int) -> list[bytes]:
        """listxattr(2): who may not read trusted attributes does not see their names either."""
        with self._version(node, tid) as (path, follow):
            names = os.listxattr(path, follow_symlinks=follow)
        if any(name.startswith("trusted.") for name in names) and not credentials(tid).has(CAP_SYS_ADMIN):
            names = [name for name in names if not name.startswith("trusted.")]
        return [os.fsencode(name) for name in names]

    @contextmanager
    def _version(self, node: Node, tid: int) -> Iterator[tuple[str | bytes, bool]]:
        """The version that this thread sees of a node: its path, and whether to follow a symbolic link at its end."""
        path = self._known_path(node, tid)
        if path is not None:
            yield path, isinstance(path, str)
            return
        fd = self._state.nodes.path_fd(node)
        try:
            yield fd_path(fd), True
        finally:
            os.close(fd)

    def _known_path(self, node: Node, tid: int) -> str | bytes | None:
        """The path of a version that is open already, or is at a slot's entry; None for other committed files."""
        if node.twin is not None:
            return self._path_of_twin(node.twin, tid)
        session = node.session
        if session is None:
            fd = node.fd if node.fd >= 0 else next((handle.fd for handle in node.handles), -1)
            return fd_path(fd) if fd >= 0 else None
        if session.state is not State.PREPARED:
            return fd_path(session.staged.fd)
        return self._path_of_entry(session)

    def _path_of_entry(self, session: Session) -> bytes:
        """A session that has no pen yet looks like the version that stands; a file yet to be made has nothing."""
        path = entry_path(self._state.nodes.dir_fd(session.slot.parent), session.slot.name)
        if session.may_create and not os.path.lexists(path):
            raise OSError(errno.ENODATA, "not made yet")
        return path

    def _path_of_twin(self, twin: Twin, tid: int) -> str | bytes:
        slot = twin.slot
        session = slot.session if slot is not None else None
        if session is not None and self._sessions.is_own(session, tid):
            return fd_path(session.staged.fd)
        if twin.fd >= 0:
            return fd_path(twin.fd)
        if slot is None:
            raise OSError(errno.ESTALE, "the file was removed")
        path = entry_path(self._state.nodes.dir_fd(slot.parent), slot.name)
        if not os.path.lexists(path):
            raise OSError(errno.ENODATA, "not made yet")
        return path

    # --- changing --------------------------------------------------------------------------------------------------

    def set(self, node: Node, name: bytes, value: bytes, request: Request) -> None:
        """setxattr(2). Of an access ACL the backing filesystem makes the mode, too (acl(5))."""
        wanted = os.fsdecode(name)
        _refuse_unchecked(wanted, request)

        def apply(path: str | bytes, follow: bool) -> None:
            os.setxattr(path, wanted, value, follow_symlinks=follow)
            if wanted == ACL_ACCESS:
                _drop_setgid(path, request)

        self._change(node, wanted, apply)

    def remove(self, node: Node, name: bytes, request: Request) -> None:
        """removexattr(2)."""
        wanted = os.fsdecode(name)
        _refuse_unchecked(wanted, request)
        self._change(node, wanted, lambda path, follow: os.removexattr(path, wanted, follow_symlinks=follow))

    def _change(self, node: Node, name: str, apply: Callable[[str | bytes, bool], None]) -> None:
        if name == CAPABILITY:
            self._incapable.clear()
        for number, target in enumerate(self._targets(node, name)):
            path, follow = (target, True) if isinstance(target, str) else (entry_path(*target), False)
            try:
                apply(path, follow)
            except OSError as error:
                # The others are versions that may have gone meanwhile, or differ.
                if number == 0 or error.errno not in (errno.ENOENT, errno.ENODATA):
                    raise

    def _targets(self, node: Node, name: str) -> list[Target]:
        """The versions that a change reaches (W5).

        An ACL is set on all of them, like the mode. Other attributes tell of the content (a checksum, a type), so what
        the writer's own family sets is published with the content; unless nothing was written yet, and perhaps
        nothing will be.
        """
        session = node.session
        if session is not None and session.state is State.OPEN and session.changed and name != ACL_ACCESS:
            return [fd_path(session.staged.fd)]
        return self._attributes.targets(node)

    # --- new files -------------------------------------------------------------------------------------------------

    def mode_for_new(self, parent: Node, mode: int, umask: int) -> int:
        """The mode of a file to be made: less the umask, unless the directory has a default ACL (acl(5))."""
        return mode & ~umask if default_acl(self._state.nodes.dir_fd(parent)) is None else mode


def _refuse_unchecked(name: str, request: Request) -> None:
    """Names that some filesystems know (system.nfs4_acl): they check the caller by themselves, who is lockfs here."""
    if request.uid != 0 and not name.startswith(_CHECKED_BY_THE_KERNEL):
        raise OSError(errno.ENOTSUP, "only root may set it through lockfs")


def _drop_setgid(path: str | bytes, request: Request) -> None:
    """Who sets an ACL on a file of a group that he is not in loses the setgid bit (acl(5), chmod(2))."""
    status = os.stat(path)
    if not status.st_mode & stat.S_ISGID or request.gid == status.st_gid:
        return
    caller = credentials(request.tid)
    if status.st_gid not in caller.groups and not caller.has(CAP_FSETID):
        os.chmod(path, stat.S_IMODE(status.st_mode) & ~stat.S_ISGID)
