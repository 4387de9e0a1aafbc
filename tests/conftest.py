"""Fixtures: mounts, worker processes, a time limit for every test, and the check that no mount is left."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from tests.support import acls
from tests.support.mounting import Mount, lazy_unmount, lockfs_mounts, mounted
from tests.support.targets import Place, SharedMount, Target
from tests.support.worker import Worker

LIMIT_S = 60.0
"""Time limit of one test, unless it says `@pytest.mark.limit(seconds)`."""

live_mounts: list[Mount] = []
"""Every daemon of this test session that may still run, for the watchdog."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes more than a few seconds; not part of the fast run")
    config.addinivalue_line("markers", "limit(seconds): the test's own time limit")
    # `timeout 60 pytest` ends with SIGTERM: let the fixtures put their mounts away.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


class TimeLimit(Exception):
    """The test took longer than its limit."""


@pytest.fixture(autouse=True)
def time_limit(request: pytest.FixtureRequest) -> Iterator[None]:
    """End a test that hangs: break off its mounts, so that whoever is stuck in them comes back, then raise in it.

    A process that waits for a FUSE answer cannot be interrupted, the test process included; only the end of the
    daemon frees it.
    """
    marker = request.node.get_closest_marker("limit")
    limit_s = float(marker.args[0]) if marker else LIMIT_S
    main = threading.main_thread().ident
    assert main is not None

    def expired(_number: int, _frame: object) -> None:
        raise TimeLimit(f"the test ran longer than {limit_s:g} s; its mounts were broken off")

    def break_off() -> None:
        for mount in live_mounts:
            if mount.alive:
                mount.break_off()
        signal.pthread_kill(main, signal.SIGUSR2)

    before = signal.signal(signal.SIGUSR2, expired)
    timer = threading.Timer(limit_s, break_off)
    timer.daemon = True
    timer.start()
    yield
    timer.cancel()
    timer.join()
    signal.signal(signal.SIGUSR2, before)


@pytest.fixture(scope="session")
def can_mount() -> None:
    """Skip tests of a real mount where there is none to be had; with LOCKFS_TEST_NEEDS_FUSE set, fail instead."""
    reason = None
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        reason = "/dev/fuse is missing or not accessible"
    elif shutil.which("fusermount3") is None:
        reason = "fusermount3 is not installed (package fuse3)"
    if reason and os.environ.get("LOCKFS_TEST_NEEDS_FUSE"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def no_mount_left() -> Iterator[None]:
    """At the very end no lockfs mount may be there that was not there at the start."""
    before = set(lockfs_mounts())
    yield
    ours = {mount.mnt for mount in live_mounts}
    left = [mountpoint for mountpoint in lockfs_mounts() if mountpoint in ours - before]
    for mountpoint in left:
        lazy_unmount(mountpoint)
    assert not left, f"mounts left behind: {left}"


@pytest.fixture
def processes() -> Iterator[ExitStack]:
    """The test's child processes, ended before its mount is checked."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def worker(processes: ExitStack) -> Callable[..., Worker]:
    """A factory of worker processes, ended with the test."""

    def make(*, user: int | None = None) -> Worker:
        return processes.enter_context(Worker(user=user))

    return make


@pytest.fixture(scope="session")
def shared_mount(can_mount: None, no_mount_left: None) -> Iterator[SharedMount]:
    """The daemon that most tests share. Lives outside pytest's own 0700 directories, so that other users reach it."""
    base = Path(tempfile.mkdtemp(prefix="lockfs-test-"))
    base.chmod(0o755)
    shared = SharedMount(base)
    try:
        yield shared
        shared.close()
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _name(request: pytest.FixtureRequest) -> str:
    return "".join(letter if letter.isalnum() or letter in "_-" else "-" for letter in request.node.name)


@pytest.fixture
def mount(shared_mount: SharedMount, processes: ExitStack, request: pytest.FixtureRequest) -> Iterator[Place]:
    """A fresh directory on a mount with default options, shared with other tests; checked after the test."""
    place = shared_mount.place(_name(request))
    if place.mount not in live_mounts:
        live_mounts.append(place.mount)
    yield place
    processes.close()
    shared_mount.check()


@pytest.fixture(scope="session")
def shared_xattr_mount(can_mount: None, no_mount_left: None) -> Iterator[SharedMount]:
    """The daemon with `--xattrs` that tests share, on a filesystem that has extended attributes and ACLs."""
    base = Path(tempfile.mkdtemp(prefix="lockfs-test-"))
    base.chmod(0o755)
    reason = acls.why_not(base)
    has_tmpfs = reason is not None and acls.mount_tmpfs(base)
    others = ["--allow-other"] if os.geteuid() == 0 else []
    shared = SharedMount(base, "--xattrs", *others)
    try:
        if has_tmpfs:
            base.chmod(0o755)
            reason = acls.why_not(base)
        if reason is not None:
            pytest.skip(reason)
        yield shared
        shared.close()
    finally:
        if has_tmpfs:
            acls.unmount_tmpfs(base)
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def xattr_mount(
    shared_xattr_mount: SharedMount, processes: ExitStack, request: pytest.FixtureRequest
) -> Iterator[Place]:
    """As `mount`, with `--xattrs`, and for other users where the tests run as root."""
    place = shared_xattr_mount.place(_name(request))
    if place.mount not in live_mounts:
        live_mounts.append(place.mount)
    yield place
    processes.close()
    shared_xattr_mount.check()


@pytest.fixture
def plain_beside(xattr_mount: Place) -> Path:
    """A plain directory on the filesystem of `xattr_mount`'s backing directory, for comparison."""
    plain = xattr_mount.mount.source.parent / "plain" / xattr_mount.mnt.name
    plain.mkdir(parents=True)
    return plain


Mounter = Callable[..., AbstractContextManager[Mount]]


@pytest.fixture
def mount_with(can_mount: None, processes: ExitStack, request: pytest.FixtureRequest) -> Iterator[Mounter]:
    """A factory of mounts of the test's own: `with mount_with("--on-conflict", "refuse") as mount:`.

    The test's workers end before the mount is stopped, so that nothing of theirs is open.
    """
    base = Path(tempfile.mkdtemp(prefix="lockfs-test-"))
    base.chmod(0o755)

    class Own:
        def __init__(self, *options: str, source: Path | None = None, mnt: Path | None = None) -> None:
            self._context = mounted(base, *options, source=source, mnt=mnt)

        def __enter__(self) -> Mount:
            mount = self._context.__enter__()
            live_mounts.append(mount)
            return mount

        def __exit__(self, *error: object) -> bool | None:
            processes.close()
            return self._context.__exit__(*error)  # type: ignore[arg-type]

    try:
        yield Own
    finally:
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(params=["plain", "mount"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    """The same scenario on a plain directory, which must show damage, and on a mount, which must show none."""
    if request.param == "plain":
        plain = tmp_path / "plain"
        plain.mkdir()
        return Target(plain, None)
    place = request.getfixturevalue("mount")
    return Target(place.mnt, place)
