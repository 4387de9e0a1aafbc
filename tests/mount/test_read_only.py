"""A backing directory that lockfs may not write to, and one that becomes so."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Mounter
from tests.support import programs
from tests.support.filesystems import bind, image, mounted_at, need_root
from tests.support.mounting import lockfs, lockfs_command, lockfs_environment
from tests.support.waiting import wait_until
from tests.support.worker import Worker

pytestmark = pytest.mark.slow

NewWorker = Callable[..., Worker]


def fill(directory: Path) -> None:
    (directory / "d").mkdir(parents=True)
    (directory / "f").write_bytes(b"old")
    (directory / "d" / "g").write_bytes(b"deep")


def writable(directory: Path) -> bool:
    try:
        (directory / "probe").touch()
    except OSError:
        return False
    return True


def by_bind(base: Path) -> Iterator[Path]:
    fill(base / "origin")
    with bind(base / "origin", base / "source", read_only=True) as source:
        yield source


def by_squashfs(base: Path) -> Iterator[Path]:
    programs.need("mksquashfs")
    fill(base / "origin")
    programs.run("mksquashfs", base / "origin", base / "image", "-quiet", "-no-progress")
    with mounted_at(base / "source", "-t", "squashfs", "-o", "loop,ro", base / "image") as source:
        yield source


def by_ext4(base: Path) -> Iterator[Path]:
    with image("ext4", base / "source", base / "image") as source:
        fill(source)
        programs.run("mount", "-o", "remount,ro", source)
        yield source


@pytest.fixture(params=[by_bind, by_squashfs, by_ext4])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    need_root()
    yield from request.param(tmp_path)


def check_reading_and_EROFS(mnt: Path) -> None:
    assert (mnt / "f").read_bytes() == b"old"
    assert sorted(os.listdir(mnt)) == sorted({"d", "f", *os.listdir(mnt)})
    assert programs.shell("cat d/g; find . -name .lockfs; tar c . | wc -c | grep -q 0", mnt) == "deep"
    changes: list[Callable[[], object]] = [
        lambda: (mnt / "f").write_bytes(b"new"),
        lambda: (mnt / "f").open("r+b").close(),
        lambda: (mnt / "f").open("ab").close(),
        lambda: (mnt / "new").write_bytes(b"new"),
        lambda: os.truncate(mnt / "f", 0),
        lambda: (mnt / "f").chmod(0o600),
        lambda: os.utime(mnt / "f"),
        lambda: (mnt / "e").mkdir(),
        lambda: (mnt / "f").unlink(),
        lambda: (mnt / "f").rename(mnt / "h"),
        lambda: os.link(mnt / "f", mnt / "h"),
        lambda: (mnt / "h").symlink_to("f"),
    ]
    for change in changes:
        with pytest.raises(OSError, match="Read-only file system"):
            change()
    assert (mnt / "f").read_bytes() == b"old"


def test_read_only_source_makes_a_read_only_mount(source: Path, mount_with: Mounter) -> None:
    with mount_with(source=source) as mount:
        check_reading_and_EROFS(mount.mnt)
        assert mount.stats()["errors"] == 0
        assert mount.log.count("read-only since lockfs may not write to the source") == 1
    assert not (source / ".lockfs").exists()


def test_read_only_source_in_the_background(source: Path, can_mount: None, tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    done = lockfs("mount", source, tmp_path / "mnt")
    try:
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith("read-only since lockfs may not write to the source\n")
        assert done.stdout.count("\n") == 1
        assert (tmp_path / "mnt" / "f").read_bytes() == b"old"
        assert lockfs("status", tmp_path / "mnt").returncode == 0
    finally:
        assert lockfs("umount", tmp_path / "mnt").returncode == 0


def test_source_that_the_user_may_not_write(can_mount: None, tmp_path: Path) -> None:
    """Somebody may look at what others own. Here it is root without the right to pass over permissions."""
    need_root()
    programs.need("setpriv")
    source, mnt = tmp_path / "source", tmp_path / "mnt"
    fill(source)
    mnt.mkdir()
    os.chown(source, 65534, 65534)
    powerless = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner,-chown"]
    done = programs.run(*powerless, *lockfs_command(), "mount", source, mnt, env=lockfs_environment())
    try:
        assert done.stderr == b""
        assert b"read-only since" in done.stdout
        check_reading_and_EROFS(mnt)
    finally:
        assert lockfs("umount", mnt).returncode == 0
    assert not (source / ".lockfs").exists()


def test_N4_filesystem_that_becomes_read_only(tmp_path: Path, mount_with: Mounter, worker: NewWorker) -> None:
    """ext4 does so after an error: writers hear of it, and old versions stay."""
    with image("ext4", tmp_path / "source", tmp_path / "image", ",errors=remount-ro") as source:
        device = programs.run("findmnt", "-n", "-o", "SOURCE", source).stdout.decode().strip()
        trigger = Path("/sys/fs/ext4") / Path(device).name / "trigger_fs_error"
        if not trigger.exists():
            pytest.skip(f"no {trigger}")
        with mount_with(source=source) as mount:
            for name in ("f", "g", "h", "log"):
                (mount.mnt / name).write_bytes(b"old\n")
            writer, editor, appender = worker(), worker(), worker()
            fds = [writer.open(mount.mnt / "f", "w"), editor.open(mount.mnt / "g", "r+")]
            tail = appender.open(mount.mnt / "log", "a")
            writer.write(fds[0], b"new")
            writer.do("fsync", fds[0])
            trigger.write_text("by a test")
            wait_until(lambda: not writable(source), what="the read-only filesystem")
            for who, what in ((writer, fds[0]), (editor, fds[1]), (appender, tail)):
                assert who.begin("write", what, b"more\n").error() in ("EROFS", "EIO")
                who.begin("close", what).answer()
            for change in (
                lambda: (mount.mnt / "h").write_bytes(b"new"),
                lambda: (mount.mnt / "h").open("r+b").close(),
                lambda: (mount.mnt / "h").open("ab").close(),
                lambda: (mount.mnt / "new").write_bytes(b"new"),
                lambda: os.truncate(mount.mnt / "h", 0),
                lambda: (mount.mnt / "e").mkdir(),
            ):
                with pytest.raises(OSError, match="Errno") as refused:
                    change()
                assert refused.value.errno in (errno.EROFS, errno.EIO)
            for name in ("f", "g", "h", "log"):
                assert (mount.mnt / name).read_bytes() == b"old\n"
            assert not (mount.mnt / "new").exists()
            wait_until(lambda: mount.stats()["sessions"]["open"] == 0, what="the sessions' end")
            assert mount.stats()["errors"] == 0
