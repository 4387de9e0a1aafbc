"""A backing directory on overlayfs, whose inode numbers change: by a copy-up, and when nobody holds a directory."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from tests.conftest import Mounter
from tests.support import programs
from tests.support.filesystems import overlay, tmpfs
from tests.support.waiting import wait_until
from tests.support.worker import Worker

pytestmark = pytest.mark.slow

NewWorker = Callable[..., Worker]


@pytest.fixture(params=["one filesystem", "two filesystems"])
def layers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Where the overlay is to be mounted, and its lower layer, to be filled before; on two filesystems the numbers are
    the least stable."""
    with ExitStack() as stack:
        upper = stack.enter_context(tmpfs(tmp_path / "upper"))
        lower = upper / "lower"
        if request.param == "two filesystems":
            lower = stack.enter_context(tmpfs(tmp_path / "lower"))
        lower.mkdir(exist_ok=True)
        yield tmp_path, lower


def made(where: tuple[Path, Path]) -> AbstractContextManager[Path]:
    base, lower = where
    return overlay(base / "source", lower, base / "upper" / "up", base / "upper" / "work")


def drop_unused(source: Path) -> None:
    """The overlay forgets all inodes that nobody holds, as it does when memory is short."""
    programs.run("mount", "-o", "remount", source)


def test_files_of_the_lower_layer_are_copied_up_by_writers(
    layers: tuple[Path, Path], mount_with: Mounter, worker: NewWorker
) -> None:
    kinds = ("edited", "replaced", "appended", "mode", "cut", "out.log", "renamed", "linked", "times")
    for name in kinds:
        (layers[1] / name).write_bytes(b"lower\n")
    with made(layers) as source, mount_with(source=source) as mount:
        reader = worker()
        fds = {name: reader.open(mount.mnt / name, "r") for name in kinds}
        assert {reader.read_all(fd) for fd in fds.values()} == {b"lower\n"}
        writer = worker()
        fd = writer.open(mount.mnt / "edited", "r+")
        writer.do("pwrite", fd, b"L", 0)
        assert (mount.mnt / "edited").read_bytes() == b"lower\n"
        writer.close(fd)
        writer.write_file(mount.mnt / "replaced", b"new\n")
        programs.shell(
            "echo more >> appended; chmod 600 mode; truncate -s 2 cut; echo more >> out.log; "
            "echo x | dd of=out.log bs=1 conv=notrunc 2>/dev/null; mv renamed moved; ln linked link; "
            "touch -d 2020-01-01 times",
            mount.mnt,
        )
        expected = {
            "edited": b"Lower\n",
            "replaced": b"new\n",
            "appended": b"lower\nmore\n",
            "mode": b"lower\n",
            "cut": b"lo",
            "out.log": b"x\nwer\nmore\n",
            "moved": b"lower\n",
            "linked": b"lower\n",
            "link": b"lower\n",
            "times": b"lower\n",
        }
        seen = {path.name: path.read_bytes() for path in mount.mnt.iterdir()}
        assert seen == expected
        assert (mount.mnt / "mode").stat().st_mode & 0o777 == 0o600
        assert (mount.mnt / "times").stat().st_mtime < 1.6e9
        assert "in place" not in mount.log
        for name in ("edited", "replaced", "cut"):
            assert reader.do("pread", fds[name], 100, 0) == b"lower\n"  # W2
        wait_until(lambda: reader.do("pread", fds["appended"], 100, 0) == b"lower\nmore\n", what="the append")
        assert {path.name: path.read_bytes() for path in source.iterdir() if path.name != ".lockfs"} == expected


def test_a_database_of_the_lower_layer(layers: tuple[Path, Path], mount_with: Mounter) -> None:
    with sqlite3.connect(layers[1] / "base.db") as base:
        base.execute("create table t (x)")
        base.execute("insert into t values (1)")
    base.close()
    with made(layers) as source, mount_with(source=source) as mount:
        one = sqlite3.connect(mount.mnt / "base.db", timeout=10)
        two = sqlite3.connect(mount.mnt / "base.db", timeout=10)
        for number, connection in enumerate((one, two, one, two)):
            with connection:
                connection.execute("insert into t values (?)", (number,))
        assert one.execute("select count(*) from t").fetchone() == (5,)
        assert two.execute("pragma integrity_check").fetchone() == ("ok",)
        one.close()
        two.close()


def test_directories_keep_their_identity(layers: tuple[Path, Path], mount_with: Mounter, worker: NewWorker) -> None:
    (layers[1] / "old" / "deep").mkdir(parents=True)
    (layers[1] / "old" / "deep" / "f").write_bytes(b"lower")
    with made(layers) as source, mount_with(source=source) as mount:
        (mount.mnt / "new" / "deep").mkdir(parents=True)
        (mount.mnt / "new" / "deep" / "f").write_bytes(b"upper")
        for name in ("old", "new"):
            inside = worker()
            inside.do("chdir", mount.mnt / name / "deep")
            for _ in range(3):
                drop_unused(source)
                assert inside.read_file("f")
                inside.write_file("g", b"x")
                inside.do("rename", "g", "h")
                assert inside.stat(".").st_ino == os.stat(mount.mnt / name / "deep").st_ino
                assert inside.run("sh", "-c", "ls ../deep; pwd -P").decode().split("\n")[:2] == ["f", "h"]
                programs.shell("find . > /dev/null && ls -l deep && echo z > deep/z && rm deep/z", mount.mnt / name)
