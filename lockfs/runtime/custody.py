"""Records taken in while somebody else writes the file (A6).

An append that finds a stranger's session waits for its end, and the kernel holds the appenders' inode meanwhile. That
must not stop those whom the kernel queues behind it: an appender that is told to end (Q3), and the session's own
family, who may append too (A6). For their sake the waiting record is taken into custody: it is put into a staged file,
its write returns, and it goes into the file in its turn, which the custody waits for in the program's stead. If the
daemon dies before, the next mount finds the bytes among the orphans (N2, N3).
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from lockfs.core.arbiter import Kind
from lockfs.core.ids import WriterId
from lockfs.runtime.events import log, shown
from lockfs.runtime.mountstate import MountState
from lockfs.runtime.processes import Caller, SignalWatch
from lockfs.store.journal import Writer
from lockfs.store.orphans import Note
from lockfs.store.staging import Staged, write_all

if TYPE_CHECKING:
    from lockfs.runtime.appends import Twin
    from lockfs.runtime.handles import AppendHandle
    from lockfs.runtime.slots import Slot

_POLL_S = 0.05
_nobody = itertools.count(1)


class Custody:
    """The records of one entry's appenders that wait for their turn; order is kept."""

    def __init__(self, staged: Staged) -> None:
        self.staged = staged
        self.size = 0
        self.privileged = True

    def take(self, data: bytes, privileged: bool) -> None:
        """Take one more in. Raises OSError (ENOSPC ...), and then has not taken it."""
        write_all(self.staged.fd, data, self.size)
        self.size += len(data)
        self.privileged = self.privileged and privileged


class Custodian:
    """Decides when a waiting record is taken in, and brings it home. `put` writes records into the standing version."""

    def __init__(self, state: MountState, put: Callable[[Twin, bytes, bool], Awaitable[None]]) -> None:
        self._state = state
        self._put = put

    def accept(self, twin: Twin, slot: Slot, handle: AppendHandle, data: bytes) -> None:
        """Take a record in; the write that brought it can return."""
        if twin.custody is None:
            custody = Custody(self._state.store.staging.take())
            custody.take(data, handle.privileged)
            writer = Writer(os.fsdecode(slot.path()), handle.caller.writer.pid, "")
            self._state.store.journal.begin(custody.staged.name, writer)
            twin.custody = custody
            self._state.nodes.pin(twin.node)
            self._state.spawn(self._bring_home, twin, slot, custody)
            log.info("appended records wait in custody path=%s", shown(slot.path()))
        else:
            twin.custody.take(data, handle.privileged)

    async def wait_for_call(self, twin: Twin, slot: Slot, handle: AppendHandle) -> None:
        """Return when the waiting record of `handle` must not hold up the others any longer."""
        while True:
            family = any(self._state.arbiter.is_family(slot.key, other.caller.lineage) for other in twin.handles)
            if family or any(self._told_to_end(other) for other in list(twin.handles) if other is not handle):
                return
            await trio.sleep(_POLL_S)

    @staticmethod
    def _told_to_end(handle: AppendHandle) -> bool:
        watch = SignalWatch(handle.tid)
        try:
            return watch.told_to_end()
        finally:
            watch.close()

    async def _bring_home(self, twin: Twin, slot: Slot, custody: Custody) -> None:
        """Wait for the turn, without a limit: the program was told that its record is taken."""
        state = self._state
        nobody = Caller((WriterId(0, -next(_nobody)),))
        turn = state.new_handle_id()
        try:
            await state.acquire_patiently(slot, turn, Kind.APPEND, nobody, math.inf)
        except OSError as error:  # the mount is being stopped
            twin.custody = None
            self._keep(slot, custody, str(error))
        else:
            try:
                await self._empty(twin, custody)
            except OSError as error:
                twin.custody = None
                self._keep(slot, custody, str(error))
            finally:
                state.waiting.release(turn)
        os.close(custody.staged.fd)
        state.store.journal.end(custody.staged.name)
        twin.custody = None
        state.nodes.unpin(twin.node)

    async def _empty(self, twin: Twin, custody: Custody) -> None:
        done = 0
        while done < custody.size:  # more may come in meanwhile
            data = os.pread(custody.staged.fd, custody.size - done, done)
            await self._put(twin, data, custody.privileged)
            done += len(data)
        twin.custody = None
        self._state.store.staging.unlink(custody.staged)

    def _keep(self, slot: Slot, custody: Custody, reason: str) -> None:
        writer = Writer(os.fsdecode(slot.path()), 0, "")
        ident = self._state.store.orphans.keep_staged(custody.staged.name, Note(writer, reason))
        self._state.counters.orphans += 1
        log.warning("records in custody kept aside path=%s reason=%r orphan=%s", shown(slot.path()), reason, ident)
