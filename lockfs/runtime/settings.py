"""What a mount was asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

OnConflict = Literal["queue", "refuse"]
Durability = Literal["none", "replace", "commit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one mount; times in seconds, sizes in bytes."""

    source: Path
    mountpoint: Path
    on_conflict: OnConflict = "queue"
    queue_timeout_s: float = 30.0
    durability: Durability = "replace"
    allow_other: bool = False
    xattrs: bool = False
    """Extended attributes and ACLs are passed through, at a price on each write."""
    fuse_options: tuple[str, ...] = ()
    read_only: bool = False
    """Nothing can be staged in the source: the kernel answers EROFS to all that would change something."""
    cache_s: float = 1.0
    """How long the kernel may keep names and attributes (M2)."""
    grace_s: float = 5.0
    """How long open sessions may go on after SIGTERM (N7)."""
    rename_wait_s: float = 0.25
    """How long a rename over a held path waits (Q7)."""
    record_limit: int = 1 << 20
    """The longest record that is held until it is whole (A3)."""
