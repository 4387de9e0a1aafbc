"""`lockfs umount`."""

from __future__ import annotations

import dataclasses
import os
import select
import signal
import time

import click

from lockfs.cli import checks, mounts, probe
from lockfs.cli.mounts import Mount
from lockfs.cli.say import Failure, reason, shown
from lockfs.runtime.settings import Settings

MARGIN_S = 10.0
"""What ending may take beyond the grace period that open sessions get."""


def grace_s() -> float:
    """The default grace period (N7), in seconds."""
    return float(str({field.name: field.default for field in dataclasses.fields(Settings)}["grace_s"]))


# Not click.Path: it would stat the path, and hang on a mount whose daemon hangs.
@click.command()
@click.argument("mountpoint", type=str)
def umount(mountpoint: str) -> None:
    """Unmount MOUNTPOINT.

    Open sessions get a few seconds to end; what is left of them is kept in the orphans. A mount whose daemon
    has gone is taken away.
    """
    table = mounts.read_table()
    target = mounts.resolve(mountpoint, table)
    there = mounts.topmost_at(table, target)
    if there is None or not there.is_lockfs:
        raise Failure(f"{shown(target)} is not a lockfs mount; 'lockfs status' lists the ones there are")
    answer = probe.ask(target)
    pid = answer.pid if answer.state == "mounted" else probe.daemon_in_lock_file(there)
    if answer.state == "dead" or (pid is not None and not _process_exists(pid)):
        checks.detach(target)
        click.echo(f"unmounted {shown(target)} (its daemon had gone)")
        return
    if pid is None:
        raise Failure(_cannot_tell(target, answer.state))
    gone = ask_to_end(pid, grace_s() + MARGIN_S)
    if not gone:
        raise Failure(
            f"pid {pid} has not unmounted {shown(target)} within {grace_s() + MARGIN_S:.0f} s; "
            f"if it hangs, 'kill -9 {pid}' and run this again"
        )
    if _still_mounted(there):  # it ended, but not in the orderly way
        checks.detach(target)
    click.echo(f"unmounted {shown(target)}")


def _cannot_tell(target: str, state: probe.State) -> str:
    if state == "private":
        return f"{shown(target)} belongs to another user; run this as that user"
    quiet = "does not answer" if state == "silent" else "does not say which process serves it"
    return f"{shown(target)} {quiet}; find the process with 'ps ax | grep lockfs', end it, and run this again"


def _process_exists(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


def _still_mounted(mount: Mount) -> bool:
    """The kernel gives a mount's number to the next one at once, so the number alone does not tell."""
    return mount in mounts.read_table()


def ask_to_end(pid: int, timeout_s: float) -> bool:
    """SIGTERM to `pid`, then wait up to `timeout_s`; true if the process has gone. Raises `Failure`.

    The process is held by a descriptor: its number cannot pass to another one in between.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
    except ProcessLookupError:
        return True
    except OSError as error:
        raise Failure(f"cannot end the daemon, pid {pid}: {reason(error)}; run this as its user or as root") from error
    else:
        return _wait_for(pidfd, timeout_s)
    finally:
        os.close(pidfd)


def _wait_for(pidfd: int, timeout_s: float) -> bool:
    until_s = time.monotonic() + timeout_s
    while (left_s := until_s - time.monotonic()) > 0:
        if select.select([pidfd], [], [], left_s)[0]:
            return True
    return False
