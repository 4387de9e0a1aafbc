"""The differences between a plain directory and a mount that promises require, each by a name of its own.

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
    "A commit renames the new version over the old one: the directory's mtime and ctime change with it.",
)
