"""Q3: a waiting process dies when it is told to. Q4: a cycle of waiters is found at once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.support.targets import Place
from tests.support.waiting import stays
from tests.support.worker import Worker

NewWorker = Callable[..., Worker]

PROMPT_S = 1.0
"""100 ms are promised; the rest is room for a busy machine. The queue's own time-out is 30 s."""

DEADLY = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL]


@pytest.mark.parametrize(
    ("mode", "number"), [*(("w", number) for number in DEADLY), ("a", signal.SIGTERM), ("a", signal.SIGKILL)]
)
def test_Q3_signal_ends_a_waiting_open(mount: Place, worker: NewWorker, number: signal.Signals, mode: str) -> None:
    path = mount.mnt / "f"
    holder, waiter, next_one = worker(), worker(), worker()
    fd = holder.open(path, "w")
    waiter.begin_open(path, mode)
    mount.wait_for_waiters(waiter.pid)
    after = next_one.begin_open(path, "w")
    mount.wait_for_waiters(next_one.pid)
    start_s = time.monotonic()
    assert waiter.kill_and_wait(number) == -number
    assert time.monotonic() - start_s < PROMPT_S
    assert not after.done
    holder.close(fd)
    next_one.close(after.result(5.0))  # the dead one's place in the queue is gone
    assert mount.stats()["waits"]["now"] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_Q3_signal_ends_a_waiting_write(mount: Place, worker: NewWorker, number: signal.Signals) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"1\n")
    holder, appender = worker(), worker()
    log = appender.open(path, "a")
    fd = holder.open(path, "w")
    appender.begin("write", log, b"2\n")
    mount.wait_for_waiters(appender.pid)
    start_s = time.monotonic()
    assert appender.kill_and_wait(number) == -number
    assert time.monotonic() - start_s < PROMPT_S
    holder.write(fd, b"new\n")
    holder.close(fd)
    assert path.read_bytes() == b"new\n"


def test_Q3_handled_signal_is_handled_promptly_and_the_open_retried(mount: Place, worker: NewWorker) -> None:
    """EINTR lets Python run its handler; then it opens again (PEP 475) and waits on."""
    path = mount.mnt / "f"
    holder, waiter = worker(), worker()
    waiter.do("note_signal", signal.SIGTERM)
    fd = holder.open(path, "w")
    wait = waiter.begin_open(path, "w")
    mount.wait_for_waiters(waiter.pid)
    waiter.kill(signal.SIGTERM)
    stays(lambda: not wait.done, 0.4, "still waiting")
    mount.wait_for_waiters(waiter.pid)
    holder.close(fd)
    waiter.close(wait.result())
    assert waiter.do("noted") == [signal.SIGTERM]


def test_Q3_handled_signal_gives_EINTR_to_a_program_that_does_not_retry(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    holder, waiter = worker(), worker()
    waiter.do("note_signal", signal.SIGINT)
    fd = holder.open(path, "w")
    wait = waiter.begin("raw_open", str(path), os.O_WRONLY | os.O_CREAT)
    mount.wait_for_waiters(waiter.pid)
    start_s = time.monotonic()
    waiter.kill(signal.SIGINT)
    assert wait.error() == "EINTR"
    assert time.monotonic() - start_s < PROMPT_S
    holder.close(fd)


@pytest.mark.parametrize("how", ["ignored", "blocked", "of another kind"])
def test_Q3_other_signals_do_not_end_a_wait(mount: Place, worker: NewWorker, how: str) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"old")
    holder, waiter = worker(), worker()
    number = signal.SIGUSR1 if how == "of another kind" else signal.SIGTERM
    waiter.do({"ignored": "ignore", "blocked": "block", "of another kind": "note_signal"}[how], number)
    fd = holder.open(path, "w")
    wait = waiter.begin("raw_open", str(path), os.O_WRONLY)
    mount.wait_for_waiters(waiter.pid)
    waiter.kill(number)
    stays(lambda: not wait.done, 0.4, "still waiting")
    holder.close(fd)
    waiter.close(wait.result())


def test_Q3_no_EINTR_without_a_signal(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    holder = worker()
    fd = holder.open(path, "w")
    waiters = [worker() for _ in range(5)]
    waits = [waiter.begin("raw_open", str(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for waiter in waiters]
    mount.wait_for_waiters(*(waiter.pid for waiter in waiters))
    holder.close(fd)
    left = dict(zip(waits, waiters, strict=True))
    while left:
        for wait in [wait for wait in left if wait.done]:
            left.pop(wait).close(wait.result())


def test_Q4_cycle_of_two_gets_EDEADLK_at_once(mount: Place, worker: NewWorker) -> None:
    f, g = mount.mnt / "f", mount.mnt / "g"
    one, two = worker(), worker()
    has_f, has_g = one.open(f, "w"), two.open(g, "w")
    wait = one.begin_open(g, "w")
    mount.wait_for_waiters(one.pid)
    closing = two.begin_open(f, "w")
    assert closing.error(5.0) == "EDEADLK"
    assert closing.answer()["took_s"] < PROMPT_S
    assert not wait.done
    two.write(has_g, b"two")
    two.close(has_g)
    mine = wait.result()
    assert g.read_bytes() == b"two"
    one.close(mine)
    one.close(has_f)
    assert mount.stats()["deadlocks"] >= 1


def test_Q4_cycle_of_three(mount: Place, worker: NewWorker) -> None:
    paths = [mount.mnt / name for name in "fgh"]
    workers = [worker() for _ in paths]
    held = [one.open(path, "w") for one, path in zip(workers, paths, strict=True)]
    waits = [workers[0].begin_open(paths[1], "w"), workers[1].begin_open(paths[2], "w")]
    mount.wait_for_waiters(workers[0].pid, workers[1].pid)
    assert workers[2].begin_open(paths[0], "w").error(5.0) == "EDEADLK"
    workers[2].close(held[2])
    workers[1].close(waits[1].result())
    workers[1].close(held[1])
    workers[0].close(waits[0].result())
    workers[0].close(held[0])


def test_Q4_cycle_through_a_waiting_append(mount: Place, worker: NewWorker) -> None:
    """One holds f and appends to g, two holds g and wants f: somebody must be told, nobody may hang."""
    f, g = mount.mnt / "f", mount.mnt / "g"
    one, two = worker(), worker()
    log = one.open(g, "a")
    has_f, has_g = one.open(f, "w"), two.open(g, "w")
    two.begin_open(f, "w")
    mount.wait_for_waiters(two.pid)
    record = one.begin("write", log, b"record\n")
    assert record.error(5.0) == "EDEADLK"
    one.close(has_f)
    two.close(has_g)
    one.write(log, b"record\n")
    assert g.read_bytes() == b"record\n"


def test_Q4_no_false_cycle(mount: Place, worker: NewWorker) -> None:
    """Two wait for the same holder, who waits for nobody: no cycle, everybody gets through."""
    f, g = mount.mnt / "f", mount.mnt / "g"
    holder, one, two = worker(), worker(), worker()
    has_f, has_g = holder.open(f, "w"), holder.open(g, "w")
    waits = [one.begin_open(f, "w"), two.begin_open(g, "w")]
    mount.wait_for_waiters(one.pid, two.pid)
    holder.close(has_f)
    got_f = waits[0].result()
    more = one.begin_open(g, "w")
    mount.wait_for_waiters(one.pid)
    holder.close(has_g)
    two.close(waits[1].result())
    one.close(more.result())
    one.close(got_f)


def test_Q4_process_never_waits_for_itself(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    one = worker()
    first = one.open(path, "w")
    second = one.begin_open(path, "r+").result(5.0)
    one.write(first, b"first")
    assert one.do("pread", second, 10, 0) == b"first"
    one.close(first)
    assert not path.exists()
    one.close(second)
    assert path.read_bytes() == b"first"
