"""Reading mountinfo, and finding lockfs mounts in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockfs.cli import mounts, umount

ROOT = b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
WORK = b"40 22 0:45 / /mnt/work rw,nosuid shared:7 master:3 - fuse.lockfs /data rw,user_id=0\n"
OTHER = b"41 22 0:46 / /mnt/other rw - fuse.sshfs host:/ rw\n"


def _line(mountpoint: bytes, source: bytes = b"/data") -> bytes:
    """A line as the kernel writes it (seq_path escapes)."""

    def escaped(raw: bytes) -> bytes:
        return b"".join(b"\\%03o" % c if c in b" \t\n\\#" else bytes([c]) for c in raw)

    return b"40 22 0:45 / %s rw - fuse.lockfs %s rw\n" % (escaped(mountpoint), escaped(source))


def test_a_line_with_optional_fields_is_understood() -> None:
    [mount] = mounts.parse(WORK)
    assert mount == mounts.Mount(40, os.makedev(0, 45), "/", "/mnt/work", "fuse.lockfs", "/data")
    assert mount.is_lockfs


def test_octal_escapes_become_the_characters() -> None:
    line = b"40 22 0:45 / /mnt/a\\040b\\011c\\012d\\134e rw - fuse.lockfs /da\\043ta\\134040 rw\n"
    [mount] = mounts.parse(line)
    assert mount.mountpoint == "/mnt/a b\tc\nd\\e"
    assert mount.source == "/da#ta\\040"  # an escaped backslash does not begin another escape


@given(st.binary(min_size=1).filter(lambda raw: b"\0" not in raw), st.binary(min_size=1))
def test_every_name_comes_back_as_it_was(name: bytes, source: bytes) -> None:
    [mount] = mounts.parse(_line(b"/" + name, b"/" + source))
    assert os.fsencode(mount.mountpoint) == b"/" + name
    assert os.fsencode(mount.source) == b"/" + source


def test_lines_that_are_none_are_left_out() -> None:
    assert mounts.parse(b"\nnonsense\n1 2 3:x / /a rw - b c\n40 22 0:45 / /mnt\n") == []


def test_only_whole_lockfs_mounts_are_found() -> None:
    bind_of_a_part = b"42 22 0:45 /sub /mnt/part rw - fuse.lockfs /data rw\n"
    table = mounts.parse(ROOT + WORK + OTHER + bind_of_a_part)
    assert [mount.mountpoint for mount in mounts.lockfs_mounts(table)] == ["/mnt/work"]


def test_the_last_mount_on_a_path_is_the_one_that_is_seen() -> None:
    above = b"43 40 0:47 / /mnt/work rw - tmpfs tmpfs rw\n"
    top = mounts.topmost_at(mounts.parse(ROOT + WORK + above), "/mnt/work")
    assert top is not None
    assert top.fstype == "tmpfs"
    assert mounts.topmost_at(mounts.parse(ROOT + WORK), "/mnt/wor") is None


def test_mount_of_takes_the_nearest_one_and_whole_names_only() -> None:
    table = mounts.parse(ROOT + WORK)

    def nearest(path: str) -> str:
        mount = mounts.mount_of(table, path)
        assert mount is not None
        return mount.mountpoint

    assert nearest("/mnt/work/a/b") == "/mnt/work"
    assert nearest("/mnt/work") == "/mnt/work"
    assert nearest("/mnt/workshop") == "/"


def test_is_below_is_strict() -> None:
    assert mounts.is_below("/a/b", "/a")
    assert mounts.is_below("/a", "/")
    assert not mounts.is_below("/a", "/a")
    assert not mounts.is_below("/ab", "/a")


def test_resolve_follows_links_but_not_into_a_mount(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "chain").symlink_to(tmp_path / "link")
    real = os.path.realpath(tmp_path / "real")
    assert mounts.resolve(tmp_path / "chain", []) == real
    assert mounts.resolve(tmp_path / "link" / "missing", []) == real + "/missing"
    # A path that mountinfo names stays as it is, whatever is there.
    table = mounts.parse(_line(os.fsencode(tmp_path / "link")))
    assert mounts.resolve(tmp_path / "link", table) == str(tmp_path / "link")


def test_resolve_of_a_loop_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert mounts.resolve(tmp_path / "a", [])


def test_a_mount_that_got_the_number_of_one_that_went_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """`lockfs umount` asks whether what it ended is still there, while others mount."""
    [gone], [new] = mounts.parse(WORK), mounts.parse(WORK.replace(b"/mnt/work", b"/mnt/new"))
    assert gone.mount_id == new.mount_id
    monkeypatch.setattr(mounts, "read_table", lambda: [new])
    assert not umount._still_mounted(gone)
    assert umount._still_mounted(new)
