"""Which lockfs mounts there are, from /proc/self/mountinfo: no mount is touched, a dead one may hang."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FSTYPE = "fuse.lockfs"
MOUNTINFO = Path("/proc/self/mountinfo")

_OCTAL = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo. The paths are as `os.fsdecode` gives them."""

    mount_id: int
    device: int
    """What stat(2) calls st_dev; bind mounts of one filesystem share it."""
    root: str
    """The part of the filesystem that is mounted; "/" but for bind mounts."""
    mountpoint: str
    fstype: str
    source: str

    @property
    def is_lockfs(self) -> bool:
        """A lockfs mount as a whole, and not a bind mount of a part of one."""
        return self.fstype == FSTYPE and self.root == "/"


def _unescape(field: bytes) -> str:
    """The kernel writes blank, tab, newline, backslash (and in the source "#") as three octal digits."""
    return os.fsdecode(_OCTAL.sub(lambda m: bytes([int(m[1], 8) & 0xFF]), field))


def parse_line(line: bytes) -> Mount | None:
    """One line of mountinfo (proc_pid_mountinfo(5)); None for what does not look like one."""
    fields = line.rstrip(b"\n").split(b" ")
    try:
        dash = fields.index(b"-", 6)
        major, minor = fields[2].split(b":")
        # The source of some filesystems is an empty string: then the field is there, and empty.
        return Mount(
            mount_id=int(fields[0]),
            device=os.makedev(int(major), int(minor)),
            root=_unescape(fields[3]),
            mountpoint=_unescape(fields[4]),
            fstype=_unescape(fields[dash + 1]),
            source=_unescape(fields[dash + 2]),
        )
    except (ValueError, IndexError):
        return None


def parse(text: bytes) -> list[Mount]:
    """All mounts of a mountinfo text, in its order (the order of mounting)."""
    # A carriage return in a name is not escaped, so no splitlines() here.
    return [mount for line in text.split(b"\n") if (mount := parse_line(line)) is not None]


def read_table(mountinfo: Path | None = None) -> list[Mount]:
    """All mounts that this process sees."""
    return parse((mountinfo or MOUNTINFO).read_bytes())


def lockfs_mounts(table: Iterable[Mount]) -> list[Mount]:
    """The lockfs mounts of `table`, hidden ones (mounted over) too."""
    return [mount for mount in table if mount.is_lockfs]


def topmost_at(table: Iterable[Mount], mountpoint: str) -> Mount | None:
    """The mount that is seen at exactly `mountpoint`: the last one mounted there."""
    found = None
    for mount in table:
        if mount.mountpoint == mountpoint:
            found = mount
    return found


def is_below(path: str, directory: str) -> bool:
    """`path` lies strictly inside `directory`; both are absolute and without symbolic links."""
    return path != directory and path.startswith(directory.rstrip("/") + "/")


def mount_of(table: Iterable[Mount], path: str) -> Mount | None:
    """The mount that `path` (absolute, without symbolic links) lies on, by name alone."""
    found: Mount | None = None
    for mount in table:
        inside = mount.mountpoint == path or is_below(path, mount.mountpoint)
        if inside and (found is None or len(mount.mountpoint) >= len(found.mountpoint)):
            found = mount
    return found


def resolve(path: str | os.PathLike[str], table: Iterable[Mount]) -> str:
    """`path` made absolute and without symbolic links, as mountinfo writes paths.

    A path that mountinfo names is not touched: its daemon may be dead, or hang. What does not exist is kept
    as it was given.
    """
    absolute = os.path.abspath(path)
    names = {mount.mountpoint for mount in table}
    for _ in range(40):  # as many links as the kernel follows
        if absolute in names:
            return absolute
        parent, name = os.path.split(absolute)
        absolute = os.path.join(os.path.realpath(parent), name)
        if absolute in names:
            return absolute
        try:
            # readlink on the root of a mount is answered by the kernel alone, lstat would ask the daemon.
            target = os.readlink(absolute)
        except OSError:
            return absolute
        absolute = os.path.normpath(os.path.join(os.path.dirname(absolute), target))
    return absolute
