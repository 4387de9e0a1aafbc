"""What is looked at before mounting, so that each thing that can be wrong is said in one line that helps."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
from pathlib import Path

import click

from lockfs.cli import mounts, probe
from lockfs.cli.mounts import Mount
from lockfs.cli.say import Failure, one_line, reason, shown

DEV_FUSE = "/dev/fuse"
FUSE_CONF = Path("/etc/fuse.conf")


def resolve_pair(source: str, mountpoint: str) -> tuple[Path, Path]:
    """SOURCE and MOUNTPOINT, absolute, without symbolic links, and fit for each other.

    A dead lockfs mount at MOUNTPOINT is taken away first. Raises `Failure` for all that forbids to mount.
    """
    table = mounts.read_table()
    target = mounts.resolve(mountpoint, table)
    table = clear_mountpoint(target, table)
    origin = mounts.resolve(source, table)
    check_source(origin, table)
    check_mountpoint(target)
    if mounts.is_below(target, origin):
        raise Failure(
            f"the mountpoint {shown(target)} lies inside the source {shown(origin)}, "
            "and would contain itself; use a mountpoint outside of it, or the source itself"
        )
    if mounts.is_below(origin, target):
        raise Failure(
            f"the source {shown(origin)} lies inside the mountpoint {shown(target)}, "
            "and would be hidden by the mount; use another mountpoint"
        )
    return Path(origin), Path(target)


def clear_mountpoint(target: str, table: list[Mount]) -> list[Mount]:
    """Take dead lockfs mounts off `target`; returns the table of mounts as it then is.

    Raises `Failure` if a mount there still works, or cannot be asked.
    """
    while (there := mounts.topmost_at(table, target)) is not None and there.is_lockfs:
        answer = probe.ask(target)
        if answer.state != "dead":
            who = f" by pid {answer.pid}" if answer.pid else ""
            quiet = ", but does not answer" if answer.state == "silent" else ""
            raise Failure(
                f"{shown(target)} is already mounted{who} (source {shown(there.source)}){quiet}; "
                f"'lockfs umount {shown(target)}' first, or use another mountpoint"
            )
        detach(target)
        click.echo(f"lockfs: removed the dead mount at {shown(target)}, its daemon had gone", err=True)
        table = mounts.read_table()
    return table


def detach(mountpoint: str) -> None:
    """Take the topmost mount off `mountpoint`, whoever still uses it. Raises `Failure` if not allowed."""
    if shutil.which("fusermount3"):
        command = ["fusermount3", "-u", "-z", "--", mountpoint]
    else:
        command = ["umount", "-l", "--", mountpoint]
    try:
        done = subprocess.run(command, capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failure(f"cannot unmount {shown(mountpoint)}: {one_line(str(error))}") from error
    if done.returncode != 0:
        said = one_line(done.stderr.decode("utf-8", "replace")) or f"{command[0]} ended with {done.returncode}"
        raise Failure(f"cannot unmount {shown(mountpoint)}: {said}; try it as root")


def check_source(source: str, table: list[Mount]) -> None:
    """The source is a directory that can be used, and not itself on a lockfs mount."""
    below = mounts.mount_of(table, source)
    if below is not None and below.fstype == mounts.FSTYPE:
        raise _on_lockfs(source, below)
    status = _stat_directory(source, "source")
    for mount in mounts.lockfs_mounts(table):
        if mount.device == status.st_dev:  # through a bind mount
            raise _on_lockfs(source, mount)
    if not os.access(source, os.R_OK | os.X_OK):
        raise Failure(f"no permission to read the source {shown(source)}; run as its owner or as root")


def is_read_only(source: Path) -> bool:
    """Nothing can be staged in the source: the filesystem is read-only, or this user may not write there."""
    hidden = source / ".lockfs"
    return not (os.access(source, os.W_OK | os.X_OK) or os.access(hidden, os.R_OK | os.W_OK | os.X_OK))


def check_mountpoint(mountpoint: str) -> None:
    """The mountpoint is a directory, and may be mounted on."""
    status = _stat_directory(mountpoint, "mountpoint")
    # As fusermount3 will say, but in words.
    uid = os.geteuid()
    if uid != 0 and status.st_uid != uid:
        raise Failure(
            f"the mountpoint {shown(mountpoint)} belongs to another user; use one of your own, or run as root"
        )


def _on_lockfs(source: str, mount: Mount) -> Failure:
    return Failure(
        f"the source {shown(source)} is on the lockfs mount {shown(mount.mountpoint)} "
        f"(source {shown(mount.source)}); use that mount, or unmount it first"
    )


def _stat_directory(path: str, role: str) -> os.stat_result:
    try:
        status = os.stat(path)
    except FileNotFoundError as error:
        raise Failure(
            f"the {role} {shown(path)} does not exist; check its name, or 'mkdir -p {shown(path)}'"
        ) from error
    except OSError as error:
        hint = "; a dead mount is there, unmount it first" if error.errno == errno.ENOTCONN else ""
        raise Failure(f"cannot use the {role} {shown(path)}: {reason(error)}{hint}") from error
    if not stat.S_ISDIR(status.st_mode):
        raise Failure(f"the {role} {shown(path)} is not a directory; lockfs mounts directories")
    return status


def check_fuse(allow_other: bool) -> None:
    """This machine and this user can mount with FUSE."""
    _check_device()
    if os.geteuid() == 0:
        return
    if shutil.which("fusermount3") is None:
        raise Failure("fusermount3 is missing, which mounts for users; install the package fuse3, or run as root")
    if allow_other and not user_allow_other():
        raise Failure(
            f"--allow-other needs root, or a line 'user_allow_other' in {FUSE_CONF}; "
            "add the line, or leave the option out"
        )


def _check_device() -> None:
    try:
        os.close(os.open(DEV_FUSE, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError as error:
        raise Failure(
            f"there is no {DEV_FUSE}; run 'modprobe fuse' as root, "
            "or start the container with --device /dev/fuse --cap-add SYS_ADMIN"
        ) from error
    except PermissionError as error:
        raise Failure(
            f"no permission to open {DEV_FUSE}; run as root, make it accessible with 'chmod 666 {DEV_FUSE}', "
            "or start the container with --device /dev/fuse"
        ) from error
    except OSError as error:
        raise Failure(f"cannot open {DEV_FUSE}: {reason(error)}; run 'modprobe fuse' as root") from error


def user_allow_other() -> bool:
    """/etc/fuse.conf lets users mount for others. A file that cannot be read says no."""
    try:
        lines = FUSE_CONF.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return any(line.split("#", 1)[0].strip() == "user_allow_other" for line in lines)
