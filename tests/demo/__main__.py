"""`python -m tests.demo`: every scenario on a plain directory and on a mount, side by side, as a table."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.demo.scenarios import SCENARIOS, Found, Scenario, run_scenario
from tests.support.mounting import Mount, mounted

PLAIN_ROUNDS = 5
"""How often a scenario is repeated on the plain directory until its damage shows."""


def _missing(scenario: Scenario) -> bool:
    if scenario.needs == "gcc":
        return shutil.which("gcc") is None and shutil.which("cc") is None
    return scenario.needs is not None and shutil.which(scenario.needs) is None


def _row(scenario: str, counted: str, plain: str, mount: str, verdict: str) -> str:
    return f"{scenario:<46} {counted:<29} {plain:>14} {mount:>14}  {verdict}"


def _judge(scenario: Scenario, plain: Found, mount: Found) -> str:
    if mount.damage:
        return "FAILED: damage on the mount"
    if scenario.plain_is_damaged and not plain.damage:
        return "FAILED: no damage on the plain directory"
    return "ok"


def _run_all(base: Path, mount: Mount) -> int:
    """Print the table; the number of scenarios that failed or could not run their course."""
    failed = 0
    print(_row("what the programs do", "damage: count of ...", "plain", "lockfs", ""))
    print(_row("-" * 46, "-" * 29, "-" * 14, "-" * 14, ""))
    for number, scenario in enumerate(SCENARIOS):
        if _missing(scenario):
            print(_row(scenario.name, scenario.counted, "-", "-", f"left out: no {scenario.needs}"))
            continue
        found = []
        for folder, rounds, until in ((base / "plain", PLAIN_ROUNDS, True), (mount.mnt, 1, False)):
            fresh = folder / f"scenario{number}"
            fresh.mkdir(parents=True)
            found.append(run_scenario(scenario, fresh, base, rounds if scenario.plain_is_damaged else 1, until))
        plain, on_mount = found
        verdict = _judge(scenario, plain, on_mount)
        failed += verdict != "ok"
        counts = [f"{one.damage} of {one.of}" for one in found]
        print(_row(scenario.name, scenario.counted, counts[0], counts[1], verdict), flush=True)
    return failed


def main() -> int:
    """0: the plain directory showed the damage and the mount none."""
    start_s = time.monotonic()
    base = Path(tempfile.mkdtemp(prefix="lockfs-demo-"))
    try:
        with mounted(base) as mount:
            failed = _run_all(base, mount)
            stats = mount.stats()
        print(
            f"\n{stats['sessions']['commits']} commits, {stats['waits']['count']} waits, longest "
            f"{stats['waits']['longest_s']:.2f} s, {stats['appends']['records']} records appended; "
            f"the whole took {time.monotonic() - start_s:.0f} s"
        )
    finally:
        shutil.rmtree(base, ignore_errors=True)
    if failed:
        print(f"{failed} scenarios FAILED", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
