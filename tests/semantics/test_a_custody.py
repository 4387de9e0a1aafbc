"""A6, Q3: an append that waits for a stranger's session holds nobody else up; what it brought is in custody."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from tests.conftest import Mounter
from tests.support.targets import Place
from tests.support.waiting import wait_until
from tests.support.worker import Worker

NewWorker = Callable[..., Worker]


def test_A6_family_appends_at_once_though_a_stranger_waits_to(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"old\n")
    holder, stranger = worker(), worker()
    append = holder.open(path, "a")
    foreign = stranger.open(path, "a")
    pen = holder.open(path, "r+")
    start_s = time.monotonic()
    stranger.write(foreign, b"stranger\n")  # in custody: the holder's family may want to append
    holder.write(append, b"family\n")
    holder.close(append)
    assert time.monotonic() - start_s < 2
    assert path.read_bytes() == b"old\n"
    holder.close(pen)
    wait_until(lambda: path.read_bytes() == b"old\nfamily\nstranger\n", what="the record in custody came home")
    stranger.close(foreign)


@pytest.mark.parametrize("which", [1, 2])
def test_Q3_any_of_several_waiting_appenders_can_be_killed(mount: Place, worker: NewWorker, which: int) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"old\n")
    holder = worker()
    appenders = [worker() for _ in range(3)]
    fds = [one.open(path, "a") for one in appenders]
    pen = holder.open(path, "w")
    writes = []
    for number, (one, fd) in enumerate(zip(appenders, fds, strict=True)):
        writes.append(one.begin("write", fd, b"%d\n" % number))
        if number == 0:
            mount.wait_for_waiters(one.pid)
    start_s = time.monotonic()
    appenders[which].kill(signal.SIGKILL)
    appenders[which].wait()
    assert time.monotonic() - start_s < 2
    holder.close(pen)
    for number, write in enumerate(writes):
        if number != which:
            write.result()
    others = {b"%d" % number for number in range(3) if number != which}
    # The killed one's write was accepted or was not; all others are there, once.
    wait_until(lambda: set(path.read_bytes().split()) >= others, what="the others' records")
    lines = path.read_bytes().split()
    assert len(lines) == len(set(lines))


@pytest.mark.slow
def test_N7_records_in_custody_are_kept_when_the_mount_stops(mount_with: Mounter, worker: NewWorker) -> None:
    with mount_with() as mount:
        path = mount.mnt / "f"
        path.write_bytes(b"old\n")
        holder, stranger = worker(), worker()
        append = holder.open(path, "a")
        foreign = stranger.open(path, "a")
        holder.open(path, "w")
        stranger.begin("write", foreign, b"stranger\n").result()
        holder.fstat(append)
        mount.terminate()
        assert mount.wait() == 0
        kept = [orphan.read_bytes() for orphan in mount.orphans() if orphan.suffix == ".data"]
        assert b"stranger\n" in kept
        assert (mount.source / "f").read_bytes() == b"old\n"


def test_A6_closed_tail_waits_for_the_session_after_its_program_has_gone(mount: Place, worker: NewWorker) -> None:
    """The program has a child, so that its tail ends with the last close, which nobody waits for."""
    path = mount.mnt / "f"
    path.write_bytes(b"old\n")
    holder, appender = worker(), worker()
    fd = appender.open(path, "a")
    pen = holder.open(path, "w")
    appender.write(fd, b"unfinished")
    appender.do("fork_holding", fd, 0.2)
    appender.close(fd)
    appender.exit(0)
    mount.wait_for_waiters(appender.pid)
    holder.write(pen, b"new\n")
    holder.close(pen)
    wait_until(lambda: path.read_bytes() == b"new\nunfinished", what="the tail in the new version")
