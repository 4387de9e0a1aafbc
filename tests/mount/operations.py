"""Operations for the differential test: what they are, and how one is carried out in a directory.

An operation is a tuple of a name and plain arguments. `Actor` carries it out in one directory and returns what a
program would see of it; two actors, on a mount and on a plain directory, must return the same. `Chooser` draws them.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.support.acls import ACCESS as ACCESS_ACL
from tests.support.acls import DEFAULT as DEFAULT_ACL
from tests.support.acls import acl, attributes
from tests.support.rename import RENAME_EXCHANGE, RENAME_NOREPLACE, renameat2

Operation = tuple[Any, ...]

LATIN = b"caf\xe9"
LONG = b"n" * 255
TOO_LONG = b"n" * 256
PLAIN_NAMES = [b"a", b"b", b"c"]
NAMES = [*PLAIN_NAMES, LATIN, LONG, b"x.log", b"x.lock"]
FOLDERS = [b"", b"d", b"e", b"d/s"]
HANDLES = 4
ARTIFICIAL_NS = 1_500_000_000 * 10**9
"""Times that tests set lie before this, natural ones after it: so both can be told apart."""

ACCESS = [os.O_RDONLY, os.O_WRONLY, os.O_RDWR]
OPEN_EXTRAS = [
    0,
    os.O_CREAT,
    os.O_CREAT | os.O_EXCL,
    os.O_TRUNC,
    os.O_CREAT | os.O_TRUNC,
    os.O_APPEND,
    os.O_CREAT | os.O_APPEND,
    os.O_CREAT | os.O_APPEND | os.O_TRUNC,
    os.O_CREAT | os.O_NOFOLLOW,
    os.O_DIRECTORY,
    os.O_NONBLOCK | os.O_CREAT,
]
MODES = [0o644, 0o600, 0o755, 0o777, 0o444, 0o2755]
SIZES = [0, 1, 7, 100, 4096, 5000, 70_000]
OWNERS = [(-1, -1), (0, 0), (1234, 2345), (-1, 77)] if os.geteuid() == 0 else [(-1, -1)]
WEIGHTS = {
    "open": 30,
    "write": 20,
    "pwrite": 6,
    "read": 6,
    "seek": 4,
    "ftruncate": 5,
    "fstat": 4,
    "fsync": 2,
    "fchmod": 2,
    "futime": 2,
    "close": 16,
    "mkdir": 5,
    "rmdir": 4,
    "unlink": 6,
    "rename": 12,
    "link": 4,
    "symlink": 3,
    "readlink": 1,
    "mkfifo": 1,
    "chmod": 3,
    "chown": 2,
    "utime": 3,
    "truncate": 5,
    "stat": 2,
    "listdir": 1,
    "access": 1,
}
XATTR_WEIGHTS = {
    "setxattr": 14,
    "getxattr": 6,
    "listxattr": 3,
    "removexattr": 6,
    "fsetxattr": 12,
    "fgetxattr": 6,
    "flistxattr": 3,
    "fremovexattr": 6,
}
"""More, for mounts with `--xattrs`."""
XATTR_VALUES: dict[bytes, list[bytes]] = {
    b"user.a": [b"", b"one", b"two"],
    b"user.\xff": [b"\x00\xff", b"v" * 100],
    b"trusted.t": [b"one", b"two"],
    os.fsencode(ACCESS_ACL): [acl(0o640, users={1: 6}), acl(0o750, groups={2: 5}, mask=1), acl(0o777, mask=5)],
    os.fsencode(DEFAULT_ACL): [acl(0o750, users={1: 7}), acl(0o700, groups={2: 7}, mask=3)],
}


class Chooser:
    """Draws operations from a seeded source, mostly ones that make sense in the plain directory as it is."""

    def __init__(self, random: Random, plain: Actor, weights: dict[str, int] = WEIGHTS) -> None:
        self._random = random
        self._plain = plain
        self._kinds, self._weights = list(weights), list(weights.values())

    def operation(self) -> Operation:
        kind = self._random.choices(self._kinds, self._weights)[0]
        return (kind, *getattr(self, "_" + kind)())

    def _folder(self) -> bytes:
        return self._random.choice(FOLDERS)

    def _fresh(self) -> bytes:
        """Any path, there or not."""
        name = self._random.choice([*PLAIN_NAMES * 5, *NAMES, b"d", b"s", TOO_LONG])
        folder = self._folder()
        return folder + b"/" + name if folder else name

    def _path(self) -> bytes:
        """Mostly something that is there."""
        there = []
        for folder, folders, files in os.walk(self._plain.root):
            there += [os.path.relpath(os.path.join(folder, name), self._plain.root) for name in folders + files * 3]
        return self._random.choice(sorted(there)) if there and self._random.random() < 0.7 else self._fresh()

    def _slot(self) -> int:
        used = [slot for slot in range(HANDLES) if self._plain.fds[slot] is not None]
        return self._random.choice(used) if used and self._random.random() < 0.95 else self._random.randrange(HANDLES)

    def _mode(self) -> int:
        return self._random.choice(MODES)

    def _size(self) -> int:
        return self._random.choice(SIZES)

    def _data(self) -> bytes:
        # Ends in a newline: an append's tail without one is held back (A3), which has its own tests.
        return self._random.choice([b"x", b"y", b"z"]) * self._random.choice([0, 1, 9, 4095, 9000]) + b"\n"

    def _time(self) -> int:
        return self._random.randrange(10**9, ARTIFICIAL_NS)

    def _open(self) -> Operation:
        flags = self._random.choice(ACCESS) | self._random.choice(OPEN_EXTRAS)
        return self._random.randrange(HANDLES), self._path(), flags, self._mode()

    def _write(self) -> Operation:
        return self._slot(), self._data()

    def _pwrite(self) -> Operation:
        return self._slot(), self._data(), self._size()

    def _read(self) -> Operation:
        return self._slot(), self._size()

    def _seek(self) -> Operation:
        return self._slot(), self._size(), self._random.choice([os.SEEK_SET, os.SEEK_CUR, os.SEEK_END])

    def _ftruncate(self) -> Operation:
        return self._slot(), self._size()

    def _fstat(self) -> Operation:
        return (self._slot(),)

    _fsync = _fstat
    _close = _fstat

    def _fchmod(self) -> Operation:
        return self._slot(), self._mode()

    def _futime(self) -> Operation:
        return self._slot(), self._time(), self._time()

    def _mkdir(self) -> Operation:
        path = self._random.choice([b"d", b"e", b"d/s"]) if self._random.random() < 0.7 else self._path()
        return path, self._mode() | 0o700

    def _rmdir(self) -> Operation:
        return (self._random.choice([b"d", b"e", b"d/s"]) if self._random.random() < 0.7 else self._path(),)

    def _unlink(self) -> Operation:
        return (self._path(),)

    _stat = _unlink

    def _readlink(self) -> Operation:
        path = self._path()
        for _ in range(20):
            if os.path.islink(self._plain.path(path)):
                break
            path = self._path()
        return (path,)

    def _rename(self) -> Operation:
        new = self._path() if self._random.random() < 0.5 else self._fresh()
        return self._path(), new, self._random.choice([0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE])

    def _link(self) -> Operation:
        return self._path(), self._fresh()

    def _symlink(self) -> Operation:
        return self._random.choice([b"a", b"b", b"d", b"../a", b"nowhere", b"d/b"]), self._fresh()

    def _mkfifo(self) -> Operation:
        return self._fresh(), self._mode()

    def _chmod(self) -> Operation:
        return self._path(), self._mode()

    def _chown(self) -> Operation:
        return self._path(), self._random.choice(OWNERS)

    def _utime(self) -> Operation:
        return self._path(), self._time(), self._time()

    def _truncate(self) -> Operation:
        return self._path(), self._size()

    def _listdir(self) -> Operation:
        return (self._folder(),)

    def _access(self) -> Operation:
        return self._path(), self._random.choice([os.F_OK, os.R_OK, os.W_OK, os.X_OK])

    def _listxattr(self) -> Operation:
        return self._path(), self._random.random() < 0.5

    def _getxattr(self) -> Operation:
        path, follow = self._listxattr()
        try:
            there = [name for name in xattrs(self._plain.path(path)) if os.fsencode(name) in XATTR_VALUES]
        except OSError:
            there = []
        if there and self._random.random() < 0.6:
            return path, follow, os.fsencode(self._random.choice(there))
        return path, follow, self._random.choice(list(XATTR_VALUES))

    _removexattr = _getxattr

    def _setxattr(self) -> Operation:
        path, follow, name = self._getxattr()
        return path, follow, name, self._random.choice(XATTR_VALUES[name]), self._xattr_flags()

    def _xattr_flags(self) -> int:
        return self._random.choice([0, 0, 0, os.XATTR_CREATE, os.XATTR_REPLACE])

    _flistxattr = _fstat

    def _fgetxattr(self) -> Operation:
        return self._slot(), self._random.choice(list(XATTR_VALUES))

    _fremovexattr = _fgetxattr

    def _fsetxattr(self) -> Operation:
        slot, name = self._fgetxattr()
        return slot, name, self._random.choice(XATTR_VALUES[name]), self._xattr_flags()


@dataclass
class Outcome:
    """What a program sees of an operation: a value, or an errno's name."""

    value: Any = None
    error: str | None = None


def seen(found: os.stat_result) -> dict[str, Any]:
    """The fields of a stat result that must agree. Inode numbers differ between filesystems (and change with a
    commit); sizes of directories belong to the filesystem; natural times cannot agree."""
    fields: dict[str, Any] = {
        "mode": oct(found.st_mode),
        "uid": found.st_uid,
        "gid": found.st_gid,
        "nlink": found.st_nlink,
        "mtime": found.st_mtime_ns if found.st_mtime_ns < ARTIFICIAL_NS else "natural",
    }
    if stat.S_ISDIR(found.st_mode):
        del fields["mtime"]
    else:
        fields["size"] = found.st_size
    return fields


class Actor:
    """Carries operations out in one directory, by descriptors of its own."""

    def __init__(self, root: bytes) -> None:
        self.root = root
        self.fds: list[int | None] = [None] * HANDLES

    def path(self, relative: bytes) -> bytes:
        return self.root + b"/" + relative if relative else self.root

    def do(self, operation: Operation) -> Outcome:
        name, *arguments = operation
        try:
            return Outcome(value=getattr(self, "op_" + name)(*arguments))
        except OSError as error:
            return Outcome(error=errno.errorcode[error.errno or 0])

    def close_all(self) -> list[str | None]:
        return [self.do(("close", slot)).error for slot in range(HANDLES) if self.fds[slot] is not None]

    def _fd(self, slot: int) -> int:
        fd = self.fds[slot]
        if fd is None:
            raise OSError(errno.EBADF, "no handle")
        return fd

    # By handle

    def op_open(self, slot: int, path: bytes, flags: int, mode: int) -> None:
        if self.fds[slot] is not None:
            os.close(self._take(slot))
        self.fds[slot] = os.open(self.path(path), flags, mode)

    def _take(self, slot: int) -> int:
        fd = self._fd(slot)
        self.fds[slot] = None
        return fd

    def op_close(self, slot: int) -> None:
        os.close(self._take(slot))

    def op_write(self, slot: int, data: bytes) -> int:
        return os.write(self._fd(slot), data)

    def op_pwrite(self, slot: int, data: bytes, offset: int) -> int:
        return os.pwrite(self._fd(slot), data, offset)

    def op_read(self, slot: int, size: int) -> bytes:
        return os.read(self._fd(slot), size)

    def op_seek(self, slot: int, offset: int, whence: int) -> int:
        return os.lseek(self._fd(slot), offset, whence)

    def op_ftruncate(self, slot: int, size: int) -> None:
        os.ftruncate(self._fd(slot), size)

    def op_fstat(self, slot: int) -> dict[str, Any]:
        return seen(os.fstat(self._fd(slot)))

    def op_fsync(self, slot: int) -> None:
        os.fsync(self._fd(slot))

    def op_fchmod(self, slot: int, mode: int) -> None:
        os.fchmod(self._fd(slot), mode)

    def op_futime(self, slot: int, atime: int, mtime: int) -> dict[str, Any]:
        os.utime(self._fd(slot), ns=(atime, mtime))
        return self._with_atime(os.fstat(self._fd(slot)))

    @staticmethod
    def _with_atime(found: os.stat_result) -> dict[str, Any]:
        return {**seen(found), "atime": found.st_atime_ns}

    # By path

    def op_mkdir(self, path: bytes, mode: int) -> None:
        os.mkdir(self.path(path), mode)

    def op_rmdir(self, path: bytes) -> None:
        os.rmdir(self.path(path))

    def op_unlink(self, path: bytes) -> None:
        os.unlink(self.path(path))

    def op_rename(self, old: bytes, new: bytes, flags: int) -> None:
        renameat2(self.path(old), self.path(new), flags)

    def op_link(self, old: bytes, new: bytes) -> None:
        os.link(self.path(old), self.path(new), follow_symlinks=False)

    def op_symlink(self, target: bytes, path: bytes) -> None:
        os.symlink(target, self.path(path))

    def op_readlink(self, path: bytes) -> bytes:
        return os.readlink(self.path(path))

    def op_mkfifo(self, path: bytes, mode: int) -> None:
        os.mkfifo(self.path(path), mode)

    def op_chmod(self, path: bytes, mode: int) -> None:
        os.chmod(self.path(path), mode)

    def op_chown(self, path: bytes, owner: tuple[int, int]) -> None:
        os.chown(self.path(path), *owner, follow_symlinks=False)

    def op_utime(self, path: bytes, atime: int, mtime: int) -> dict[str, Any]:
        os.utime(self.path(path), ns=(atime, mtime))
        return self._with_atime(os.stat(self.path(path)))

    def op_truncate(self, path: bytes, size: int) -> None:
        os.truncate(self.path(path), size)

    def op_stat(self, path: bytes) -> dict[str, Any]:
        return seen(os.stat(self.path(path)))

    def op_listdir(self, path: bytes) -> list[bytes]:
        return sorted(os.listdir(self.path(path)))

    def op_access(self, path: bytes, kind: int) -> bool:
        return os.access(self.path(path), kind)

    # Extended attributes, by path and by handle

    def op_setxattr(self, path: bytes, follow: bool, name: bytes, value: bytes, flags: int) -> None:
        os.setxattr(self.path(path), name, value, flags, follow_symlinks=follow)

    def op_getxattr(self, path: bytes, follow: bool, name: bytes) -> bytes:
        return os.getxattr(self.path(path), name, follow_symlinks=follow)

    def op_listxattr(self, path: bytes, follow: bool) -> list[str]:
        return sorted(os.listxattr(self.path(path), follow_symlinks=follow))

    def op_removexattr(self, path: bytes, follow: bool, name: bytes) -> None:
        os.removexattr(self.path(path), name, follow_symlinks=follow)

    def op_fsetxattr(self, slot: int, name: bytes, value: bytes, flags: int) -> None:
        os.setxattr(self._fd(slot), name, value, flags)

    def op_fgetxattr(self, slot: int, name: bytes) -> bytes:
        return os.getxattr(self._fd(slot), name)

    def op_flistxattr(self, slot: int) -> list[str]:
        return sorted(os.listxattr(self._fd(slot)))

    def op_fremovexattr(self, slot: int, name: bytes) -> None:
        os.removexattr(self._fd(slot), name)


def xattrs(path: bytes) -> dict[str, bytes]:
    """All extended attributes, or none where they are not supported."""
    try:
        return attributes(path, follow=False)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        return {}


def tree(root: bytes) -> dict[bytes, Any]:
    """Everything in a directory: attributes, link targets, contents, and which names are one file."""
    found: dict[bytes, Any] = {}
    first_name: dict[tuple[int, int], bytes] = {}
    for folder, folders, files in os.walk(root):
        for name in sorted(folders + files):
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, root)
            status = os.lstat(path)
            entry = seen(status)
            entry["xattrs"] = xattrs(path)
            if stat.S_ISLNK(status.st_mode):
                entry["target"] = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    entry["content"] = file.read()
                entry["same as"] = first_name.setdefault((status.st_dev, status.st_ino), relative)
            found[relative] = entry
    return found
