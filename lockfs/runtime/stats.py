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
        sessions, waits, appends = p["sessions"], p["waits"], p["appends"]
        rows = (
            ("sessions", {**sessions, "orphans": p["orphans"]}),
            ("waits", {key: f"{value:.3f} s" if key.endswith("_s") else value for key, value in waits.items()}),
            ("conflicts", {key: p[key] for key in ("refusals", "timeouts", "interrupted", "deadlocks")}),
            ("appends", appends),
            ("errors", {"handlers": p["errors"]}),
        )
        lines = [
            f"lockfs {p['lockfs']}  {p['source']} on {p['mountpoint']}  pid {p['pid']}  up {p['uptime_s']:.0f} s",
            "",
        ]
        for title, values in rows:
            shown_values = "  ".join(f"{key.removesuffix('_s')} {value}" for key, value in values.items())
            lines.append(f"{title:<10} {shown_values}")
        for title, key, row in (
            (
                "who writes now",
                "holders",
                "{path}  pid {pid} ({command})  {kind}  {held_s:.3f} s, {waiting} waiting",
            ),
            ("who waits now", "waiters", "{path}  pid {pid} ({command})  {kind}  {waited_s:.3f} s"),
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
