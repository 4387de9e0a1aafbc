"""Where the two directories of a run do not agree, and which of that is promised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.conformance.acting import Step
from tests.conformance.case import Run


@dataclass(frozen=True)
class Mismatch:
    """One place with what was found there."""

    place: str
    plain: Any
    mount: Any

    def __str__(self) -> str:
        return f"  {self.place}\n    plain: {self.plain!r}\n    mount: {self.mount!r}"


def steps_apart(plain: Sequence[Step], mount: Sequence[Step]) -> list[Mismatch]:
    """Calls whose outcomes differ. Each is named by how it reads; a second one that reads the same gets #2."""
    found: list[Mismatch] = []
    seen: dict[str, int] = {}
    for one, two in zip(plain, mount, strict=False):
        if one.call != two.call:
            return [*found, Mismatch("the course of the calls", one, two)]
        seen[one.call] = number = seen.get(one.call, 0) + 1
        place = one.call if number == 1 else f"{one.call} #{number}"
        if one.outcome == two.outcome:
            continue
        if isinstance(one.outcome, dict) and isinstance(two.outcome, dict):
            keys = sorted(one.outcome.keys() | two.outcome.keys())
            pairs = [(f"{place} {key}", one.outcome.get(key), two.outcome.get(key)) for key in keys]
            found += [Mismatch(*pair) for pair in pairs if pair[1] != pair[2]]
        else:
            found.append(Mismatch(place, one.outcome, two.outcome))
    if len(plain) != len(mount):
        found.append(Mismatch("the number of calls", len(plain), len(mount)))
    return found


def trees_apart(title: str, plain: dict[str, Any], mount: dict[str, Any]) -> list[Mismatch]:
    """Fields of entries that differ."""
    names = sorted(name for name in plain.keys() | mount.keys() if plain.get(name) != mount.get(name))
    return [Mismatch(f"{title}: {name}", plain.get(name), mount.get(name)) for name in names]


def verdict(run: Run, mismatches: Sequence[Mismatch]) -> str:
    """What is wrong with a run: differences that nothing allows, and allowed ones that did not occur; or nothing."""
    expected = [difference for difference in run.case.differs if difference.is_for(run)]
    surprising = [one for one in mismatches if not any(difference.covers(one.place) for difference in expected)]
    lines = [str(one) for one in surprising]
    for difference in expected:
        for pattern in difference.places:
            alone = type(difference)(difference.named, (pattern,))
            if not any(alone.covers(one.place) for one in mismatches):
                lines.append(f"  stale: {difference.named.name!r} did not occur at {pattern!r}")
    return "\n".join(lines)
