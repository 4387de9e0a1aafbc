"""execve(2) of files: binaries, scripts, open for writing (ETXTBSY), while they run."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import partial

from tests.conformance import raw
from tests.conformance.acting import Act
from tests.conformance.case import ALL_RULES, LIVE, PROTECTED, case, differs
from tests.conformance.named import APPENDERS_INODE
from tests.conformance.people import OTHER, ROOT

BOTH = (ROOT, OTHER)
HOW = {
    "write": os.O_WRONLY,
    "both": os.O_RDWR,
    "truncate": os.O_WRONLY | os.O_TRUNC,
    "append": os.O_WRONLY | os.O_APPEND,
}


def program(path: str, original: str = "/bin/true") -> None:
    """Put a program there."""
    shutil.copyfile(original, path)
    os.chmod(path, 0o755)


def run(path: str, *args: str) -> int:
    """Its exit status. Raises what execve(2) does."""
    return subprocess.call([os.path.abspath(path), *args], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


@case(each=ALL_RULES, people=BOTH)
def binaries_and_scripts(act: Act) -> None:
    """What runs, and the errno of what does not."""
    program(act.x)
    act.call("binary", partial(run, act.x))
    for name, data, mode in (
        ("script", b"#!/bin/sh\nexit $#\n", 0o755),
        ("no interpreter", b"#! ./none\n", 0o755),
        ("not executable", b"#!/bin/sh\n", 0o644),
        ("garbage", b"garbage", 0o755),
        ("empty", b"", 0o755),
        ("not readable", b"#!/bin/sh\nexit 3\n", 0o111),
        ("for others", b"#!/bin/sh\nexit 3\n", 0o611),
    ):
        if os.path.exists(act.x):
            os.unlink(act.x)
        raw.write_file(act.x, data, mode)
        act.call(name, partial(run, act.x, "one", "two"))
    os.unlink(act.x)
    program(act.x)
    fd = act.open(act.x, os.O_RDONLY)
    act.call("by descriptor", partial(raw.in_child, partial(os.execve, fd, ["x"], {})))
    os.mkdir("d")
    act.call("directory", partial(run, "d"))


@case(each=ALL_RULES, people=BOTH, differs=[differs(APPENDERS_INODE, "append*", rules=[PROTECTED, LIVE])])
def open_for_writing(act: Act) -> None:
    """ETXTBSY of what somebody has open for writing, by the writer's own family; afterwards it runs."""
    for how, flags in HOW.items():
        program(act.x)
        fd = act.open(act.x, flags)
        act.call(how, partial(run, act.x))
        act.close(fd)
        act.call("closed", lambda: "runs" if run(act.x) >= 0 else "") if how != "truncate" else None
    raw.write_file(act.x, b"#!/bin/sh\nexit 3\n", 0o755)
    fd = act.open(act.x, os.O_WRONLY)
    act.call("a script that is open for writing", partial(run, act.x))


@case(each=ALL_RULES, people=BOTH)
def writing_to_what_runs(act: Act) -> None:
    """ETXTBSY of opens and truncations; chmod, rename over it and unlink work, and it runs on."""
    program(act.x, "/bin/sleep")
    running = subprocess.Popen([os.path.abspath(act.x), "60"])
    try:
        for flags in (*HOW.values(), os.O_RDONLY):
            fd = act.open(act.x, flags)
            if fd >= 0:
                act.close(fd)
        act.truncate(act.x, 3)
        act.chmod(act.x, 0o700)
        program("new")
        act.rename("new", act.x)
        act.call("new", partial(run, act.x))
        act.unlink(act.x)
        act.note("still runs", running.poll())
    finally:
        running.kill()
        running.wait()
