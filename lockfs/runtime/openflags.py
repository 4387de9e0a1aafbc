"""What the flags of an open say, and who asks."""

from __future__ import annotations

import os

IN_PLACE_FLAGS = os.O_ACCMODE | os.O_DSYNC | os.O_SYNC | os.O_NOATIME
"""The open flags that are passed on to the backing filesystem.

Not O_APPEND: the kernel says where each write goes, and pwrite(2) on such a descriptor would not listen. What a mapping
wrote would be appended, and O_APPEND can be taken back (fcntl(2), F_SETFL).
"""


class Request:
    """Who asks: thread, uid, gid."""

    __slots__ = ("gid", "tid", "uid")

    def __init__(self, tid: int, uid: int, gid: int) -> None:
        self.tid = tid
        self.uid = uid
        self.gid = gid


def is_writing(flags: int) -> bool:
    """Whether an open can change the file."""
    return (flags & os.O_ACCMODE) != os.O_RDONLY or bool(flags & os.O_TRUNC)


def is_append(flags: int) -> bool:
    """An appender: O_APPEND without O_TRUNC."""
    return bool(flags & os.O_APPEND) and not flags & os.O_TRUNC and (flags & os.O_ACCMODE) != os.O_RDONLY


def opens_like_sqlite(flags: int) -> bool:
    """SQLite's way to open a database that may have to be made; other programs hardly combine these flags.

    Several processes may do so at once, and all of them must get the same inode, before there is a header to tell by.
    """
    told = flags & (os.O_ACCMODE | os.O_NOFOLLOW | os.O_TRUNC | os.O_APPEND | os.O_EXCL)
    return told == os.O_RDWR | os.O_NOFOLLOW
