"""The differences between a plain directory and a mount that promises require, each by a name of its own.

Those with "FUSE" in the place of a promise are what the kernel, or the binding, gives no filesystem the means for.

A case that shows one says so (`differs=`); one that no case shows any more fails a test.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Named:
    """One difference: its name, the promise that requires it, and what it is."""

    name: str
    promise: str
    text: str


NAMED: list[Named] = []


def _named(name: str, promise: str, text: str) -> Named:
    NAMED.append(Named(name, promise, text))
    return NAMED[-1]


COMMIT_BREAKS_LINKS = _named(
    "a commit breaks hard links",
    "W5",
    "A commit puts a new file in the place of the old one: other names keep the old version, the link count is 1.",
)
COMMIT_IS_A_RENAME = _named(
    "a commit changes the directory",
    "W2",
    "A commit renames the new version over the old one: the directory's mtime and ctime change with it, and the "
    "file's ctime.",
)
NEW_FILE_APPEARS_AT_COMMIT = _named(
    "a new file appears when it is closed",
    "W2",
    "The entry is made by the commit: that is when the directory's mtime and ctime change, not at the open.",
)
NO_BIRTH_TIME = _named(
    "no time of birth", "FUSE", "statx(2) has no btime, and no attributes (append-only, immutable) of the file."
)
FIFO_TIMES = _named(
    "times of FIFOs", "FUSE", "Bytes through a FIFO stay in the kernel, which changes no times for FUSE."
)
LINKS_COUNT_TWICE = _named(
    "a writer's path may have 20 symbolic links",
    "W2",
    "The kernel walks the path a second time to the writer's own version, and counts the links of both walks: the "
    "limit of 40 is one of 20 for an open that writes.",
)
HIDDEN = _named(
    "lockfs's own directory",
    "C1, C3",
    "At the root of the mount, and only there, .lockfs is there by name, may not be made, replaced, moved or removed.",
)
KILLED_WRITER = _named(
    "a killed writer publishes nothing",
    "N1",
    "What a process had written to an open file when a signal ended it goes to the orphans; the old version stays.",
)
HELD_TAIL = _named(
    "a record without its end is held",
    "A3",
    "What an appender wrote after its last newline is seen by its own descriptor only, until it ends the record.",
)
APPENDER_HAS_NO_PAGES = _named(
    "an append descriptor cannot be mapped shared",
    "A3",
    "Reads by an appender must see its held tail, which no page of the file has: MAP_SHARED gives ENODEV.",
)
RWF_NOAPPEND_APPENDS = _named(
    "RWF_NOAPPEND does nothing for appending descriptors",
    "A2",
    "The kernel does not tell the filesystem of it; descriptors that have lost O_APPEND (F_SETFL) do write in place.",
)
NO_FALLOCATE = _named(
    "no allocation",
    "FUSE",
    "The binding has no handler for fallocate(2): EOPNOTSUPP, as on NFS. posix_fallocate(3) writes instead.",
)
NO_IOCTL = _named(
    "no ioctls of the filesystem",
    "FUSE",
    "The binding has no handler for ioctl(2): ENOTTY or EOPNOTSUPP for file attributes (chattr), extents and clones.",
)
NO_NOWAIT = _named(
    "no reads that may not wait", "FUSE", "The kernel refuses RWF_NOWAIT for reads of FUSE files: EOPNOTSUPP."
)
NO_ALIGNMENT = _named(
    "O_DIRECT takes any address and size", "FUSE", "The kernel's check for aligned buffers is that of block devices."
)
NO_SIZE_LIMIT = _named(
    "lseek goes further than files can grow",
    "FUSE",
    "The kernel takes 2^63 - 1 for the limit of a FUSE file; the write that goes too far gets EFBIG all the same.",
)
APPENDERS_INODE = _named(
    "appenders have an inode of their own",
    "A4",
    "What the kernel keeps for an inode does not reach from an appender to the others: no ETXTBSY for a program that"
    " somebody appends to, no events for who watches the file itself (who watches its directory gets them).",
)
LOCKS_OF_ONE_VERSION = _named(
    "locks hold among those who have the same version open",
    "D2",
    "Readers of a protected file, its appenders and its writer have different inodes, and do not see each other's"
    " locks. The pen keeps the writers apart.",
)
WATCHES_STAY_BEHIND = _named(
    "a watch on a protected file hears nothing of its next version",
    "W2",
    "inotify and F_NOTIFY watch inodes; a commit brings another one. Watches on the directory get all events.",
)
MAPPING_IS_A_DESCRIPTOR = _named(
    "a shared mapping keeps a session open",
    "W3",
    "A writer that closed its descriptor but keeps a mapping may still change the file: the commit comes with munmap.",
)
NO_HOLES_TOLD = _named(
    "holes are kept, but not told",
    "FUSE",
    "The binding has no handler for lseek(2) with SEEK_HOLE and SEEK_DATA: the kernel says that all is data.",
)
NO_TMPFILE = _named(
    "no O_TMPFILE", "FUSE", "The binding has no handler for it: EOPNOTSUPP. Programs fall back to a name and unlink."
)
CACHED_READS = _named(
    "reads from the cache leave the access time",
    "FUSE",
    "The kernel leaves atime to the filesystem, which hears only of reads that are not answered from its cache.",
)
SETGID_WITHOUT_EXECUTE = _named(
    "setgid without group execute stays",
    "FUSE",
    "A write (or truncate(2), or chown(2)) by a stranger clears setuid, and setgid with group execute; FUSE in the"
    " kernel leaves the rare other.",
)
