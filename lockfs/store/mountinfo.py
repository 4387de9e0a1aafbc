"""Where mounts begin below a directory, as the kernel tells it (proc_pid_mountinfo(5), proc_pid_fdinfo(5))."""

from __future__ import annotations

import os
import re

MOUNTINFO = "/proc/self/mountinfo"

_OCTAL = re.compile(rb"\\([0-7]{3})")


def unescape(field: bytes) -> bytes:
    """The kernel writes blank, tab, newline and backslash as three octal digits."""
    return _OCTAL.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), field)


def mountpoints(text: bytes) -> list[bytes]:
    """The absolute mountpoints of a mountinfo text, in its order; lines that make no sense are passed over."""
    found = []
    for line in text.split(b"\n"):
        fields = line.split(b" ", 5)
        if len(fields) == 6 and fields[4].startswith(b"/"):
            found.append(unescape(fields[4]))
    return found


def mountpoints_below(directory_fd: int) -> list[bytes]:
    """The mountpoints below an open directory, relative to it. Raises OSError.

    By name alone: what is mounted over the directory itself (a lockfs mount, perhaps) and below that counts too.
    """
    prefix = os.fsencode(os.readlink(f"/proc/self/fd/{directory_fd}")).rstrip(b"/") + b"/"
    with open(MOUNTINFO, "rb") as file:
        table = mountpoints(file.read())
    return [path[len(prefix) :] for path in table if path.startswith(prefix) and path != prefix]


def mount_id(fd: int) -> int:
    """Which mount an open file was reached through. Raises OSError."""
    with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
        for line in file:
            if line.startswith(b"mnt_id:"):
                return int(line[7:])
    return -1
