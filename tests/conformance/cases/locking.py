"""flock(2), fcntl(2) locks of processes and of open file descriptions, leases, F_NOTIFY."""

from __future__ import annotations

import fcntl
import os
from functools import partial

from tests.conformance import raw
from tests.conformance.acting import Act
from tests.conformance.case import ALL_RULES, LIVE, PROTECTED, SHARED, case, differs
from tests.conformance.named import LOCKS_OF_ONE_VERSION
from tests.conformance.people import OTHER, ROOT

BOTH = (ROOT, OTHER)
HOW = {"reader": os.O_RDONLY, "writer": os.O_RDWR, "appender": os.O_WRONLY | os.O_APPEND}


def lock_kind(how: str) -> int:
    """What a descriptor may lock."""
    return fcntl.F_RDLCK if how == "reader" else fcntl.F_WRLCK


@case(each=ALL_RULES, people=BOTH)
def locks_of_one_process(act: Act) -> None:
    """Every kind of lock, on one descriptor and on two, and what close(2) and dup(2) do to them."""
    raw.write_file(act.x, b"x" * 100)
    for how, flags in (HOW | {"write only": os.O_WRONLY}).items():
        act.note("opened for", how)
        fd = act.open(act.x, flags)
        for operation in (fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_UN, 99):
            act.call(f"flock {operation}", partial(fcntl.flock, fd, operation))
        for kind in (fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK):
            act.call(f"lock {kind}", partial(raw.lock, fd, kind, 5, 10))
            act.call(f"lock of the description {kind}", partial(raw.lock, fd, kind, 30, 5, raw.F_OFD_SETLK))
        act.call("lock, odd range", partial(raw.lock, fd, lock_kind(how), -5, 2))
        second = act.open(act.x, flags)
        act.call("flock by the first", partial(fcntl.flock, fd, fcntl.LOCK_EX | fcntl.LOCK_NB))
        act.call("flock by the second", partial(fcntl.flock, second, fcntl.LOCK_EX | fcntl.LOCK_NB))
        act.call("shared by the second", partial(fcntl.flock, second, fcntl.LOCK_SH | fcntl.LOCK_NB))
        act.call("by the first", partial(raw.lock, fd, lock_kind(how), 0, 9, raw.F_OFD_SETLK))
        act.call("by the second", partial(raw.lock, second, lock_kind(how), 0, 9, raw.F_OFD_SETLK))
        act.call("seen by the second", partial(raw.lock, second, lock_kind(how), 0, 9, raw.F_OFD_GETLK))
        double = act.dup(fd)
        act.close(fd)
        act.call("after the close, of a double", partial(fcntl.flock, second, fcntl.LOCK_EX | fcntl.LOCK_NB))
        act.close(double)
        act.call("after the last close", partial(fcntl.flock, second, fcntl.LOCK_EX | fcntl.LOCK_NB))
        act.close(second)


@case(
    each=ALL_RULES,
    people=BOTH,
    differs=[
        differs(LOCKS_OF_ONE_VERSION, "reader, writer*", "reader, appender*", "appender, reader*", rules=[PROTECTED]),
        differs(LOCKS_OF_ONE_VERSION, "appender, writer*", "writer, appender*", rules=[LIVE]),
        differs(LOCKS_OF_ONE_VERSION, "reader, appender*", "appender, reader*", rules=[LIVE]),
        differs(LOCKS_OF_ONE_VERSION, "appender, writer*", rules=[PROTECTED]),
    ],
)
def locks_between_processes(act: Act) -> None:
    """What a child gets of a file that its parent has locked, by each kind of descriptor."""
    raw.write_file(act.x, b"x" * 100)
    for mine, theirs in ((mine, theirs) for mine in HOW for theirs in HOW):
        fd = os.open(act.x, HOW[mine])

        def tries(theirs: str = theirs) -> list[object]:
            other = os.open(act.x, HOW[theirs])
            kind = lock_kind(theirs)
            return [
                attempt(lambda: fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)),
                attempt(lambda: raw.lock(other, kind, 0, 10)),
                attempt(lambda: raw.lock(other, kind, 20, 10, raw.F_OFD_SETLK)),
                raw.lock(other, fcntl.F_WRLCK, 40, 10, raw.F_OFD_GETLK)[0],
            ]

        label = f"{mine}, {theirs}"
        fcntl.flock(fd, fcntl.LOCK_EX)
        act.call(f"{label}, flock", partial(raw.in_child, tries))
        fcntl.flock(fd, fcntl.LOCK_UN)
        raw.lock(fd, lock_kind(mine))
        act.call(f"{label}, lock", partial(raw.in_child, tries))
        raw.lock(fd, fcntl.F_UNLCK)
        raw.lock(fd, lock_kind(mine), command=raw.F_OFD_SETLK)
        act.call(f"{label}, lock of the description", partial(raw.in_child, tries))
        os.close(fd)


def attempt(function: object) -> str:
    """Got, or not."""
    assert callable(function)
    try:
        function()
    except BlockingIOError:
        return "taken"
    return "got"


@case(each=(SHARED, LIVE), people=BOTH)
def waiting_for_a_lock(act: Act) -> None:
    """A child waits for its parent's lock, and gets it."""
    raw.write_file(act.x, b"x" * 100)
    for lock in (fcntl.flock, fcntl.lockf):
        fd = os.open(act.x, os.O_RDWR)
        lock(fd, fcntl.LOCK_EX)
        ready, go = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                other = os.open(act.x, os.O_RDWR)
                os.write(go, b".")
                lock(other, fcntl.LOCK_EX)
                os._exit(7)
            finally:
                os._exit(99)
        os.read(ready, 1)
        lock(fd, fcntl.LOCK_UN)
        act.note("the child", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        os.close(fd)


@case(each=ALL_RULES, people=BOTH)
def leases_and_notes(act: Act) -> None:
    """F_SETLEASE, F_NOTIFY (of files: ENOTDIR), F_SETPIPE_SZ, seals and hints."""
    raw.write_file(act.x, b"x")
    for how, flags in (HOW | {"write only": os.O_WRONLY}).items():
        fd = act.open(act.x, flags)
        for kind in (fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK):
            act.call(f"{how}, lease {kind}", partial(fcntl.fcntl, fd, fcntl.F_SETLEASE, kind))
            act.call(f"{how}, lease now", partial(fcntl.fcntl, fd, fcntl.F_GETLEASE))
        for what in (1, 2, 4, 8, 16, 32, 0):
            act.call(f"F_NOTIFY {what}", partial(fcntl.fcntl, fd, fcntl.F_NOTIFY, what))
        for command in (1032, 1033, 1034, 1035):
            act.call(f"fcntl {command}", partial(fcntl.fcntl, fd, command, bytes(8) if command == 1035 else 0))
        act.close(fd)
    directory = act.open(".", os.O_RDONLY)
    act.call("lease of a directory", partial(fcntl.fcntl, directory, fcntl.F_SETLEASE, fcntl.F_WRLCK))
