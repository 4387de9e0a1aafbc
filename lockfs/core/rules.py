"""What a rule is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Mode(Enum):
    """How writes to a file are treated."""

    PROTECT = "protect"
    """One writer, staged, published as a whole (W)."""
    LIVE = "live"
    """One writer, in place: readers see the progress (D4)."""
    SHARED = "shared"
    """Plain passthrough (D1)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Files that `pattern` matches are treated by `mode`, because of `reason`."""

    mode: Mode
    pattern: str
    """As in gitignore(5), without negation; bytes that are not UTF-8 as surrogate escapes."""
    reason: str
    """For people, without a full stop."""
    name_only: bool = False
    """The pattern means the file's own name. Without this it would, as in git, also take everything below a
    directory that matches: `run.out/data.json` for `*.out`."""
