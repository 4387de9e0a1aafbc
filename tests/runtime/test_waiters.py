"""Waiting for a pen, under a mock clock: no sleeps, no mount."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from lockfs.core.arbiter import Arbiter, Granted, Kind, Refused
from lockfs.core.ids import FileKey, HandleId, WriterId
from lockfs.runtime.waiters import GaveUp, Outcome, WaitingRoom
from tests.support.waiting import wait_until

F, G = FileKey(1), FileKey(2)
A, B, C = ((WriterId(pid, 1),) for pid in (11, 12, 13))


def under_mock_clock(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@contextmanager
def sleeping_child(setup: str = "") -> Iterator[subprocess.Popen[bytes]]:
    code = f"import signal, sys, time; {setup}; print('up', flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        yield child
    finally:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


def leave_pending(child: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to a stopped process, which keeps it pending."""
    child.send_signal(signal.SIGSTOP)
    wait_until(lambda: ") T " in Path(f"/proc/{child.pid}/stat").read_text(), 5.0, "the child stopped")
    child.send_signal(number)


def end(child: subprocess.Popen[bytes]) -> None:
    """Kill the process and reap it: its number is gone from /proc."""
    child.kill()
    child.wait()


def test_Q1_wait_ends_with_the_release() -> None:
    async def test() -> None:
        arbiter, outcomes = Arbiter(), []
        room = WaitingRoom(arbiter)
        arbiter.acquire(F, HandleId(1), Kind.PEN, A, 0.0, wait=True)
        arbiter.acquire(F, HandleId(2), Kind.PEN, B, 0.0, wait=True)

        async def wait() -> None:
            outcomes.append((await room.wait(HandleId(2), 0, 30.0), trio.current_time()))

        start_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(7)
            room.release(HandleId(1))
        assert outcomes == [(Granted(HandleId(2), False), start_s + 7)]
        assert len(room) == 0

    under_mock_clock(test)


def test_Q1_timeout_leaves_the_queue_to_the_next() -> None:
    async def test() -> None:
        arbiter = Arbiter()
        room = WaitingRoom(arbiter)
        outcomes: dict[int, Outcome] = {}
        arbiter.acquire(F, HandleId(1), Kind.PEN, A, 0.0, wait=True)

        async def wait(handle: int, lineage: tuple[WriterId, ...], timeout_s: float) -> None:
            arbiter.acquire(F, HandleId(handle), Kind.PEN, lineage, trio.current_time(), wait=True)
            outcomes[handle] = await room.wait(HandleId(handle), 0, timeout_s)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, 2, B, 5.0)
            nursery.start_soon(wait, 3, C, 60.0)
            await trio.sleep(6)
            assert outcomes == {2: GaveUp.TIMED_OUT}
            room.release(HandleId(1))
        assert outcomes[3] == Granted(HandleId(3), False)

    under_mock_clock(test)


def test_Q4_refused_by_a_later_cycle() -> None:
    """X has k; a child of X waits for g, which P has; P waits for k behind X: refused when X gets k."""

    async def test() -> None:
        arbiter = Arbiter()
        room = WaitingRoom(arbiter)
        outcomes: dict[int, Outcome] = {}
        holder, x, p = A, B, C
        child = (WriterId(99, 1), *x)
        arbiter.acquire(F, HandleId(1), Kind.PEN, holder, 0.0, wait=True)
        arbiter.acquire(G, HandleId(2), Kind.PEN, p, 0.0, wait=True)

        async def wait(handle: int, key: FileKey, lineage: tuple[WriterId, ...]) -> None:
            arbiter.acquire(key, HandleId(handle), Kind.PEN, lineage, trio.current_time(), wait=True)
            outcomes[handle] = await room.wait(HandleId(handle), 0, 60.0)

        async with trio.open_nursery() as nursery:
            for handle, key, lineage in ((3, F, x), (4, G, child), (5, F, p)):
                nursery.start_soon(wait, handle, key, lineage)
                await trio.testing.wait_all_tasks_blocked()
            room.release(HandleId(1))
            await trio.testing.wait_all_tasks_blocked()
            assert outcomes[3] == Granted(HandleId(3), False)
            assert isinstance(outcomes[5], Refused)
            room.release(HandleId(2))

    under_mock_clock(test)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_Q3_pending_signal_ends_the_wait(number: signal.Signals) -> None:
    interrupted(lambda child: leave_pending(child, number), GaveUp.INTERRUPTED)


def test_Q3_opener_that_is_gone_does_not_interrupt_its_child() -> None:
    """EINTR is never returned without a signal; the opener of an inherited descriptor may have exited."""
    interrupted(end, GaveUp.TIMED_OUT)


def test_Q3_ignored_signal_does_not_end_the_wait() -> None:
    interrupted(
        lambda child: leave_pending(child, signal.SIGTERM),
        GaveUp.TIMED_OUT,
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    )


def test_Q3_other_signal_does_not_end_the_wait() -> None:
    interrupted(
        lambda child: leave_pending(child, signal.SIGUSR1),
        GaveUp.TIMED_OUT,
        "signal.signal(signal.SIGUSR1, lambda *a: None)",
    )


def interrupted(act: Callable[[subprocess.Popen[bytes]], object], expected: GaveUp, setup: str = "pass") -> None:
    async def test() -> None:
        arbiter = Arbiter()
        room = WaitingRoom(arbiter)
        arbiter.acquire(F, HandleId(1), Kind.PEN, A, 0.0, wait=True)
        arbiter.acquire(F, HandleId(2), Kind.PEN, B, 0.0, wait=True)
        with sleeping_child(setup) as child:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(room.watch_signals)

                async def wait() -> None:
                    assert await room.wait(HandleId(2), child.pid, 3.0) is expected
                    nursery.cancel_scope.cancel()

                nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked()
                act(child)
        assert list(arbiter.waiting(F)) == []

    under_mock_clock(test)


def test_N7_dismissed_waiters_are_gone() -> None:
    async def test() -> None:
        arbiter = Arbiter()
        room = WaitingRoom(arbiter)
        arbiter.acquire(F, HandleId(1), Kind.PEN, A, 0.0, wait=True)
        arbiter.acquire(F, HandleId(2), Kind.PEN, B, 0.0, wait=True)
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                assert await room.wait(HandleId(2), 0, 60.0) is GaveUp.STOPPING

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            room.dismiss_all()
        assert list(arbiter.waiting(F)) == []

    under_mock_clock(test)
