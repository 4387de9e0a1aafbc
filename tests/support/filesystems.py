"""Filesystems made for a test: bind mounts, tmpfs, overlays, loop images; all taken away whatever happens."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lockfs.store.mountinfo import read_table
from tests.support.waiting import wait_until

LIMIT_S = 60.0
MAKERS = {
    "ext4": ("mkfs.ext4", "-q", "-F"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
    "btrfs": ("mkfs.btrfs", "-q", "-f"),
    "f2fs": ("mkfs.f2fs", "-q", "-f"),
}
"""How the image of each is made."""
SIZES = {"xfs": 320 << 20, "btrfs": 256 << 20}
"""Bytes of an image, where the filesystem insists; sparse, so that it costs what is written."""


def _run(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, argv)), capture_output=True, text=True, timeout=LIMIT_S, check=False)


def need_root() -> None:
    """Skip the test where it may not mount."""
    if os.geteuid() != 0:
        pytest.skip("mounting a filesystem needs root")


def unmount(at: Path) -> bool:
    """umount(8), not lazily; whether it went."""
    return _run("umount", at).returncode == 0


def is_mounted(at: Path) -> bool:
    """Whether something is mounted exactly there."""
    return any(mount.mountpoint == os.fsencode(at) for mount in read_table())


def _put_away(at: Path) -> None:
    try:
        wait_until(lambda: not is_mounted(at) or unmount(at), 5.0, "the unmount")
    except AssertionError:
        _run("umount", "-l", at)  # whatever still holds it (a test that failed)


@contextmanager
def mounted_at(at: Path, *arguments: str | Path, make: bool = True) -> Iterator[Path]:
    """`mount ARGUMENTS at`; skips the test where this machine cannot."""
    need_root()
    if make:
        at.mkdir(parents=True, exist_ok=True)
    done = _run("mount", *arguments, at)
    if done.returncode != 0:
        pytest.skip(f"this machine cannot mount {arguments}: {done.stderr.strip()}")
    try:
        yield at
    finally:
        _put_away(at)


@contextmanager
def bind(origin: Path, at: Path, *, read_only: bool = False) -> Iterator[Path]:
    """A bind mount of a directory or of a single file."""
    if not origin.is_dir():
        at.touch()
    options = ("-o", "bind,ro") if read_only else ("--bind",)
    with mounted_at(at, *options, origin, make=origin.is_dir()):
        yield at


@contextmanager
def tmpfs(at: Path, size: str = "16m") -> Iterator[Path]:
    """An empty tmpfs."""
    with mounted_at(at, "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs"):
        yield at


@contextmanager
def overlay(at: Path, lower: Path, upper: Path, work: Path, options: str = "") -> Iterator[Path]:
    """An overlay of `lower` and `upper`; `work` lies on upper's filesystem."""
    for directory in (lower, upper, work):
        directory.mkdir(parents=True, exist_ok=True)
    layers = f"lowerdir={lower},upperdir={upper},workdir={work}{options}"
    with mounted_at(at, "-t", "overlay", "-o", layers, "overlay"):
        yield at


@contextmanager
def image(kind: str, at: Path, file: Path, options: str = "", size: int = 64 << 20) -> Iterator[Path]:
    """A fresh filesystem in a loop image of `size` bytes at least; skips the test where it cannot be made."""
    need_root()
    maker = MAKERS[kind]
    if shutil.which(maker[0]) is None:
        pytest.skip(f"{maker[0]} is not installed")
    with file.open("wb") as made:
        made.truncate(max(size, SIZES.get(kind, 0)))
    try:
        done = _run(*maker, file)
        if done.returncode != 0:
            pytest.skip(f"{maker[0]} failed: {done.stderr.strip()}")
        with mounted_at(at, "-t", kind, "-o", f"loop{options}", file):
            yield at
    finally:
        file.unlink(missing_ok=True)
