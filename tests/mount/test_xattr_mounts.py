"""How a mount with `--xattrs` is made: as root by lockfs itself, so that the kernel leaves the umask alone (acl(5))."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.acls import DEFAULT, acl, why_not
from tests.support.mounting import Mount, lockfs, lockfs_mounts
from tests.support.programs import shell
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="others mount through libfuse, as without the option")


def mode_of_file_made_with_umask_077(folder: Path) -> int:
    """In a directory whose default ACL gives everything to the group."""
    reason = why_not(folder)
    if reason is not None:
        pytest.skip(reason)
    (folder / "d").mkdir()
    os.setxattr(folder / "d", DEFAULT, acl(0o770))
    shell("umask 077; echo new > d/f", cwd=folder)
    return stat.S_IMODE((folder / "d" / "f").stat().st_mode)


def flags_of(mountpoint: Path) -> set[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return next(set(line.split(" ")[5].split(",")) for line in lines if line.split(" ")[4] == str(mountpoint))


def test_mount_options_are_those_of_libfuse(mount_with: Callable[..., object]) -> None:
    flags = []
    for option in ("--xattrs", "--log-level=info"):
        with mount_with(option, "-o", "noexec,noatime", "-o", "dev") as mount:  # type: ignore[attr-defined]
            flags.append(flags_of(mount.mnt))
    assert flags[0] == flags[1]
    assert {"rw", "nosuid", "noexec", "noatime"} <= flags[0]
    assert "nodev" not in flags[0]


def test_read_only(mount_with: Callable[..., object]) -> None:
    with mount_with("--xattrs", "-o", "ro") as mount, pytest.raises(OSError, match="Read-only"):  # type: ignore[attr-defined]
        os.setxattr(mount.mnt, "user.a", b"")


def test_over_itself(mount_with: Callable[..., object], tmp_path: Path) -> None:
    folder = tmp_path / "over itself, with a comma"
    folder.mkdir()
    with mount_with("--xattrs", source=folder, mnt=folder):  # type: ignore[attr-defined]
        assert mode_of_file_made_with_umask_077(folder) == 0o660


def test_an_option_that_only_libfuse_knows(mount_with: Callable[..., object]) -> None:
    """libfuse mounts then, and the umask applies everywhere: said in the log."""
    with mount_with("--xattrs", "-o", "auto_unmount") as mount:  # type: ignore[attr-defined]
        assert mode_of_file_made_with_umask_077(mount.mnt) == 0o600
        assert "umask applies despite default ACLs" in mount.log


@pytest.mark.parametrize("how", ["lockfs umount", "umount", "fusermount3 -u"])
def test_unmounted_by_others(mount_with: Callable[..., object], how: str) -> None:
    with mount_with("--xattrs") as mount:  # type: ignore[attr-defined]
        assert isinstance(mount, Mount)
        if how == "lockfs umount":
            assert lockfs("umount", mount.mnt).returncode == 0
        else:
            shell(f"{how} {mount.mnt}")
        assert mount.wait() == 0
        assert mount.mnt not in lockfs_mounts()


def test_N3_the_next_mount_takes_a_dead_one_away(mount_with: Callable[..., object]) -> None:
    with mount_with("--xattrs") as mount:  # type: ignore[attr-defined]
        (mount.mnt / "f").write_bytes(b"content")
        os.setxattr(mount.mnt / "f", "user.a", b"1")
        mount.kill_daemon()
        wait_until(lambda: not mount.alive, 10.0, "the daemon's end")
        with mount_with("--xattrs") as again:  # type: ignore[attr-defined]
            assert os.getxattr(again.mnt / "f", "user.a") == b"1"
