"""The child process that acts as one person: told over a pipe which run to carry out in which two directories.

It starts as root, loads the table, and gives its privileges up for good before it reads the first order.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import select
import signal
import subprocess
import sys
import traceback
from typing import IO, Any

from tests.conformance.acting import Act, Step
from tests.conformance.case import Case, Run
from tests.conformance.people import Person
from tests.support.mounting import ROOT

LIMIT_S = 40.0
"""A run that takes longer is stuck. Longer than any wait in a queue, so that one of those shows as its errno."""

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4


class Stuck(AssertionError):
    """The child did not answer."""


class Child:
    """The parent's side."""

    def __init__(self, person: Person) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from tests.conformance.runner import main; main()", person.name],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders: IO[bytes] = self._process.stdin
        self._answers: IO[bytes] = self._process.stdout

    def carry_out(self, run: Run, plain: bytes, mount: bytes) -> tuple[list[Step], list[Step]]:
        """The steps in both directories. AssertionError with the child's traceback if the case itself is wrong."""
        pickle.dump((run.case.name, run.rule, plain, mount), self._orders)
        self._orders.flush()
        ready, _, _ = select.select([self._answers], [], [], LIMIT_S)
        if not ready:
            self.end(by_force=True)
            raise Stuck(f"{run} did not end within {LIMIT_S:g} s")
        answer = pickle.load(self._answers)
        assert not isinstance(answer, str), f"the case itself failed:\n{answer}"
        both: tuple[list[Step], list[Step]] = answer
        return both

    def end(self, by_force: bool = False) -> None:
        """Close its orders; it exits."""
        if by_force:
            self._process.kill()
        self._orders.close()
        self._answers.close()
        self._process.wait(20)

    @property
    def alive(self) -> bool:
        """Whether it can take orders."""
        return self._process.poll() is None


def act_out(case: Case, rule: str, person: Person, folder: bytes, different: bool) -> list[Step]:
    """Carry a case out in one directory, and leave nothing open or changed in this process."""
    run = Run(case, rule, person)
    os.chdir(folder)
    act = Act(*run.names, person, different)
    before = _descriptors()
    old_umask = os.umask(0o022)
    try:
        case.function(act)
    finally:
        for fd in sorted(_descriptors() - before):
            os.close(fd)
        os.umask(old_umask)
        os.chdir("/")
    return act.steps


def _descriptors() -> set[int]:
    listed = [int(name) for name in os.listdir("/proc/self/fd")]
    return {fd for fd in listed if os.path.lexists(f"/proc/self/fd/{fd}")}  # without the listing's own


def become(person: Person) -> None:
    """Give up root for good, without losing /proc/self to root."""
    if not person.is_me or os.getgroups() != list(person.groups):
        os.setgroups(person.groups)
        os.setresgid(person.gid, person.gid, person.gid)
        os.setresuid(person.uid, person.uid, person.uid)
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_DUMPABLE, 1)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """The child's side."""
    from tests.conformance.case import load
    from tests.conformance.people import EVERYBODY

    cases = load()
    [person] = [one for one in EVERYBODY if one.name == sys.argv[1]]
    become(person)
    orders, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a case that prints does not disturb the answers
    while True:
        try:
            name, rule, plain, mount = pickle.load(orders)
        except EOFError:
            return
        answer: Any
        try:
            answer = tuple(
                act_out(cases[name], rule, person, folder, different)
                for folder, different in ((plain, False), (mount, True))
            )
        except Exception:
            answer = traceback.format_exc()
        pickle.dump(answer, answers)
        answers.flush()
