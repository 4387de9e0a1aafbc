"""ACLs as extended attributes have them (acl(5), linux/posix_acl_xattr.h), and where tests can have them."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
from pathlib import Path

ACCESS = "system.posix_acl_access"
DEFAULT = "system.posix_acl_default"

_VERSION = 2
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NOBODY_IN_PARTICULAR = 0xFFFFFFFF


def acl(
    mode: int, *, users: dict[int, int] | None = None, groups: dict[int, int] | None = None, mask: int = 7
) -> bytes:
    """An ACL: owner, owning group and others as in `mode`, named users and groups (id: permission bits), and a mask."""
    entries = [(_USER_OBJ, mode >> 6 & 7, _NOBODY_IN_PARTICULAR)]
    entries += [(_USER, bits, uid) for uid, bits in sorted((users or {}).items())]
    entries += [(_GROUP_OBJ, mode >> 3 & 7, _NOBODY_IN_PARTICULAR)]
    entries += [(_GROUP, bits, gid) for gid, bits in sorted((groups or {}).items())]
    entries += [(_MASK, mask, _NOBODY_IN_PARTICULAR), (_OTHER, mode & 7, _NOBODY_IN_PARTICULAR)]
    return struct.pack("<I", _VERSION) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def attributes(path: Path | bytes, *, follow: bool = True) -> dict[str, bytes]:
    """All extended attributes of a file, ACLs included."""
    names = os.listxattr(path, follow_symlinks=follow)
    return {name: os.getxattr(path, name, follow_symlinks=follow) for name in sorted(names)}


def why_not(directory: Path) -> str | None:
    """Why extended attributes or ACLs do not work in a directory; None if they do."""
    probe = directory / "probe"
    probe.touch()
    try:
        os.setxattr(probe, "user.probe", b"")
        os.setxattr(probe, ACCESS, acl(0o600, users={1: 4}))
        return None
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        return f"the filesystem of {directory} has no user extended attributes, or no ACLs"
    finally:
        probe.unlink()


def mount_tmpfs(directory: Path) -> bool:
    """Mount a filesystem there that may have what `directory`'s own lacks; False where that is not allowed."""
    return subprocess.run(["mount", "-t", "tmpfs", "none", str(directory)], capture_output=True).returncode == 0


def unmount_tmpfs(directory: Path) -> None:
    """Undo `mount_tmpfs`."""
    subprocess.run(["umount", "-l", str(directory)], capture_output=True)
