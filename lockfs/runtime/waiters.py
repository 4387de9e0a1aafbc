"""Processes that wait for a pen, an append or a rename: until granted, told to end, or out of time (Q1, Q3)."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

import trio

from lockfs.core.arbiter import Arbiter, Granted, Refused
from lockfs.core.ids import HandleId
from lockfs.runtime.processes import SignalWatch

_POLL_S = 0.05
_SLICE = 64


class GaveUp(Enum):
    """Why a wait ended without a grant."""

    INTERRUPTED = "interrupted"
    TIMED_OUT = "timed out"
    STOPPING = "stopping"


Outcome = Granted | Refused | GaveUp


class _Waiter:
    __slots__ = ("event", "outcome", "watch")

    def __init__(self, tid: int) -> None:
        self.watch = SignalWatch(tid)
        self.event = trio.Event()
        self.outcome: Outcome | None = None

    def finish(self, outcome: Outcome) -> None:
        if self.outcome is None:
            self.outcome = outcome
            self.event.set()


class WaitingRoom:
    """All waits of a mount. The arbiter says who is next; here they are woken, each by an event of its own."""

    def __init__(self, arbiter: Arbiter) -> None:
        self._arbiter = arbiter
        self._waiters: dict[HandleId, _Waiter] = {}
        self._somebody = trio.Event()

    def __len__(self) -> int:
        return len(self._waiters)

    async def wait(self, handle: HandleId, tid: int, timeout_s: float) -> Outcome:
        """Wait for the outcome of a queued request of thread `tid`.

        Whatever is returned, the arbiter knows: a `Granted` holds, anything else does not wait any more.
        """
        waiter = self._waiters[handle] = _Waiter(tid)
        self._somebody.set()
        try:
            try:
                with trio.move_on_after(timeout_s):
                    await waiter.event.wait()
            except trio.Cancelled:
                if isinstance(waiter.outcome, Granted):  # nobody is there to use it
                    self.release(handle)
                raise
            if waiter.outcome is None:
                self._give_up(handle, waiter, GaveUp.TIMED_OUT)
            assert waiter.outcome is not None
            return waiter.outcome
        finally:
            if waiter.outcome is None:  # cancelled: the mount goes down
                self._give_up(handle, waiter, GaveUp.STOPPING)
            waiter.watch.close()
            del self._waiters[handle]

    def deliver(self, outcomes: Iterable[Granted | Refused]) -> None:
        """Wake those whom the arbiter granted or refused."""
        for outcome in outcomes:
            self._waiters[outcome.handle].finish(outcome)

    def release(self, handle: HandleId) -> None:
        """A handle gives its pen or append back: the next go on."""
        self.deliver(self._arbiter.release(handle, trio.current_time()))

    def dismiss_all(self) -> None:
        """The mount stops: nobody waits any more (N7)."""
        for handle, waiter in list(self._waiters.items()):
            if waiter.outcome is None:
                self._give_up(handle, waiter, GaveUp.STOPPING)

    def _give_up(self, handle: HandleId, waiter: _Waiter, why: GaveUp) -> None:
        waiter.finish(why)
        self.deliver(self._arbiter.withdraw(handle, trio.current_time()))

    async def watch_signals(self) -> None:
        """End the waits of processes that are told to end; runs as long as the mount."""
        while True:
            if not self._waiters:
                self._somebody = trio.Event()
                await self._somebody.wait()
            await trio.sleep(_POLL_S)
            for count, (handle, waiter) in enumerate(list(self._waiters.items())):
                if waiter.outcome is None and waiter.watch.told_to_end():
                    self._give_up(handle, waiter, GaveUp.INTERRUPTED)
                if count % _SLICE == _SLICE - 1:
                    await trio.lowlevel.checkpoint()
