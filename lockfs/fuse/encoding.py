"""From Python's types to pyfuse3's and back."""

from __future__ import annotations

import os

from pyfuse3 import EntryAttributes, InodeT, ModeT, SetattrFields, StatvfsData

from lockfs.runtime.attributes import Changes


def attributes_of(status: os.stat_result, number: int, entry_s: float, attr_s: float) -> EntryAttributes:
    """A reply's attributes. `number` is the inode's; the times say how long the kernel may keep name and attributes."""
    entry = EntryAttributes()
    entry.st_ino = InodeT(number)
    entry.st_mode = ModeT(status.st_mode)
    entry.st_nlink = status.st_nlink
    entry.st_uid = status.st_uid
    entry.st_gid = status.st_gid
    entry.st_rdev = getattr(status, "st_rdev", 0) or 0
    entry.st_size = status.st_size
    entry.st_blocks = getattr(status, "st_blocks", 0) or 0
    entry.st_blksize = getattr(status, "st_blksize", 0) or 4096
    entry.st_atime_ns = status.st_atime_ns or 0
    entry.st_mtime_ns = status.st_mtime_ns or 0
    entry.st_ctime_ns = status.st_ctime_ns or 0
    entry.entry_timeout = entry_s
    entry.attr_timeout = attr_s
    return entry


def changes_of(attr: EntryAttributes, fields: SetattrFields) -> Changes:
    """What a setattr request asks for."""
    return Changes(
        size=attr.st_size if fields.update_size else None,
        mode=attr.st_mode if fields.update_mode else None,
        uid=attr.st_uid if fields.update_uid else None,
        gid=attr.st_gid if fields.update_gid else None,
        atime_ns=attr.st_atime_ns if fields.update_atime else None,
        mtime_ns=attr.st_mtime_ns if fields.update_mtime else None,
    )


def statvfs_of(status: os.statvfs_result) -> StatvfsData:
    """statvfs(3) of the backing filesystem."""
    data = StatvfsData()
    for name in (
        "f_bsize",
        "f_frsize",
        "f_blocks",
        "f_bfree",
        "f_bavail",
        "f_files",
        "f_ffree",
        "f_favail",
        "f_namemax",
    ):
        setattr(data, name, getattr(status, name))
    return data
