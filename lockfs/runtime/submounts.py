"""Mounts below the backing directory come and go: what the running mount does about it (see `areas`)."""

from __future__ import annotations

import math
import os
import select

import trio

from lockfs.runtime.areas import Area
from lockfs.runtime.events import log, shown
from lockfs.runtime.mountstate import MountState
from lockfs.store.layout import HIDDEN, STAGING
from lockfs.store.mountinfo import MOUNTINFO

_IDLE_S = 1.0
_PAUSE_S = 0.1
"""Between two looks at the table, where mounts come and go all the time."""
_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC


class Submounts:
    """Learns of new mounts, and holds none for longer than it is used, so that it can be unmounted."""

    def __init__(self, state: MountState) -> None:
        self._state = state

    async def watch(self) -> None:
        """Read the table of mounts when it changes; while it names any, let go of the idle ones each second."""
        areas = self._state.areas
        try:
            table = open(MOUNTINFO, "rb", buffering=0)  # noqa: ASYNC230, SIM115 - procfs; closed below
        except OSError:
            return
        with table, select.epoll() as changes:
            # The table is always readable, and "has an urgent condition" when it changed (proc_pid_mountinfo(5)).
            changes.register(table.fileno(), select.EPOLLPRI)
            areas.read_mounts()
            while True:
                with trio.move_on_after(_IDLE_S if areas.any_below or areas.others() else math.inf):
                    await trio.lowlevel.wait_readable(changes.fileno())
                    changes.poll(0)
                    areas.read_mounts()
                self.close_idle()
                await trio.sleep(_PAUSE_S)

    def close_idle(self) -> None:
        """Let go of the mounts in which nothing is open and nothing was staged since the last call."""
        state = self._state
        for area in state.areas.others():
            if area.store is not None and (area.store.uses or not area.store.idle):
                area.store.idle = True
                continue
            state.areas.close_store(area)
            if area.root is None:
                state.areas.forget(area)
            if not area.is_overlay:  # its directories are known by their numbers only while they are held
                state.nodes.close_fds(area)
            self._close_twins(area)

    def _close_twins(self, area: Area) -> None:
        for slot in self._state.slots:
            if slot.parent.area is area and slot.twin is not None and not slot.twin.handles and not slot.twin.custody:
                slot.twin.close()

    # --- after a crash ---------------------------------------------------------------------------------------------

    async def sweep(self) -> None:
        """Keep what a crashed daemon left in the mounts below (N3).

        In a thread, since a mount may hang; one that is not found then is swept when something is staged there.
        """
        paths = self._state.areas.read_mounts()
        if not paths:
            return
        found = await trio.to_thread.run_sync(self._with_left_files, paths, abandon_on_cancel=True)
        for path, fd in found:
            try:
                self._state.areas.open_store(fd, path).close()
            except OSError as error:
                log.warning("staged files of a mount below not swept path=%s error=%s", shown(path), error)
            finally:
                os.close(fd)

    def _with_left_files(self, paths: list[bytes]) -> list[tuple[bytes, int]]:
        """The mountpoints at which staged files lie, with a descriptor of each."""
        found = []
        for path in paths:
            try:
                fd = self._walk(path)
            except OSError:
                continue
            try:
                staging = os.open(b"/".join((HIDDEN, STAGING)), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
                try:
                    left = bool(os.listdir(staging))
                finally:
                    os.close(staging)
            except OSError:
                left = False
            if left:
                found.append((path, fd))
            else:
                os.close(fd)
        return found

    def _walk(self, path: bytes) -> int:
        """A path descriptor of a directory below the backing one; follows no symbolic link. Raises OSError."""
        fd = os.dup(self._state.layout.root_fd)
        for name in path.split(b"/"):
            try:
                deeper = os.open(name, _FLAGS, dir_fd=fd)
            finally:
                os.close(fd)
            fd = deeper
        return fd
