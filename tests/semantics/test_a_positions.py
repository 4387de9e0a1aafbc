"""W1, A2, A6, Q7: appenders that take O_APPEND back (fcntl(2), F_SETFL), beside other processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.targets import Place
from tests.support.worker import Worker

NewWorker = Callable[..., Worker]


def appender_without_append(one: Worker, path: Path) -> int:
    """A descriptor that was opened to append, and has lost the flag."""
    fd = one.open(path, "a+")
    one.do("set_flags", fd, 0)
    return fd


@pytest.mark.parametrize("name", ["f", "x.log"])
def test_Q7_a_write_in_place_waits_briefly_for_the_pen(mount: Place, worker: NewWorker, name: str) -> None:
    path = mount.mnt / name
    path.write_bytes(b"0123456789\n")
    one, two = worker(), worker()
    appender = appender_without_append(one, path)
    writer = two.open(path, "r+")
    two.write(writer, b"WRITER")
    assert one.begin("pwrite", appender, b"!", 0).error() == "EBUSY"
    two.close(writer)
    assert one.do("pwrite", appender, b"!", 0) == 1
    assert path.read_bytes() == b"!RITER6789\n"


def test_W2_a_write_in_place_makes_a_version_of_its_own(mount: Place, worker: NewWorker) -> None:
    """Who has the file open goes on reading the version that it opened; a new open sees the change at once."""
    path = mount.mnt / "f"
    path.write_bytes(b"0123456789\n")
    one, two = worker(), worker()
    appender, reader = appender_without_append(one, path), two.open(path, "r")
    one.do("pwrite", appender, b"PLACE", 2)
    assert two.do("pread", reader, 20, 0) == b"0123456789\n"
    assert two.read_file(path) == b"01PLACE789\n"
    assert one.do("pread", appender, 20, 0) == b"01PLACE789\n"


@pytest.mark.parametrize("name", ["f", "x.log"])
def test_A2_other_appenders_keep_their_records(mount: Place, worker: NewWorker, name: str) -> None:
    """Their records go behind what stands, whatever was written in place meanwhile; held tails stay whole."""
    path = mount.mnt / name
    path.write_bytes(b"0123456789\n")
    one, two = worker(), worker()
    odd, even = appender_without_append(one, path), two.open(path, "a")
    two.write(even, b"first\nsecond, half ")
    one.do("pwrite", odd, b"XX", 4)
    two.write(even, b"and half\n")
    one.do("pwrite", odd, b"YY", 0)
    one.do("set_flags", odd, os.O_APPEND)
    one.write(odd, b"third\n")
    two.write(even, b"fourth\n")
    for process, fd in ((one, odd), (two, even)):
        process.close(fd)
    assert path.read_bytes() == b"YY23XX6789\nfirst\nsecond, half and half\nthird\nfourth\n"


def test_A2_appenders_with_the_flag_are_never_taken_for_others(mount: Place, worker: NewWorker) -> None:
    """Their requests come for an old end after the file was made shorter (A6): they append all the same."""
    path = mount.mnt / "f"
    one, two = worker(), worker()
    fd = one.open(path, "a")
    for number in range(50):
        one.write(fd, b"record %d of the old file\n" % number)
    two.write_file(path, b"new\n")
    one.write(fd, b"after\n")
    two.write_file(path, b"a much longer file than it was before\n" * 100)
    one.write(fd, b"again\n")
    assert path.read_bytes() == b"a much longer file than it was before\n" * 100 + b"again\n"
