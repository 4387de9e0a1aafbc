"""The stats: one consistent picture of a mount, for programs and for people (C1)."""

from __future__ import annotations

import os
import time
from typing import Any

import trio

from lockfs import __version__
from lockfs.runtime.events import shown
from lockfs.runtime.filesystem import Filesystem
from lockfs.runtime.processes import command
from lockfs.runtime.slots import Slot

SCHEMA = 1
"""Version of the JSON's shape; README.md documents it."""

_CONTENDED = 10


class Stats:
    """Renders `/.lockfs/stats` and `/.lockfs/stats.json`."""

    def __init__(self, filesystem: Filesystem) -> None:
        self._filesystem = filesystem
        self._started_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

    def picture(self) -> dict[str, Any]:
        """All of it as JSON values; durations in seconds. Paths are relative to the mount."""
        state, counters = self._filesystem.state, self._filesystem.state.counters
        now = trio.current_time()
        slots = {slot.key: slot for slot in state.slots}
        return {
            "schema": SCHEMA,
            "lockfs": __version__,
            "pid": os.getpid(),
            "source": str(state.settings.source),
            "mountpoint": str(state.settings.mountpoint),
            "started_at": self._started_at,
            "uptime_s": round(now - state.started_s, 3),
            "sessions": {
                "open": len(self._filesystem.sessions.open),
                "commits": counters.commits,
                "aborts": counters.aborts,
            },
            "waits": {
                "count": counters.waits,
                "now": len(state.waiting),
                "longest_s": round(counters.longest_wait_s, 6),
                "median_s": round(counters.median_wait_s, 6),
            },
            "refusals": counters.refusals,
            "timeouts": counters.timeouts,
            "interrupted": counters.interrupted,
            "deadlocks": counters.deadlocks,
            "appends": {
                "records": counters.records,
                "bytes": counters.appended_bytes,
                "open": self._filesystem.appends.open_handles,
            },
            "orphans": counters.orphans,
            "errors": counters.errors,
            "contended": [
                {"path": shown(path), "waits": c.waits, "waited_s": round(c.waited_s, 6), "refusals": c.refusals}
                for path, c in counters.most_contended(_CONTENDED)
            ],
            "holders": [
                {
                    "path": _path(slots.get(hold.key)),
                    "pid": hold.owner.pid,
                    "command": command(hold.owner.pid),
                    "kind": _kind(slots.get(hold.key)),
                    "held_s": round(now - hold.since_s, 6),
                    "waiting": len(state.arbiter.waiting(hold.key)),
                }
                for hold in state.arbiter.holds()
            ],
            "waiters": [
                {
                    "path": _path(slots.get(wait.key)),
                    "pid": wait.writer.pid,
                    "command": command(wait.writer.pid),
                    "kind": wait.kind.value,
                    "waited_s": round(now - wait.since_s, 6),
                }
                for wait in state.arbiter.waits()
            ],
        }

    def text(self) -> str:
        """The same for people."""
        p = self.picture()
        lines = [
            f"lockfs {p['lockfs']}  {p['source']} on {p['mountpoint']}  pid {p['pid']}  up {p['uptime_s']:.0f} s",
            "",
            f"sessions   open {p['sessions']['open']}  commits {p['sessions']['commits']}  aborts {p['sessions']['aborts']}"
            f"  orphans {p['orphans']}",
            f"waits      now {p['waits']['now']}  in all {p['waits']['count']}  longest {p['waits']['longest_s']:.3f} s"
            f"  median {p['waits']['median_s']:.3f} s",
            f"conflicts  refused {p['refusals']}  timed out {p['timeouts']}  interrupted {p['interrupted']}"
            f"  deadlocks avoided {p['deadlocks']}",
            f"appends    records {p['appends']['records']}  bytes {p['appends']['bytes']}  handles open {p['appends']['open']}",
            f"errors     {p['errors']}",
        ]
        for title, key, row in (
            ("who writes now", "holders", "{path}  pid {pid} ({command})  {kind}  for {held_s:.3f} s, {waiting} waiting"),
            ("who waits now", "waiters", "{path}  pid {pid} ({command})  {kind}  for {waited_s:.3f} s"),
            ("most contended", "contended", "{path}  waits {waits}  waited {waited_s:.3f} s  refused {refusals}"),
        ):
            lines += ["", title] + ["  " + row.format(**entry) for entry in p[key]]
            if not p[key]:
                lines.append("  nobody" if key != "contended" else "  nothing")
        return "\n".join(lines) + "\n"


def _path(slot: Slot | None) -> str:
    return shown(slot.path()) if slot is not None else "(removed)"


def _kind(slot: Slot | None) -> str:
    return slot.session.kind.value if slot is not None and slot.session is not None else "live"


