"""Where a mount may differ from a plain directory, each by the name of the promise that asks for it.

The differential test works with one process, so no promise about other processes shows. What remains is decided here,
and only here, from the state of the plain directory: `Watch` keeps account of the handles that are open there.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field

from lockfs.core.policy import Mode, Policy
from tests.mount.operations import Actor, Operation
from tests.support.rename import RENAME_EXCHANGE

FileId = tuple[int, int]


@dataclass
class Handle:
    """An open handle on a regular file, as the plain directory has it."""

    file: FileId
    kind: str
    """"reader", "session" (replacer or editor), "append", "in place" (shared and live files)."""
    version: int
    """The file's version when the handle was opened."""
    detached: bool = False
    """The path does not lead to this file any more."""


@dataclass
class Watch:
    """Sessions, versions and handles, followed on the plain directory."""

    plain: Actor
    handles: dict[int, Handle] = field(default_factory=dict)
    versions: dict[FileId, int] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)

    def file_at(
        self, path: bytes, look: Callable[[bytes], os.stat_result] = os.stat
    ) -> tuple[FileId, os.stat_result] | None:
        """The regular file that a path leads to now, by way of symbolic links unless `look` is lstat."""
        try:
            status = look(self.plain.path(path))
        except OSError:
            return None
        return ((status.st_dev, status.st_ino), status) if stat.S_ISREG(status.st_mode) else None

    def _open_on(self, file: FileId, *kinds: str) -> list[Handle]:
        return [handle for handle in self.handles.values() if handle.file == file and handle.kind in kinds]

    def _in_place(self, path: bytes) -> bool:
        real = os.path.relpath(os.path.realpath(self.plain.path(path)), os.path.realpath(self.plain.root))
        return self.policy.rule_for(real).mode in (Mode.SHARED, Mode.LIVE)

    # Before an operation

    def promised(self, operation: Operation) -> str | None:
        """The promise that makes this operation's outcome differ now; None where it must be the same."""
        name, *arguments = operation
        if name == "open":
            return self._open_differs(arguments[1], arguments[2])
        if name == "truncate":
            return self._write_differs(arguments[0])
        if name in ("unlink", "rename", "link"):
            paths = [arg for arg in arguments if isinstance(arg, bytes)]
            return self._names_differ(name, paths, arguments[2] if name == "rename" else 0)
        if name == "close":
            return None
        handle = self.handles.get(arguments[0]) if isinstance(arguments[0], int) else None
        if handle:
            return self._handle_differs(name, handle)
        return "positions in a directory belong to its filesystem" if name == "seek" else None

    def _open_differs(self, path: bytes, flags: int) -> str | None:
        try:
            special = not stat.S_ISREG(os.stat(self.plain.path(path)).st_mode)
        except OSError:
            special = False
        if special and not os.path.isdir(self.plain.path(path)):
            return "opening a FIFO waits for its other end, on any filesystem"
        if flags & os.O_ACCMODE != os.O_RDONLY or flags & os.O_TRUNC:
            return self._write_differs(path, append=bool(flags & os.O_APPEND) and not flags & os.O_TRUNC)
        return None

    def _write_differs(self, path: bytes, append: bool = False) -> str | None:
        found = self.file_at(path)
        if found is None:
            return None
        file, status = found
        if status.st_nlink > 1 and not append:
            return "W5: a commit breaks a hard link"
        if self._in_place(path) != bool(self._open_on(file, "in place")) and self._open_on(
            file, "in place", "session", "append"
        ):
            return "D1, D4: the file was opened under a name with another rule"
        return None

    def _names_differ(self, name: str, paths: list[bytes], flags: int) -> str | None:
        files = [found[0] if found else None for found in (self.file_at(path, os.lstat) for path in paths)]
        held = [bool(file and self._open_on(file, "session")) for file in files]
        if name == "link" and held[0]:
            return "W5: a link to a file that is being written is to the old version"
        if name == "rename" and (held[1] or (flags & RENAME_EXCHANGE and any(held))):
            return "Q7: a rename over a held path, or an exchange with one"
        if name == "rename" and held[0] and self._has_links(paths[1]):
            return "W2: the version that a new file replaces stays until the commit, and with it counts as a link"
        opened = any(file and self._open_on(file, "session", "append", "in place") for file in files)
        if name == "rename" and opened and any(map(self._in_place, paths)):
            return "D1, D4: the file gets a name with another rule"
        return None

    def _has_links(self, path: bytes) -> bool:
        found = self.file_at(path, os.lstat)
        return found is not None and found[1].st_nlink > 1

    def _handle_differs(self, name: str, handle: Handle) -> str | None:
        if handle.kind == "append" and name == "ftruncate" and self._links(handle) > 1:
            return "W5: a commit breaks a hard link"
        if handle.kind == "append" and name == "pwrite":
            return "A2: an appender's pwrite appends, as on Linux, but after its held tail"
        old = handle.version != self.versions.get(handle.file, 0)
        if handle.kind == "reader" and old:
            return "W2: a handle goes on reading the version it was opened on"
        if handle.kind == "append" and old and name not in ("write", "close", "fsync"):
            return "A6: an append handle's inode is not that of a later session"
        if handle.kind == "append" and handle.detached:
            return "A6: an append handle of a file that was removed or replaced"
        return None

    def _links(self, handle: Handle) -> int:
        fd = self.plain.fds[next(slot for slot, one in self.handles.items() if one is handle)]
        assert fd is not None
        return os.fstat(fd).st_nlink

    # After it, when both have done it

    def done(self, operation: Operation) -> None:
        """Keep account of an operation that succeeded on the plain directory."""
        name, *arguments = operation
        if name == "open":
            self._opened(*arguments)
        elif name == "close":
            self.handles.pop(arguments[0], None)
        elif name == "truncate":
            found = self.file_at(arguments[0])
            if found and not self._open_on(found[0], "session", "in place") and not self._in_place(arguments[0]):
                self._new_version(found[0])
        elif name == "ftruncate" and arguments[0] in self.handles:
            handle = self.handles[arguments[0]]
            if handle.kind == "append" and not self._open_on(handle.file, "session"):
                self._new_version(handle.file)
                handle.version += 1
        for slot, handle in self.handles.items():
            fd = self.plain.fds[slot]
            assert fd is not None
            handle.detached = os.fstat(fd).st_nlink == 0

    def _new_version(self, file: FileId) -> None:
        self.versions[file] = self.versions.get(file, 0) + 1

    def _opened(self, slot: int, path: bytes, flags: int, mode: int) -> None:
        fd = self.plain.fds[slot]
        self.handles.pop(slot, None)
        assert fd is not None
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return
        file = (status.st_dev, status.st_ino)
        writes = flags & os.O_ACCMODE != os.O_RDONLY or bool(flags & os.O_TRUNC)
        append = bool(flags & os.O_APPEND) and not flags & os.O_TRUNC
        if not writes:
            kind = "reader"
        elif self._open_on(file, "session"):
            kind = "session"
        elif self._in_place(path):
            kind = "in place"
        else:
            kind = "append" if append else "session"
            if kind == "session":
                self._new_version(file)
        self.handles[slot] = Handle(file, kind, self.versions.get(file, 0))
