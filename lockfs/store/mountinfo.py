"""Where mounts begin below a directory, as the kernel tells it (proc_pid_mountinfo(5), proc_pid_fdinfo(5))."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

MOUNTINFO = "/proc/self/mountinfo"

_OCTAL = re.compile(rb"\\([0-7]{3})")


def unescape(field: bytes) -> bytes:
    """The kernel writes blank, tab, newline and backslash as three octal digits."""
    return _OCTAL.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), field)


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo."""

    mount_id: int
    mountpoint: bytes
    """Absolute."""
    fstype: bytes


def parse(text: bytes) -> list[Mount]:
    """The mounts of a mountinfo text, in its order; lines that make no sense are passed over."""
    found = []
    for line in text.split(b"\n"):
        fields = line.split(b" ")
        try:
            fstype = fields[fields.index(b"-", 6) + 1]
            found.append(Mount(int(fields[0]), unescape(fields[4]), fstype))
        except (ValueError, IndexError):
            continue
    return found


def read_table() -> list[Mount]:
    """All mounts that this process sees. Raises OSError."""
    with open(MOUNTINFO, "rb") as file:
        return parse(file.read())


def below(table: Iterable[Mount], directory_fd: int) -> list[bytes]:
    """The mountpoints below an open directory, relative to it. Raises OSError.

    By name alone: what is mounted over the directory itself (a lockfs mount, perhaps) and below that counts too.
    """
    prefix = os.fsencode(os.readlink(f"/proc/self/fd/{directory_fd}")).rstrip(b"/") + b"/"
    paths = [mount.mountpoint for mount in table]
    return [path[len(prefix) :] for path in paths if path.startswith(prefix) and path != prefix]


def mount_id(fd: int) -> int:
    """Which mount an open file was reached through. Raises OSError."""
    with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
        for line in file:
            if line.startswith(b"mnt_id:"):
                return int(line[7:])
    return -1
