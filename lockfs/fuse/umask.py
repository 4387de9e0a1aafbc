"""Mounts so that the kernel leaves the umask to lockfs.

A file made in a directory with a default ACL gets the mode that its maker asked for, without the umask (acl(5),
umask(2)). But ordinarily the kernel takes the umask off before it asks a FUSE daemon. It does not where the daemon asks
for FUSE_DONT_MASK, which pyfuse3 has no way to, or where the mount has the flag MS_POSIXACL (fs/fuse/inode.c), which
libfuse has no option for. So root's mount(2) is made here, and libfuse is handed the descriptor, as "/dev/fd/N".
"""

from __future__ import annotations

import ctypes
import logging
import os
import select
import stat
from collections.abc import Iterable

log = logging.getLogger("lockfs")

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_SYNCHRONOUS = 1, 2, 4, 8, 16
_MS_DIRSYNC, _MS_NOSYMFOLLOW, _MS_NOATIME, _MS_NODIRATIME = 128, 256, 1024, 2048
_MS_POSIXACL = 1 << 16
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_FLAGS: dict[str, tuple[int, bool]] = {
    "rw": (_MS_RDONLY, False),
    "ro": (_MS_RDONLY, True),
    "suid": (_MS_NOSUID, False),
    "nosuid": (_MS_NOSUID, True),
    "dev": (_MS_NODEV, False),
    "nodev": (_MS_NODEV, True),
    "exec": (_MS_NOEXEC, False),
    "noexec": (_MS_NOEXEC, True),
    "async": (_MS_SYNCHRONOUS, False),
    "sync": (_MS_SYNCHRONOUS, True),
    "dirsync": (_MS_DIRSYNC, True),
    "nosymfollow": (_MS_NOSYMFOLLOW, True),
    "atime": (_MS_NOATIME, False),
    "noatime": (_MS_NOATIME, True),
    "diratime": (_MS_NODIRATIME, False),
    "nodiratime": (_MS_NODIRATIME, True),
}
"""mount(8)'s options as flags of mount(2), and whether each sets its flag."""
_TO_THE_KERNEL = frozenset({"default_permissions", "allow_other"})

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
_libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]


def mount_unmasked(source: str, mountpoint: str, options: Iterable[str]) -> int | None:
    """Mount on `mountpoint`, `source` for people to read; returns the descriptor for libfuse.

    None (and a log line) where that cannot be done, for want of root or for an option that is libfuse's matter: mount
    with libfuse then, and the umask applies everywhere.
    """
    flags, data = _MS_NOSUID | _MS_NODEV | _MS_POSIXACL, []
    for option in options:
        if option in _FLAGS:
            flag, sets = _FLAGS[option]
            flags = flags | flag if sets else flags & ~flag
        elif option in _TO_THE_KERNEL:
            data.append(option)
        else:
            log.info("umask applies despite default ACLs reason=%r", f"mount option {option}")
            return None
    try:
        kind = stat.S_IFMT(os.stat(mountpoint).st_mode)
        fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        log.info("umask applies despite default ACLs reason=%r", str(error))
        return None
    data += [f"fd={fd}", f"rootmode={kind:o}", f"user_id={os.geteuid()}", f"group_id={os.getegid()}"]
    target = os.fsencode(mountpoint)
    if _libc.mount(os.fsencode(source), target, b"fuse.lockfs", flags, ",".join(data).encode()) != 0:
        log.info("umask applies despite default ACLs reason=%r", os.strerror(ctypes.get_errno()))
        os.close(fd)
        return None
    return fd


def is_unmounted(fd: int) -> bool:
    """Whether the mount behind a descriptor of `mount_unmasked` has gone already."""
    poller = select.poll()
    poller.register(fd, 0)
    return any(event & select.POLLERR for _, event in poller.poll(0))


def unmount(mountpoint: str) -> None:
    """Take such a mount away, at once, for those who have something open there when they have closed it."""
    if _libc.umount2(os.fsencode(mountpoint), _MNT_DETACH | _UMOUNT_NOFOLLOW) != 0:
        log.error("not unmounted mountpoint=%s error=%s", mountpoint, os.strerror(ctypes.get_errno()))
