"""Mappings and running programs: what needs the kernel's page cache to be right."""

from __future__ import annotations

import mmap
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.support import programs
from tests.support.mounting import ROOT
from tests.support.targets import Place
from tests.support.waiting import wait_until
from tests.support.worker import Worker

NewWorker = Callable[..., Worker]


@pytest.mark.parametrize("name", ["data", "x.lock", "x.log"])
def test_private_and_shared_mappings(mount: Place, worker: NewWorker, name: str) -> None:
    path = mount.mnt / name
    path.write_bytes(b"a" * 10_000)
    one = worker()
    fd = one.open(path, "r+")
    private = one.do("map_open", fd, 10_000, True, True)
    shared = one.do("map_open", fd, 10_000, False, True)
    one.do("map_write", private, 0, b"PRIVATE")
    one.do("map_write", shared, 5_000, b"SHARED")
    assert one.do("map_read", private)[:7] == b"PRIVATE"
    one.do("map_close", private)
    one.do("map_close", shared)
    one.close(fd)
    expected = b"a" * 5_000 + b"SHARED" + b"a" * 4_994
    wait_until(lambda: path.read_bytes() == expected, what="the mapping in the file")


def test_mapping_outlives_its_descriptor(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"a" * mmap.PAGESIZE)
    one = worker()
    fd = one.open(path, "r+")
    key = one.do("map_open", fd, mmap.PAGESIZE, False, True)
    one.close(fd)
    one.do("map_write", key, 0, b"after the close")
    one.do("map_close", key)
    wait_until(lambda: path.read_bytes().startswith(b"after the close"), what="the mapping in the file")


_MAPPING_ONLY = """
import os, signal, sys
from tests.conformance import raw
fd = os.open(sys.argv[1], os.O_RDWR)
mapping = raw.Map(fd, raw.PAGE)
mapping.put(b"before the close")
os.close(fd)
mapping.put(b"HALF")
if sys.argv[2] == "synced":
    mapping.sync()
    mapping.put(b"half")
print("ready", flush=True)
if sys.argv[2] != "exits":
    signal.pause()
"""


@pytest.mark.parametrize("how", ["killed", "synced", "exits"])
def test_N1_a_writer_that_is_killed_with_only_a_mapping_left(mount: Place, how: str) -> None:
    """Its descriptor was closed before: no flush tells of its end. A normal exit commits."""
    path = mount.mnt / "f"
    path.write_bytes(b"a" * mmap.PAGESIZE)
    orphans = len(mount.orphans())
    command = [sys.executable, "-c", _MAPPING_ONLY, str(path), how]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        if how != "exits":
            process.kill()
    expected = b"HALF" if how == "exits" else b"aaaa"
    wait_until(lambda: mount.stats()["sessions"]["open"] == 0, 10.0, "the end of the session")
    assert path.read_bytes()[:4] == expected
    assert (len(mount.orphans()) > orphans) == (how != "exits")


def test_exec_of_a_script_and_a_binary(mount: Place) -> None:
    script = mount.mnt / "script"
    script.write_text("#!/bin/sh\necho from the script\n")
    script.chmod(0o755)
    assert programs.run(script).stdout == b"from the script\n"
    programs.run("cp", "/bin/echo", mount.mnt / "echo")
    assert programs.run(mount.mnt / "echo", "from the binary").stdout == b"from the binary\n"
    script.chmod(0o644)
    with pytest.raises(PermissionError):
        programs.run(script)


def test_running_binary_can_be_replaced(mount: Place) -> None:
    """A commit gives the path another file: no ETXTBSY, and the running program keeps its own."""
    program = mount.mnt / "sleep"
    programs.run("cp", "/bin/sleep", program)
    running = programs.start([program, "60"])
    try:
        programs.run("cp", "--remove-destination", "/bin/echo", program)
        assert programs.run(program, "new").stdout == b"new\n"
        assert running.poll() is None
    finally:
        programs.end_group(running)
