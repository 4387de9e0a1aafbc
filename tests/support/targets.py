"""Where a test works: a directory of its own, on a mount that tests share or on a plain directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.mounting import Mount, MountFault, mounted
from tests.support.waiting import wait_until


@dataclass(frozen=True)
class Place:
    """A fresh directory on a mount: `mnt` as programs see it, `source` the same directory behind the mount."""

    mount: Mount
    mnt: Path
    source: Path

    @property
    def root(self) -> Path:
        """The mountpoint."""
        return self.mount.mnt

    @property
    def pid(self) -> int:
        return self.mount.pid

    @property
    def log(self) -> str:
        return self.mount.log

    def stats(self) -> dict[str, Any]:
        return self.mount.stats()

    def wait_for_waiters(self, *pids: int, deadline_s: float = 10.0) -> None:
        self.mount.wait_for_waiters(*pids, deadline_s=deadline_s)

    def orphans(self) -> list[Path]:
        return self.mount.orphans()


@dataclass(frozen=True)
class Target:
    """A directory to run a scenario in: on a mount it must show no damage, on a plain one it must show some.

    The second half is what proves that the check could see damage at all.
    """

    mnt: Path
    place: Place | None

    @property
    def plain(self) -> bool:
        return self.place is None


class SharedMount:
    """One daemon for many tests, each in a directory of its own; replaced when a test broke it."""

    def __init__(self, base: Path, *options: str) -> None:
        self._base = base
        self._options = options
        self._started = 0
        self._tests = 0
        self._context: Any = None
        self._mount: Mount | None = None
        self._lines_seen = 0
        self._errors_seen = 0

    def place(self, name: str) -> Place:
        """A fresh directory on the shared mount."""
        mount = self._running()
        self._tests += 1
        folder = f"{self._tests:03d}-{name}"[:80]
        (mount.source / folder).mkdir(mode=0o755)
        self._lines_seen = len(mount.bad_lines())
        self._errors_seen = mount.stats()["errors"]
        return Place(mount, mount.mnt / folder, mount.source / folder)

    def _running(self) -> Mount:
        if self._mount is not None and not self._mount.alive:
            self.discard()
        if self._mount is None:
            self._started += 1
            self._context = mounted(self._base / f"shared{self._started}", *self._options)
            self._mount = self._context.__enter__()
        return self._mount

    @property
    def mount(self) -> Mount | None:
        return self._mount

    def start(self) -> Mount:
        """The daemon, started if need be, for tests that make their own directories on it."""
        return self._running()

    def check(self) -> None:
        """After a test, when its processes are gone: nothing open, nobody waiting, no error logged."""
        mount = self._mount
        assert mount is not None
        try:
            if not mount.alive:
                raise MountFault(f"the daemon died during the test:\n{mount.log[-6000:]}")
            quiet = {"sessions": 0, "appends": 0, "waits": 0}

            def leftovers() -> dict[str, int]:
                stats = mount.stats()
                return {
                    "sessions": stats["sessions"]["open"],
                    "appends": stats["appends"]["open"],
                    "waits": stats["waits"]["now"],
                }

            try:
                wait_until(lambda: leftovers() == quiet, 5.0, "no session, append handle or waiter left over")
            except AssertionError:
                raise MountFault(f"left over after the test: {leftovers()}, {mount.stats()}") from None
            faults = mount.bad_lines()[self._lines_seen :]
            errors = mount.stats()["errors"] - self._errors_seen
            if faults or errors:
                raise MountFault(f"{errors} errors counted; the daemon logged:\n{mount.log[-6000:]}")
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Stop this daemon without judging it; the next test gets a new one."""
        context, self._context, self._mount = self._context, None, None
        if context is not None:
            try:
                context.__exit__(None, None, None)
            except MountFault as fault:
                print(f"while putting the broken mount away: {fault}")

    def close(self) -> None:
        """The end of the session: stop it and judge it."""
        context, self._context, self._mount = self._context, None, None
        if context is not None:
            context.__exit__(None, None, None)
