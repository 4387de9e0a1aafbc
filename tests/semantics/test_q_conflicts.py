"""Q1 errnos, Q2 a waiter costs nobody else anything, Q5 fairness, Q7 renames over a held path."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Mounter
from tests.support.rename import RENAME_EXCHANGE, renameat2
from tests.support.targets import Place
from tests.support.waiting import stays, wait_until
from tests.support.worker import Pending, Worker

NewWorker = Callable[..., Worker]
AT_ONCE_S = 1.0
"""What "at once" may take on a busy machine; the queue's own time-out is 30 s."""


def at_once(pending: Pending) -> str | None:
    """The errno's name of a command that must be answered at once."""
    assert pending.answer(5.0)["took_s"] < AT_ONCE_S
    return pending.error()


@pytest.mark.parametrize("exists", [True, False])
def test_Q1_refuse_answers_EBUSY_at_once(mount_with: Mounter, worker: NewWorker, exists: bool) -> None:
    with mount_with("--on-conflict", "refuse") as mount:
        path = mount.mnt / "f"
        if exists:
            path.write_bytes(b"old")
        holder, other = worker(), worker()
        fd = holder.open(path, "w")
        for mode in ("w", "w+", "rw", "a", *(["r+"] if exists else [])):
            assert at_once(other.begin_open(path, mode)) == "EBUSY", mode
        assert at_once(other.begin_open(path, "w", os.O_NONBLOCK)) == "EAGAIN"
        holder.write(fd, b"new")
        holder.close(fd)
        other.close(other.open(path, "r+"))
        assert path.read_bytes() == b"new"
        assert mount.stats()["refusals"] >= 4


def test_Q1_queue_answers_ETIMEDOUT_after_the_timeout(mount_with: Mounter, worker: NewWorker) -> None:
    with mount_with("--on-conflict", "queue", "--queue-timeout", "0.7") as mount:
        path = mount.mnt / "f"
        path.write_bytes(b"old")
        holder, *others = (worker() for _ in range(4))
        fd = holder.open(path, "w")
        waits = [other.begin_open(path, mode) for other, mode in zip(others, ("w", "r+", "a"), strict=True)]
        for wait in waits:
            assert wait.error(5.0) == "ETIMEDOUT"
            assert 0.6 <= wait.answer()["took_s"] < 3.0
        assert mount.stats()["timeouts"] == 3
        assert mount.stats()["waits"]["now"] == 0
        holder.write(fd, b"new")
        holder.close(fd)
        assert path.read_bytes() == b"new"
        others[0].write_file(path, b"later")
        assert path.read_bytes() == b"later"


@pytest.mark.parametrize("exists", [True, False])
def test_Q1_nonblocking_open_answers_EAGAIN_at_once(mount: Place, worker: NewWorker, exists: bool) -> None:
    path = mount.mnt / "f"
    if exists:
        path.write_bytes(b"old")
    holder, other = worker(), worker()
    fd = holder.open(path, "w")
    for mode in ("w", "w+", "rw", "a", *(["r+"] if exists else [])):
        assert at_once(other.begin_open(path, mode, os.O_NONBLOCK)) == "EAGAIN", mode
    holder.close(fd)
    other.close(other.open(path, "w", os.O_NONBLOCK))


def test_Q1_readers_never_wait_and_never_make_anybody_wait(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"old")
    reader, writer = worker(), worker()
    reader.open(path, "r")
    fd = writer.begin_open(path, "w").result(AT_ONCE_S * 5)
    assert at_once(reader.begin("read_file", path)) is None
    writer.close(fd)
    assert mount.mount.waiting(writer.pid) is False


def test_Q2_other_operations_go_on_while_some_wait(mount: Place, worker: NewWorker) -> None:
    held, fresh, grown = mount.mnt / "held", mount.mnt / "fresh", mount.mnt / "grown"
    held.write_bytes(b"old")
    grown.write_bytes(b"1\n")
    holder, other = worker(), worker()
    appender = worker()
    log = appender.open(grown, "a")
    fds = [holder.open(path, "w") for path in (held, fresh, grown)]
    waiters = [worker() for _ in range(4)]
    waits = [
        waiters[0].begin_open(held, "w"),
        waiters[1].begin_open(fresh, "w"),
        waiters[2].begin_open(held, "a"),
        waiters[3].begin_open(grown, "r+"),
    ]
    mount.wait_for_waiters(*(waiter.pid for waiter in waiters))
    record = appender.begin("write", log, b"2\n")
    mount.wait_for_waiters(appender.pid)
    for command in (
        ("listdir", mount.mnt),
        ("stat", held),
        ("read_file", held),
        ("write_file", mount.mnt / "g", b"g"),
        ("rename", mount.mnt / "g", mount.mnt / "h"),
        ("link", mount.mnt / "h", mount.mnt / "i"),
        ("unlink", mount.mnt / "h"),
        ("mkdir", mount.mnt / "d"),
        ("rename", mount.mnt / "i", mount.mnt / "d" / "i"),
        ("chmod", held, 0o600),
        ("statvfs", mount.mnt),
        ("read_file", grown),
    ):
        assert at_once(other.begin(*command)) is None, command
    assert not any(wait.done for wait in waits)
    assert not record.done
    for fd in fds:
        holder.close(fd)
    # One by one, since two wait for the same file.
    left = list(zip(waiters, waits, strict=True))
    while left:
        wait_until(lambda: any(wait.done for _, wait in left), what="the next waiter's turn")
        for waiter, wait in [pair for pair in left if pair[1].done]:
            waiter.close(wait.result())
            left.remove((waiter, wait))
    record.result()


def test_Q5_first_come_first_served(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    holder = worker()
    fd = holder.open(path, "w")
    waiters = [worker() for _ in range(6)]
    waits = []
    for number, waiter in enumerate(waiters):
        waits.append(waiter.begin_open(path, "w" if number % 2 else "rw"))
        mount.wait_for_waiters(waiter.pid)
    holder.close(fd)
    for number, (waiter, wait) in enumerate(zip(waiters, waits, strict=True)):
        mine = wait.result()
        later = waits[number + 1 :]
        assert not any(other.done for other in later), f"{number} was overtaken"
        waiter.write(mine, b"%d" % number)
        waiter.close(mine)


def test_Q5_appenders_that_may_share_wait_as_one(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    holder, one, two = worker(), worker(), worker()
    fd = holder.open(path, "w")
    waits = [one.begin_open(path, "a"), two.begin_open(path, "a")]
    mount.wait_for_waiters(one.pid, two.pid)
    assert not any(wait.done for wait in waits)
    holder.close(fd)
    for who, wait in zip((one, two), waits, strict=True):
        who.write(wait.result(), b"record\n")
    assert path.read_bytes() == b"record\nrecord\n"


def test_Q5_many_short_writers_all_get_their_turn(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    workers = [worker() for _ in range(8)]
    pendings = [(one, one.begin("write_file", path, b"%d " % one.pid * 100)) for one in workers for _ in range(20)]
    for _, pending in pendings:
        pending.result()
    last = path.read_bytes()
    assert last in [b"%d " % one.pid * 100 for one in workers]


def _rename_over(worker: Worker, source: Path, target: Path) -> Pending:
    source.write_bytes(b"renamed")
    return worker.begin("rename", source, target)


def test_Q7_rename_over_a_held_path_waits_briefly_then_EBUSY(mount: Place, worker: NewWorker) -> None:
    path, other = mount.mnt / "f", mount.mnt / "other"
    path.write_bytes(b"old")
    holder, stranger = worker(), worker()
    fd = holder.open(path, "w")
    holder.write(fd, b"from the holder")
    pending = _rename_over(stranger, other, path)
    assert pending.error() == "EBUSY"
    assert 0.15 <= pending.answer()["took_s"] < 2.0
    assert (path.read_bytes(), other.read_bytes()) == (b"old", b"renamed")
    holder.close(fd)
    assert path.read_bytes() == b"from the holder"
    stranger.do("rename", other, path)
    assert path.read_bytes() == b"renamed"


def test_Q7_rename_over_an_uncommitted_new_file(mount: Place, worker: NewWorker) -> None:
    path, other = mount.mnt / "f", mount.mnt / "other"
    holder, stranger = worker(), worker()
    fd = holder.open(path, "w")
    holder.write(fd, b"from the holder")
    assert _rename_over(stranger, other, path).error() == "EBUSY"
    holder.close(fd)
    assert path.read_bytes() == b"from the holder"
    assert other.read_bytes() == b"renamed"


def test_Q7_truncate_by_path_of_a_held_file_does_not_hang(mount_with: Mounter, worker: NewWorker) -> None:
    with mount_with("--on-conflict", "refuse") as mount:
        path = mount.mnt / "f"
        path.write_bytes(b"old")
        holder, stranger = worker(), worker()
        fd = holder.open(path, "r+")
        pending = stranger.begin("truncate", path, 1)
        assert pending.error() == "EBUSY"
        assert pending.answer()["took_s"] < 2.0
        assert path.read_bytes() == b"old"
        holder.close(fd)
        stranger.do("truncate", path, 1)
        assert path.read_bytes() == b"o"


def test_Q7_exchange_with_a_held_path_is_refused_or_waits(mount: Place, worker: NewWorker) -> None:
    path, other = mount.mnt / "f", mount.mnt / "other"
    path.write_bytes(b"old")
    other.write_bytes(b"other")
    holder = worker()
    fd = holder.open(path, "w")
    holder.write(fd, b"new")
    try:
        renameat2(path, other, RENAME_EXCHANGE)
        exchanged = True
    except OSError:
        exchanged = False
    holder.close(fd)
    contents = (path.read_bytes(), other.read_bytes())
    # Whatever is chosen, no version is mixed and none is lost.
    assert contents == ((b"other", b"new") if exchanged else (b"new", b"other"))


def test_Q1_a_waiter_does_not_get_the_pen_while_it_is_held(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    holder, other = worker(), worker()
    fd = holder.open(path, "w")
    start_s = time.monotonic()
    wait = other.begin_open(path, "w")
    stays(lambda: not wait.done, 0.5, "the second writer waiting")
    holder.close(fd)
    other.close(wait.result(2.0))
    assert wait.answer()["at_s"] - start_s >= 0.5
