"""What happened: counters for the stats, and a log line each (C1, C2)."""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from statistics import median

from lockfs.core.ids import WriterId
from lockfs.runtime.processes import command, printable

log = logging.getLogger("lockfs")

_WAITS_KEPT = 1024
_PATHS_KEPT = 1000


def shown(path: bytes) -> str:
    """A path for a log line or a table: one line, whatever the name contains."""
    return printable(path.decode("utf-8", "backslashreplace"))


def process_label(writer: WriterId | None) -> str:
    """A process for a log line: `77(python3 w.py)`."""
    if writer is None:
        return "appenders"
    return f"{writer.pid}({command(writer.pid)})" if writer.pid else "unknown"


@dataclass(slots=True)
class Contention:
    """How often a path was waited for, and how long."""

    waits: int = 0
    waited_s: float = 0.0
    refusals: int = 0


@dataclass(slots=True)
class Counters:
    """Counts since the mount. Times in seconds; bounded."""

    commits: int = 0
    aborts: int = 0
    waits: int = 0
    longest_wait_s: float = 0.0
    refusals: int = 0
    timeouts: int = 0
    interrupted: int = 0
    deadlocks: int = 0
    records: int = 0
    appended_bytes: int = 0
    orphans: int = 0
    errors: int = 0
    recent_waits_s: deque[float] = field(default_factory=lambda: deque(maxlen=_WAITS_KEPT))
    contended: OrderedDict[bytes, Contention] = field(default_factory=OrderedDict)

    @property
    def median_wait_s(self) -> float:
        """The median of the last 1,024 waits; 0 without any."""
        return median(self.recent_waits_s) if self.recent_waits_s else 0.0

    def _contention(self, path: bytes) -> Contention:
        entry = self.contended.get(path)
        if entry is None:
            entry = self.contended[path] = Contention()
            if len(self.contended) > _PATHS_KEPT:
                self.contended.popitem(last=False)
        else:
            self.contended.move_to_end(path)
        return entry

    def wait_began(self, path: bytes) -> None:
        """Somebody queues for `path`."""
        self.waits += 1
        self._contention(path).waits += 1

    def wait_ended(self, path: bytes, waited_s: float) -> None:
        """A wait for `path` ended, however."""
        self.recent_waits_s.append(waited_s)
        self.longest_wait_s = max(self.longest_wait_s, waited_s)
        self._contention(path).waited_s += waited_s

    def refused(self, path: bytes) -> None:
        """A conflict was answered at once."""
        self.refusals += 1
        self._contention(path).refusals += 1

    def most_contended(self, count: int) -> list[tuple[bytes, Contention]]:
        """The paths with most waits and refusals, most first."""
        ranked = sorted(self.contended.items(), key=lambda item: item[1].waits + item[1].refusals, reverse=True)
        return ranked[:count]
