"""Carries runs out: root's set-up in both directories, the person's calls, and the comparison."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import ClassVar

from tests.conformance.acting import observe
from tests.conformance.case import Run, all_runs, load
from tests.conformance.comparing import Mismatch, steps_apart, trees_apart, verdict
from tests.conformance.entries import set_up
from tests.conformance.named import NAMED
from tests.conformance.people import Person
from tests.conformance.runner import Child


def counted() -> str:
    """How many cases, runs and named differences there are."""
    cases = load()
    return f"{len(cases)} cases, {len(all_runs())} runs, {len(NAMED)} named differences"


class Table:
    """A plain directory, a mount and what is behind it, with one process for each person."""

    carried_out: ClassVar[int] = 0

    def __init__(self, plain: Path, mount: Path, source: Path) -> None:
        self._plain, self._mount, self._source = plain, mount, source
        self._children: dict[Person, Child] = {}
        self._numbers = itertools.count(1)

    def check(self, run: Run) -> None:
        """AssertionError with every place where the two do not agree."""
        problems = verdict(run, self.mismatches(run))
        assert not problems, f"{run}:\n{problems}"

    def mismatches(self, run: Run) -> list[Mismatch]:
        """Carry it out in two new directories."""
        name = f"{next(self._numbers)}"
        plain, mount, source = (os.fsencode(base / name) for base in (self._plain, self._mount, self._source))
        for folder in (plain, mount):
            set_up(folder, run.case.entries, *run.names)
        ours, theirs = self._child(run.person).carry_out(run, plain, mount)
        Table.carried_out += 1
        there, here = observe(plain), observe(mount)
        return [
            *steps_apart(ours, theirs),
            *trees_apart("tree", there, here),
            *trees_apart("behind the mount", here, observe(source)),
        ]

    def _child(self, person: Person) -> Child:
        child = self._children.get(person)
        if child is None or not child.alive:
            child = self._children[person] = Child(person)
        return child

    def close(self) -> None:
        """End the people's processes."""
        for child in self._children.values():
            if child.alive:
                child.end()
