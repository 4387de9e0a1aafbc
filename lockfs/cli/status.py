"""`lockfs status`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import click

from lockfs.cli import mounts, probe
from lockfs.cli.mounts import Mount
from lockfs.cli.probe import Answer
from lockfs.cli.say import Failure, seconds, shown

NOT_WELL = 3
"""The exit status when the mount that was asked for does not answer."""

_STATES = {
    "dead": "dead: its daemon has gone; mount it again, or 'lockfs umount' it",
    "silent": "silent: it does not answer",
    "private": "private: it belongs to another user, who did not mount it with --allow-other",
    "unknown": "unknown: it answers, but not as this version of lockfs does",
}


# Not click.Path: it would stat the path, and hang on a mount whose daemon hangs.
@click.command()
@click.argument("mountpoint", type=str, required=False)
@click.option("--json", "as_json", is_flag=True, help="For programs: mountpoint, source, state and stats.json of each.")
def status(mountpoint: str | None, as_json: bool) -> int:
    """Show all lockfs mounts, or who holds and who waits in the one at MOUNTPOINT.

    Exit status: 0; 1 if MOUNTPOINT is not a lockfs mount; 3 if it is one, but does not answer.
    """
    table = mounts.read_table()
    if mountpoint is None:
        found = mounts.lockfs_mounts(table)
        answers = probe.ask_all(found)
        click.echo(
            _json([_entry(*pair) for pair in zip(found, answers, strict=True)]) if as_json else _all(found, answers)
        )
        return 0
    target = mounts.resolve(mountpoint, table)
    there = mounts.topmost_at(table, target)
    if there is None or not there.is_lockfs:
        raise Failure(f"{shown(target)} is not a lockfs mount; 'lockfs status' lists the ones there are")
    answer = probe.ask(target)
    click.echo(_json(_entry(there, answer)) if as_json else "\n".join(details(there, answer)))
    return 0 if answer.state in ("mounted", "private") else NOT_WELL


def _json(value: object) -> str:
    return json.dumps(value, indent=2)


def _entry(mount: Mount, answer: Answer) -> dict[str, Any]:
    """One mount for programs. Bytes of a path that are not UTF-8 become lone surrogates, escaped in JSON."""
    return {
        "mountpoint": mount.mountpoint,
        "source": mount.source,
        "state": answer.state,
        "stats": answer.stats if answer.state == "mounted" else None,
    }


def number(stats: dict[str, Any], *names: str) -> float:
    """The number under `names` in stats.json, nested; 0 if this daemon does not say it."""
    value: Any = stats
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, int | float) else 0


def _rows(stats: dict[str, Any], name: str) -> list[dict[str, Any]]:
    rows = stats.get(name)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _all(found: Sequence[Mount], answers: Sequence[Answer]) -> str:
    if not found:
        return "no lockfs mounts"
    rows = [("MOUNTPOINT", "SOURCE", "PID", "UPTIME", "SESSIONS", "WAITING")]
    for mount, answer in zip(found, answers, strict=True):
        names = (shown(mount.mountpoint), shown(mount.source))
        if answer.state == "mounted":
            stats = answer.stats
            open_now, waiting = number(stats, "sessions", "open"), number(stats, "waits", "now")
            uptime = seconds(number(stats, "uptime_s"))
            rows.append((*names, str(answer.pid or "?"), uptime, f"{open_now:.0f}", f"{waiting:.0f}"))
        else:
            rows.append((*names, answer.state, "-", "-", "-"))
    return "\n".join(columns(rows))


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """`rows` as lines, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def details(mount: Mount, answer: Answer) -> Iterator[str]:
    """One mount in full: its counters, who holds, who waits, and where most waiting was."""
    stats = answer.stats
    if answer.state != "mounted":
        yield f"{shown(mount.mountpoint)} (source {shown(mount.source)})"
        yield _STATES[answer.state]
        return
    uptime = seconds(number(stats, "uptime_s"))
    yield f"{shown(mount.mountpoint)} (source {shown(mount.source)}, pid {answer.pid or '?'}, up {uptime})"
    yield from columns([(name, text) for name, text in _counters(stats)])
    yield from _section("holders", (_holder(row) for row in _rows(stats, "holders")))
    yield from _section("waiters", (_waiter(row) for row in _rows(stats, "waiters")))
    yield from _section("most contended", (_contended(row) for row in _rows(stats, "contended")))


def _counters(stats: dict[str, Any]) -> Iterator[tuple[str, str]]:
    def count(*names: str) -> str:
        return f"{number(stats, *names):.0f}"

    longest, middle = (
        seconds(number(stats, "waits", "longest_s")),
        seconds(number(stats, "waits", "median_s")),
    )
    sessions = (count("sessions", name) for name in ("open", "commits", "aborts"))
    yield "sessions", "{} open, {} committed, {} aborted".format(*sessions)
    yield (
        "waits",
        f"{count('waits', 'now')} now, {count('waits', 'count')} in all, longest {longest}, median {middle}",
    )
    yield (
        "refused",
        f"{count('refusals')} at once, {count('timeouts')} timed out, {count('interrupted')} interrupted",
    )
    yield "deadlocks", f"{count('deadlocks')} avoided"
    appends = (count("appends", name) for name in ("records", "bytes", "open"))
    yield "appends", "{} records, {} bytes, {} handles open".format(*appends)
    yield "orphans", count("orphans")
    yield "errors", count("errors")


def _section(title: str, lines: Iterator[str]) -> Iterator[str]:
    yield f"{title}:"
    empty = True
    for line in lines:
        empty = False
        yield f"  {line}"
    if empty:
        yield "  none"


def _who(row: dict[str, Any]) -> str:
    return f"{_text(row, 'path')}: pid {_text(row, 'pid')} ({_text(row, 'command')}), {_text(row, 'kind')}"


def _text(row: dict[str, Any], name: str) -> str:
    # Lone surrogates, which JSON can carry, cannot be printed.
    return shown(str(row.get(name, "?")).encode("utf-8", "backslashreplace").decode("utf-8"))


def _holder(row: dict[str, Any]) -> str:
    return f"{_who(row)}, for {seconds(number(row, 'held_s'))}, {number(row, 'waiting'):.0f} waiting"


def _waiter(row: dict[str, Any]) -> str:
    return f"{_who(row)}, for {seconds(number(row, 'waited_s'))}"


def _contended(row: dict[str, Any]) -> str:
    waits, refusals = number(row, "waits"), number(row, "refusals")
    waited = seconds(number(row, "waited_s"))
    return f"{_text(row, 'path')}: {waits:.0f} waits, {waited} in all, {refusals:.0f} refusals"
