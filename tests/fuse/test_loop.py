"""The loop between two requests: the lock, and the wait that looks once more before it sleeps."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from lockfs.fuse.loop import BargingLock, RequestWait


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_lock_excludes_and_hands_over_when_its_owner_waits() -> None:
    async def test() -> None:
        lock, order, inside = BargingLock(), [], 0

        async def work(name: str) -> None:
            nonlocal inside
            for _ in range(3):
                async with lock:
                    inside += 1
                    assert inside == 1
                    await trio.testing.wait_all_tasks_blocked()
                    inside -= 1
                order.append(name)
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(work, name)
        assert sorted(order) == list("aaabbbccc")

    trio.run(test)


def test_lock_is_taken_again_without_scheduling_those_who_wait() -> None:
    async def test() -> None:
        lock, others = BargingLock(), []

        async def other() -> None:
            async with lock:
                others.append(1)

        async with trio.open_nursery() as nursery:
            async with lock:
                nursery.start_soon(other)
                await trio.testing.wait_all_tasks_blocked()
            for _ in range(1000):
                async with lock:
                    assert not others
        assert others == [1]

    trio.run(test)


def test_lock_survives_the_cancelling_of_one_that_waits() -> None:
    async def test() -> None:
        lock = BargingLock()
        async with lock:
            with trio.move_on_after(0):
                async with lock:
                    raise AssertionError("taken twice")
        async with trio.open_nursery() as nursery, lock:
            nursery.start_soon(lock.__aenter__)
            await trio.testing.wait_all_tasks_blocked()

    trio.run(test)


def test_wait_returns_when_there_is_something_to_read(pipe: tuple[int, int]) -> None:
    async def test() -> None:
        wait = RequestWait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, pipe[0])
            await trio.testing.wait_all_tasks_blocked()
            os.write(pipe[1], b"x")
        await wait(pipe[0])  # still readable: at once

    trio.run(test)


def test_Q2_other_tasks_get_their_turn_under_constant_traffic(pipe: tuple[int, int]) -> None:
    """A pipe that is always readable is a client that never pauses."""

    async def test() -> None:
        wait, turns = RequestWait(), 0
        os.write(pipe[1], b"x")

        async def other() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            end_s = time.process_time() + 0.2
            while time.process_time() < end_s:
                await wait(pipe[0])
            nursery.cancel_scope.cancel()
        assert turns > 20

    trio.run(test)


def test_an_idle_wait_costs_no_processor_time(pipe: tuple[int, int]) -> None:
    async def test() -> None:
        wait = RequestWait()
        start_s = time.process_time()
        with trio.move_on_after(0.5):
            await wait(pipe[0])
        assert time.process_time() - start_s < 0.1

    trio.run(test)
