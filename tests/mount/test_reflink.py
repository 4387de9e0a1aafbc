"""An editor's staged copy shares its blocks with the old version where the filesystem can (FICLONE)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Mounter
from tests.support import programs
from tests.support.filesystems import image
from tests.support.worker import Worker

NewWorker = Callable[..., Worker]
SIZE = 48 << 20


def used(directory: Path) -> int:
    """Bytes in use on the filesystem, with what was written so far."""
    programs.run("sync", "-f", directory)
    status = os.statvfs(directory)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def shared_blocks(file: Path) -> bool:
    return b"shared" in programs.run("filefrag", "-v", file).stdout


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "shares"), [("btrfs", True), ("xfs", True), ("ext4", False)])
def test_staged_copy_shares_blocks(
    tmp_path: Path, mount_with: Mounter, worker: NewWorker, kind: str, shares: bool
) -> None:
    """ext4 shows that the test could tell."""
    programs.need("filefrag")
    disk = image(kind, tmp_path / "source", tmp_path / "image", size=320 << 20)
    with disk as source, mount_with(source=source) as mount:
        path = mount.mnt / "big"
        path.write_bytes(b"0123456789abcdef" * (SIZE >> 4))
        before = used(source)
        editor = worker()
        fd = editor.open(path, "r+")
        editor.do("pwrite", fd, b"X", 100)
        editor.do("fsync", fd)
        (staged,) = [file for file in mount.staged() if file.stat().st_size == SIZE]
        assert (used(source) - before < SIZE // 4) is shares
        assert shared_blocks(staged) is shares
        assert shared_blocks(source / "big") is shares
        with path.open("rb") as file:
            assert file.read(101)[100:] == b"4"
        editor.close(fd)
        with path.open("rb") as file:
            assert file.read(101)[100:] == b"X"
        assert path.stat().st_size == SIZE
