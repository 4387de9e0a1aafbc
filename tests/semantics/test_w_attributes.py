"""W5: what a commit keeps of the old file; what a new file gets."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import programs
from tests.support.mounting import Mount
from tests.support.targets import Place
from tests.support.worker import Worker

NewWorker = Callable[..., Worker]
NOBODY = 65534
SET_NS = 1118131750_123456789
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changing owners needs root")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mode", ["w", "r+"])
def test_W5_commit_keeps_the_mode(mount: Place, worker: NewWorker, mode: str) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"#!/bin/sh\n")
    path.chmod(0o751)
    writer = worker()
    fd = writer.open(path, mode)
    writer.write(fd, b"#!/bin/sh\necho\n")
    writer.close(fd)
    assert mode_of(path) == 0o751
    assert mode_of(mount.source / "f") == 0o751


@needs_root
def test_W5_commit_keeps_owner_and_group(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"old")
    os.chown(path, 1234, 2345)
    worker().write_file(path, b"new")
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 2345)
    assert (mount.source / "f").stat().st_uid == 1234


@pytest.mark.parametrize("who", ["writer", "stranger"])
def test_W5_chmod_during_the_session_is_not_undone(mount: Place, worker: NewWorker, who: str) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"old")
    path.chmod(0o644)
    writer, stranger = worker(), worker()
    fd = writer.open(path, "w")
    writer.write(fd, b"new")
    (writer if who == "writer" else stranger).do("chmod", path, 0o600)
    writer.close(fd)
    assert (path.read_bytes(), mode_of(path)) == (b"new", 0o600)


@needs_root
@pytest.mark.parametrize("who", ["writer", "stranger"])
def test_W5_chown_during_the_session_is_not_undone(mount: Place, worker: NewWorker, who: str) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"old")
    writer, stranger = worker(), worker()
    fd = writer.open(path, "w")
    writer.write(fd, b"new")
    (writer if who == "writer" else stranger).do("chown", path, 77, 88)
    writer.close(fd)
    assert (path.stat().st_uid, path.stat().st_gid) == (77, 88)


@pytest.mark.parametrize("how", ["writer by handle", "writer by path", "stranger"])
def test_W5_times_set_during_the_session_are_not_undone(mount: Place, worker: NewWorker, how: str) -> None:
    """`cp -p` and `tar x` set the times before they close."""
    path = mount.mnt / "f"
    path.write_bytes(b"old")
    writer, stranger = worker(), worker()
    fd = writer.open(path, "w")
    writer.write(fd, b"new")
    if how == "writer by handle":
        writer.do("utime_ns", fd, SET_NS, SET_NS)
    else:
        (stranger if how == "stranger" else writer).do("utime_ns", path, SET_NS, SET_NS)
    writer.close(fd)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mtime_ns == SET_NS


def test_W5_new_file_gets_mode_and_umask(mount: Place, worker: NewWorker) -> None:
    writer = worker()
    writer.do("umask", 0o027)
    for name, asked, given in (("a", 0o666, 0o640), ("b", 0o777, 0o750), ("c", 0o600, 0o600)):
        writer.close(writer.open(mount.mnt / name, "w", 0, asked))
        assert mode_of(mount.mnt / name) == given


def test_W5_read_only_new_file_can_be_written_by_its_creator(mount: Place, worker: NewWorker) -> None:
    """git creates its objects with mode 0444 and writes them through that descriptor."""
    writer = worker()
    fd = writer.open(mount.mnt / "object", "x", 0, 0o444)
    writer.write(fd, b"blob")
    writer.close(fd)
    assert (mount.mnt / "object").read_bytes() == b"blob"
    assert mode_of(mount.mnt / "object") == 0o444


@needs_root
def test_W5_new_file_in_a_setgid_directory_gets_its_group(mount: Place, worker: NewWorker) -> None:
    folder = mount.mnt / "team"
    folder.mkdir()
    os.chown(folder, 0, 4321)
    folder.chmod(0o2775)
    worker().write_file(folder / "f", b"x")
    assert (folder / "f").stat().st_gid == 4321
    worker().do("mkdir", folder / "sub", 0o755)
    assert (folder / "sub").stat().st_gid == 4321
    assert (folder / "sub").stat().st_mode & stat.S_ISGID


@needs_root
def test_W5_new_file_belongs_to_its_caller(mount_with: Callable[..., object], worker: NewWorker) -> None:
    with mount_with("--allow-other") as mount:  # type: ignore[attr-defined]
        assert isinstance(mount, Mount)
        mount.source.chmod(0o777)
        user = worker(user=NOBODY)
        user.write_file(mount.mnt / "f", b"mine")
        user.do("mkdir", mount.mnt / "d", 0o755)
        user.do("symlink", "f", mount.mnt / "l")
        for name in ("f", "d", "l"):
            found = (mount.mnt / name).lstat()
            assert (found.st_uid, found.st_gid) == (NOBODY, NOBODY), name
        (mount.mnt / "private").write_bytes(b"root's")
        (mount.mnt / "private").chmod(0o600)
        for mode in ("r", "w", "r+", "a"):
            assert user.begin_open(mount.mnt / "private", mode).error() == "EACCES", mode
        user.write_file(mount.mnt / "f", b"again")
        assert (mount.mnt / "f").stat().st_uid == NOBODY
        # A file of root's that others may write stays root's.
        (mount.mnt / "open").write_bytes(b"root's")
        (mount.mnt / "open").chmod(0o666)
        user.write_file(mount.mnt / "open", b"by nobody")
        assert (mount.mnt / "open").stat().st_uid == 0
        assert (mount.mnt / "open").read_bytes() == b"by nobody"


def test_W5_hard_link_is_broken_by_a_commit(mount: Place, worker: NewWorker) -> None:
    """Said in SEMANTICS.md: as by every atomic replace, the other name keeps the old version."""
    path, other = mount.mnt / "f", mount.mnt / "other"
    path.write_bytes(b"old")
    os.link(path, other)
    worker().write_file(path, b"new")
    assert (path.read_bytes(), other.read_bytes()) == (b"new", b"old")
    assert path.stat().st_nlink == other.stat().st_nlink == 1


def test_W5_cp_p_and_touch_keep_nanoseconds(mount: Place, tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    origin.write_bytes(b"content")
    origin.chmod(0o640)
    os.utime(origin, ns=(1_000_000_000_111_222_333, 1_000_000_001_444_555_666))
    programs.run("cp", "-p", origin, mount.mnt / "copy")
    found = (mount.mnt / "copy").stat()
    assert found.st_mtime_ns == 1_000_000_001_444_555_666
    assert mode_of(mount.mnt / "copy") == 0o640
