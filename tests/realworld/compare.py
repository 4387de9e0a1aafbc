"""The three targets side by side: a plain directory, bindfs and lockfs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.mounting import MountFault, die_with_parent, lazy_unmount, mounted
from tests.support.waiting import wait_until


@contextmanager
def _bindfs(base: Path) -> Iterator[Path]:
    source, mountpoint = base / "bindfs-source", base / "bindfs"
    source.mkdir()
    mountpoint.mkdir()
    options = ["-o", "allow_other"] if os.getuid() == 0 else []
    process = subprocess.Popen(
        ["bindfs", "-f", *options, str(source), str(mountpoint)], start_new_session=True, preexec_fn=die_with_parent
    )
    try:
        wait_until(lambda: mountpoint.is_mount() or process.poll() is not None, 20.0, "bindfs's mount")
        assert process.poll() is None, f"bindfs ended with {process.returncode}"
        yield mountpoint
    finally:
        lazy_unmount(mountpoint)
        process.terminate()
        try:
            process.wait(10.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10.0)


@contextmanager
def _lockfs(base: Path, faults: list[str]) -> Iterator[Path]:
    options = ["--allow-other"] if os.getuid() == 0 else []
    try:
        with mounted(base / "lockfs", *options) as mount:
            yield mount.mnt
    except MountFault as fault:
        faults.append(str(fault))


@contextmanager
def targets(faults: list[str]) -> Iterator[dict[str, Path]]:
    """Name and directory of each target, unmounted and removed at the end. What lockfs's daemon did wrong
    (errors in its log, a bad end) is added to `faults` then."""
    with ExitStack() as stack:
        base = Path(tempfile.mkdtemp(prefix="rw-"))  # short: names of sockets have little room
        base.chmod(0o755)
        stack.callback(shutil.rmtree, base, ignore_errors=True)
        (base / "plain").mkdir()
        found = {"plain": base / "plain"}
        if shutil.which("bindfs"):
            found["bindfs"] = stack.enter_context(_bindfs(base))
        found["lockfs"] = stack.enter_context(_lockfs(base, faults))
        yield found
