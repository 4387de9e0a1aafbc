"""Identities that the layers hand to each other; never path strings."""

from __future__ import annotations

from typing import NamedTuple, NewType

FileKey = NewType("FileKey", int)
"""One directory entry that can be written. It follows a rename."""

HandleId = NewType("HandleId", int)
"""One open, or one attempt to open."""


class WriterId(NamedTuple):
    """A process (thread group), told apart from a later one with the same number by its start time."""

    pid: int
    start: int
    """Start time in clock ticks since boot (field 22 of proc_pid_stat(5))."""


Lineage = tuple[WriterId, ...]
"""A process and its ancestors, itself first."""
