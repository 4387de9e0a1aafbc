"""Whatever is wrong: one line on stderr that says what to do, an exit status, never a traceback."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lockfs.cli import checks, mounts
from lockfs.cli.main import main
from tests.support.mounting import lockfs

Fails = Callable[..., str]


@pytest.fixture
def fails(capfd: pytest.CaptureFixture[str]) -> Fails:
    """Runs `lockfs ARGUMENTS`, which must fail with `status` and exactly one line; returns that line."""

    def run(*arguments: str | Path, status: int = 1) -> str:
        assert main([str(argument) for argument in arguments]) == status
        out, err = capfd.readouterr()
        assert out == ""
        assert err.startswith("lockfs: ")
        assert err.endswith("\n")
        assert err.count("\n") == 1, err
        assert "Traceback" not in err
        return err

    return run


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A source and a mountpoint with nothing wrong."""
    source, mountpoint = tmp_path / "data", tmp_path / "work"
    source.mkdir()
    mountpoint.mkdir()
    return source, mountpoint


def table_of(path: Path, mountpoint: Path, source: Path, device: int) -> None:
    """Write a mountinfo with one lockfs mount into `path`."""
    major, minor = os.major(device), os.minor(device)
    path.write_text(f"90 1 {major}:{minor} / {mountpoint} rw - fuse.lockfs {source} rw\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["mount"],
        ["mount", "/tmp"],
        ["mount", "/tmp", "/tmp", "extra"],
        ["mount", "--no-such-option", "/tmp", "/tmp"],
        ["mount", "--on-conflict", "maybe", "/tmp", "/tmp"],
        ["mount", "--durability", "full", "/tmp", "/tmp"],
        ["mount", "--log-level", "loud", "/tmp", "/tmp"],
        ["mount", "-o", "fsname=x", "/tmp", "/tmp"],
        ["mount", "-o", "ro,subtype=x", "/tmp", "/tmp"],
        ["mount", "-o", "max_read=4096", "/tmp", "/tmp"],
        ["umount"],
        ["status", "a", "b"],
        ["no-such-command"],
        ["--no-such-option"],
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_2(fails: Fails, arguments: list[str]) -> None:
    assert "--help'" in fails(*arguments, status=2)


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "1e300", "soon", "", "0x10"])
def test_a_queue_timeout_that_is_no_time_is_refused(fails: Fails, value: str) -> None:
    line = fails("mount", "--queue-timeout", value, "/tmp", "/tmp", status=2)
    assert "number of seconds" in line


def test_without_a_command_the_help_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Usage: lockfs" in capfd.readouterr().err


def test_a_missing_source_is_named(fails: Fails, pair: tuple[Path, Path]) -> None:
    line = fails("mount", pair[0] / "nope", pair[1])
    assert f"source {pair[0]}/nope does not exist" in line


def test_a_missing_mountpoint_says_how_to_make_it(fails: Fails, pair: tuple[Path, Path]) -> None:
    assert "mkdir -p" in fails("mount", pair[0], pair[1] / "nope")


@pytest.mark.parametrize("role", ["source", "mountpoint"])
def test_a_file_in_place_of_a_directory(fails: Fails, pair: tuple[Path, Path], role: str) -> None:
    file = pair[0].parent / "file"
    file.touch()
    given = (file, pair[1]) if role == "source" else (pair[0], file)
    assert f"the {role} {file} is not a directory" in fails("mount", *given)


def test_a_mountpoint_inside_the_source_is_refused(fails: Fails, pair: tuple[Path, Path]) -> None:
    (pair[0] / "sub").mkdir()
    assert "would contain itself" in fails("mount", pair[0], pair[0] / "sub")


def test_a_link_does_not_hide_that_the_mountpoint_is_inside(fails: Fails, pair: tuple[Path, Path]) -> None:
    (pair[0] / "sub").mkdir()
    (pair[1] / "link").symlink_to(pair[0] / "sub")
    assert "would contain itself" in fails("mount", pair[0], pair[1] / "link")


def test_a_source_inside_the_mountpoint_is_refused(fails: Fails, pair: tuple[Path, Path]) -> None:
    (pair[1] / "sub").mkdir()
    assert "would be hidden" in fails("mount", pair[1] / "sub", pair[1])


def test_a_source_over_itself_is_fine(pair: tuple[Path, Path]) -> None:
    assert checks.resolve_pair(str(pair[0]), str(pair[0])) == (pair[0], pair[0])


def test_names_that_would_break_the_line_are_shown_escaped(fails: Fails, pair: tuple[Path, Path]) -> None:
    assert "a\\nb\\x1b" in fails("mount", pair[0] / "a\nb\x1b", pair[1])
    assert "\\xff" in fails("mount", pair[0] / os.fsdecode(b"\xff"), pair[1])


def test_no_dev_fuse(fails: Fails, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "DEV_FUSE", str(pair[0] / "fuse"))
    assert "modprobe fuse" in fails("mount", *pair)


def test_dev_fuse_that_may_not_be_opened(
    fails: Fails, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refused(path: str, *rest: int) -> int:
        if path == checks.DEV_FUSE:
            raise PermissionError(13, "Permission denied")
        return real(path, *rest)

    # Undone at once: pytest itself opens files in between.
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refused)
        line = fails("mount", *pair)
    assert "no permission to open /dev/fuse" in line


def _as_a_user(monkeypatch: pytest.MonkeyPatch, pair: tuple[Path, Path], conf: str | None) -> None:
    """As somebody who is not root, owns the mountpoint, and has /dev/fuse and fusermount3."""
    monkeypatch.setattr(os, "geteuid", lambda: pair[1].stat().st_uid or 12345)
    monkeypatch.setattr(checks, "check_mountpoint", lambda _: None)
    monkeypatch.setattr(checks, "DEV_FUSE", os.devnull)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    file = pair[0].parent / "fuse.conf"
    if conf is not None:
        file.write_text(conf)
    monkeypatch.setattr(checks, "FUSE_CONF", file)


@pytest.mark.parametrize("given", [["--allow-other"], ["-o", "allow_other"], ["-o", "ro,allow_other"]])
@pytest.mark.parametrize("conf", [None, "", "#user_allow_other\n", "mount_max = 5 # user_allow_other\n"])
def test_allow_other_needs_root_or_the_line_in_fuse_conf(
    fails: Fails, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, given: list[str], conf: str | None
) -> None:
    _as_a_user(monkeypatch, pair, conf)
    assert "user_allow_other" in fails("mount", *given, *pair)


def test_the_line_in_fuse_conf_is_found(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    _as_a_user(monkeypatch, pair, "mount_max = 5\n user_allow_other # yes\n")
    checks.check_fuse(allow_other=True)


def test_no_fusermount3_for_a_user(fails: Fails, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    _as_a_user(monkeypatch, pair, None)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert "install the package fuse3" in fails("mount", *pair)


def test_a_source_on_a_lockfs_mount_names_that_mount(
    fails: Fails, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (pair[0] / "sub").mkdir()
    monkeypatch.setattr(mounts, "MOUNTINFO", tmp_path / "mountinfo")
    table_of(tmp_path / "mountinfo", pair[0], Path("/the/source"), device=1)
    line = fails("mount", pair[0] / "sub", pair[1])
    assert f"is on the lockfs mount {pair[0]} (source /the/source)" in line


def test_a_source_on_a_bind_mount_of_a_lockfs_mount_is_found_by_its_device(
    fails: Fails, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(mounts, "MOUNTINFO", tmp_path / "mountinfo")
    table_of(tmp_path / "mountinfo", Path("/elsewhere"), Path("/the/source"), pair[0].stat().st_dev)
    assert "is on the lockfs mount /elsewhere" in fails("mount", *pair)


def test_a_log_file_that_cannot_be_written(fails: Fails, pair: tuple[Path, Path]) -> None:
    if not os.path.exists(checks.DEV_FUSE):
        pytest.skip("needs /dev/fuse")
    assert "--log-file" in fails("mount", "--log-file", pair[0] / "no" / "log", *pair)


@pytest.mark.parametrize("command", ["umount", "status"])
def test_what_is_not_a_lockfs_mount(fails: Fails, pair: tuple[Path, Path], command: str) -> None:
    assert f"{pair[1]} is not a lockfs mount" in fails(command, pair[1])


def test_a_bug_is_one_line_too(fails: Fails, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> object:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(mounts, "read_table", broken)
    assert "internal error: RuntimeError: two lines" in fails("status")


def test_as_a_program_it_prints_the_same_line_and_status(pair: tuple[Path, Path]) -> None:
    done = lockfs("mount", pair[0] / "nope", pair[1])
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("lockfs: the source")
    assert done.stderr.count("\n") == 1
