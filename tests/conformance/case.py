"""The table of cases, and how to write one.

A case is a function in a module of `cases/` with a decorator. Root makes the entries; then the function acts in a
child process, as each of the people given, once in a plain directory and once on the mount. What is compared: the
outcome of every call (value, or errno), the whole tree afterwards (contents, all status fields; times that the case
did not touch stay those of 2001), and the backing directory behind the mount.

    @case(File("{x}", 0o4755), Dir("d", 0o700), each=ALL_RULES, people=(OWNER, OTHER))
    def chown_clears_setuid(act: Act) -> None:
        \"""What it is about, in a line, with the page of the manual if that is not plain.\"""
        act.chown(act.x, -1, STAFF)
        fd = act.open(act.x, os.O_RDWR | os.O_TRUNC)
        with act.times(act.x, "."):
            act.ftruncate(fd, 3)

- Every method of `act` is a function of `calls.py` or of `os`; it is compared, and a failure does not end the case.
  `act.call("flock", fcntl.flock, fd, LOCK_EX)` does the same for any function that raises OSError; `act.note(label,
  value)` compares a value. Only plain values that do not differ between directories may be noted (no inode numbers).
- Paths are relative to the case's own directory (0777, root's; Dir(".", ...) changes that). `{x}` in entries, and
  `act.x` in the function, is the file under test: "x" (protected), and with each=ALL_RULES also "x.lock" (shared) and
  "x.log" (live), each a run of its own. `{y}`, `act.y` likewise, for a second file under the same rule.
- Times are compared as relations: `with act.times(path, ...)` notes which of a, m, c the calls within change.
- Descriptors that are left open are closed after the case. Children of the case's process must have ended by then.
- Where a promise requires a difference: `differs=[COMMIT_IS_A_RENAME.at("times", rules=[PROTECTED])]`. Its name stands
  in `named.py`, with the promise. The patterns (fnmatch) match what the report of the failure calls the place; each
  must match something in every run that it is for, or the case fails as stale.
- The fast run has the owner and somebody else for protected files, and one of them for each other rule.
- More calls in one case cost less than more cases. Independent ones may share a case, if the function's line says what
  they are about; a failure names the call.

`python -m tests.conformance` lists all cases and differences.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tests.conformance.acting import Act
from tests.conformance.entries import Entry, File
from tests.conformance.named import Named
from tests.conformance.people import AS_ROOT, EVERYBODY, OTHER, OWNER, Person

PROTECTED, SHARED, LIVE = "", ".lock", ".log"
"""What follows the names x and y, so that the rule holds."""
ALL_RULES = (PROTECTED, SHARED, LIVE)
RULE_NAMES = {PROTECTED: "protected", SHARED: "shared", LIVE: "live"}

CASES: dict[str, Case] = {}


@dataclass(frozen=True)
class Difference:
    """A named difference at places (fnmatch patterns) of one case, for some of its runs or all."""

    named: Named
    places: tuple[str, ...]
    rules: Sequence[str] | None = None
    people: Sequence[Person] | None = None

    def is_for(self, run: Run) -> bool:
        """Whether this run must show it."""
        return (self.rules is None or run.rule in self.rules) and (self.people is None or run.person in self.people)

    def covers(self, place: str) -> bool:
        """Whether this place may differ."""
        return any(fnmatchcase(place, pattern) for pattern in self.places)


def differs(
    named: Named, *places: str, rules: Sequence[str] | None = None, people: Sequence[Person] | None = None
) -> Difference:
    """A difference that a promise requires, at these places, of the runs with these rules and people."""
    return Difference(named, places, rules, people)


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    function: Callable[[Act], None]
    entries: tuple[Entry, ...]
    each: tuple[str, ...]
    people: tuple[Person, ...]
    differs: tuple[Difference, ...]

    def runs(self) -> list[Run]:
        """Every rule with every person."""
        return [Run(self, rule, person) for rule in self.each for person in self.people]


@dataclass(frozen=True)
class Run:
    """A case, for one rule, by one person."""

    case: Case
    rule: str
    person: Person

    @property
    def names(self) -> tuple[str, str]:
        """The files under test."""
        return "x" + self.rule, "y" + self.rule

    @property
    def needs_root(self) -> bool:
        """Whether only root can set it up and act it."""
        foreign = any(entry.owner not in (None, OWNER) or _other_group(entry) for entry in self.case.entries)
        return foreign or self.person is not OWNER

    @property
    def is_repetition(self) -> bool:
        """Left to the thorough run: permissions hardly depend on the rule, nor what a rule does on the person."""
        if self.rule != PROTECTED and PROTECTED in self.case.each:
            return True
        representative = (OWNER, OTHER)
        among = [person for person in representative if person in self.case.people] or self.case.people[:1]
        return self.person not in among

    def __str__(self) -> str:
        rule = RULE_NAMES[self.rule] + "-" if len(self.case.each) > 1 else ""
        return f"{self.case.name}-{rule}{self.person.name}"


def _other_group(entry: Entry) -> bool:
    return isinstance(entry, File) and entry.gid not in (None, OWNER.gid)


def case(
    *entries: Entry,
    each: tuple[str, ...] = (PROTECTED,),
    people: tuple[Person, ...] = EVERYBODY,
    differs: Sequence[Difference] = (),
) -> Callable[[Callable[[Act], None]], Callable[[Act], None]]:
    """Put a function into the table. See the top of this file."""

    def register(function: Callable[[Act], None]) -> Callable[[Act], None]:
        name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
        assert name not in CASES, f"{name} is there twice"
        CASES[name] = Case(name, function, entries, each, people, tuple(differs))
        return function

    return register


def load() -> dict[str, Case]:
    """All cases of all modules in `cases/`."""
    package = importlib.import_module("tests.conformance.cases")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return CASES


def all_runs() -> list[Run]:
    """The whole table, person by person, so that each has its process only once; without root only what it allows."""
    runs = [run for one in load().values() for run in one.runs()]
    if not AS_ROOT:
        runs = [run for run in runs if not run.needs_root]
    return runs
