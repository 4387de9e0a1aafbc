"""A loop that does not go to sleep between two requests of a busy client.

pyfuse3 waits for each request through trio: a lock, a checkpoint, epoll_wait(2). That is most of what a short request
costs. Between the requests of one busy client it is cheaper to look once more (fuse-facts, "Caching and cost").
pyfuse3 takes what it needs of trio from its module attribute `trio`, as its asyncio adapter does; `install` puts an
object there that differs in two things: a lock that costs nothing when it is free, and a wait that polls the
descriptor for a moment before it sleeps. It yields to trio's other tasks regularly, and does not poll when idle.
"""

from __future__ import annotations

import select
from time import perf_counter
from types import SimpleNamespace

import pyfuse3
import trio

SPIN_S = 40e-6
"""How long to look for the next request before sleeping."""

YIELD_S = 500e-6
"""How long requests may follow each other before other tasks get a turn."""

_BUSY_S = 2e-3
"""Polling pays only if the last request is no longer ago than this."""


class BargingLock:
    """A lock that its last owner may take again before those who wait are scheduled.

    Who waits is woken by a release, once, and goes back to waiting if the lock was taken meanwhile: as long as one
    task serves request after request, no other is scheduled for each.
    """

    def __init__(self) -> None:
        self._locked = False
        self._waking = False
        self._waiting = trio.lowlevel.ParkingLot()

    async def __aenter__(self) -> None:
        while self._locked:
            try:
                await self._waiting.park()
            finally:
                self._waking = False
        self._locked = True

    async def __aexit__(self, *_: object) -> None:
        self._locked = False
        if not self._waking and self._waiting:
            self._waking = True
            self._waiting.unpark()


class RequestWait:
    """Waits until the FUSE descriptor has a request."""

    def __init__(self, spin_s: float = SPIN_S) -> None:
        self._spin_s = spin_s
        self._poll = select.poll()
        self._fd = -1
        self._last_request_s = 0.0
        self._last_yield_s = 0.0

    async def __call__(self, fd: int) -> None:
        if fd != self._fd:
            self._poll.register(fd, select.POLLIN)
            self._fd = fd
        now_s = perf_counter()
        if now_s - self._last_yield_s > YIELD_S:
            await trio.lowlevel.checkpoint()
            self._last_yield_s = now_s
        if not self._poll.poll(0) and not self._spun(now_s):
            await trio.lowlevel.wait_readable(fd)
            self._last_yield_s = perf_counter()
        self._last_request_s = perf_counter()

    def _spun(self, now_s: float) -> bool:
        """Look for a moment; True if a request came."""
        if now_s - self._last_request_s > _BUSY_S:
            return False
        until_s = now_s + self._spin_s
        while perf_counter() < until_s:
            if self._poll.poll(0):
                return True
        return False


def install(spin_s: float = SPIN_S) -> None:
    """Have pyfuse3 wait this way. Call it before `pyfuse3.main`."""
    lowlevel = SimpleNamespace(
        wait_readable=RequestWait(spin_s),
        current_trio_token=trio.lowlevel.current_trio_token,
        current_task=trio.lowlevel.current_task,
        notify_closing=trio.lowlevel.notify_closing,
    )
    adapted = SimpleNamespace(
        Lock=BargingLock,
        lowlevel=lowlevel,
        open_nursery=trio.open_nursery,
        ClosedResourceError=trio.ClosedResourceError,
    )
    pyfuse3.trio = adapted  # type: ignore[attr-defined]
