"""What a case finds when it starts: files, directories, links, made by root in the order given."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from tests.conformance.people import OWNER, Person

Path = str | bytes

OLD_NS = 10**18
"""The times that everything has after the set-up (in 2001), so that a time that changes shows."""


def filled(path: Path, x: str, y: str) -> bytes:
    """A path of a case with the names of the files under test put in for {x} and {y}."""
    return os.fsencode(path).replace(b"{x}", x.encode()).replace(b"{y}", y.encode())


@dataclass(frozen=True)
class Entry:
    """One entry: `path` is relative to the case's directory, {x} and {y} in it are the names under test."""

    path: Path

    def make(self, path: bytes) -> None:
        """Make it there. The parent exists."""
        raise NotImplementedError

    @property
    def owner(self) -> Person | None:
        """Whose it is to be."""
        return None


@dataclass(frozen=True)
class File(Entry):
    """A regular file."""

    mode: int = 0o644
    by: Person = OWNER
    content: bytes = b"some content\n"
    gid: int | None = None

    @property
    def owner(self) -> Person:
        """See `Entry`."""
        return self.by

    def _create(self, path: bytes) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(fd, self.content)
        os.close(fd)

    def make(self, path: bytes) -> None:
        """See `Entry`."""
        self._create(path)
        gid = self.by.gid if self.gid is None else self.gid
        status = os.lstat(path)
        if (status.st_uid, status.st_gid) != (self.by.uid, gid):
            os.lchown(path, self.by.uid, gid)
        if stat.S_IMODE(status.st_mode) != self.mode:
            os.chmod(path, self.mode)  # last: chown clears setuid bits


@dataclass(frozen=True)
class Dir(File):
    """A directory. Dir(".") gives mode and owner to the case's own directory, which has 0777 and is root's else."""

    mode: int = 0o755

    def _create(self, path: bytes) -> None:
        if not path.endswith(b"/."):
            os.mkdir(path, 0o700)


@dataclass(frozen=True)
class Fifo(File):
    """A named pipe."""

    def _create(self, path: bytes) -> None:
        os.mkfifo(path, 0o600)


@dataclass(frozen=True)
class Node(File):
    """A device or socket, by its type (S_IFCHR, ...)."""

    kind: int = stat.S_IFSOCK
    device: int = 0

    def _create(self, path: bytes) -> None:
        os.mknod(path, self.kind | 0o600, self.device)


@dataclass(frozen=True)
class Symlink(Entry):
    """A symbolic link. {x} and {y} are put into the target, too."""

    target: Path = ""
    by: Person = OWNER

    @property
    def owner(self) -> Person:
        """See `Entry`."""
        return self.by

    def make_to(self, path: bytes, target: bytes) -> None:
        """Make it there, to this target."""
        os.symlink(target, path)
        if os.lstat(path).st_uid != self.by.uid:
            os.lchown(path, self.by.uid, self.by.gid)


@dataclass(frozen=True)
class Link(Entry):
    """One more name of a file that is there."""

    target: Path = ""

    def make_to(self, path: bytes, target: bytes) -> None:
        """Make it there."""
        os.link(os.path.join(os.path.dirname(path), target), path)


def set_up(root: bytes, entries: tuple[Entry, ...], x: str, y: str) -> None:
    """Make the case's directory with all its entries. Link targets are relative to the link, as for symlink(2)."""
    os.mkdir(root, 0o777)
    os.chmod(root, 0o777)
    for entry in entries:
        path = os.path.join(root, filled(entry.path, x, y))
        if isinstance(entry, Symlink | Link):
            entry.make_to(path, filled(entry.target, x, y))
        else:
            entry.make(path)
    # Deepest first: an entry that is made changes its directory's times.
    for folder, folders, files in os.walk(root, topdown=False):
        for name in [*folders, *files]:
            os.utime(os.path.join(folder, name), ns=(OLD_NS, OLD_NS), follow_symlinks=False)
    os.utime(root, ns=(OLD_NS, OLD_NS))
