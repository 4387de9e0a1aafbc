"""`lockfs mount`."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, get_args

import click

from lockfs.cli import checks, daemonize, logs, probe
from lockfs.cli.aside import StderrAside
from lockfs.cli.say import Failure, one_line, reason, shown
from lockfs.core.errors import LockfsError
from lockfs.runtime.settings import Durability, OnConflict, Settings

log = logging.getLogger(__name__)

LONGEST_S = 366 * 86400.0

_OWN_OPTIONS = frozenset({"fsname", "subtype", "fd", "rootmode", "user_id", "group_id", "max_read"})
"""Mount options that lockfs (or libfuse for it) sets itself: by them its mounts are found again."""


def a_time(text: str) -> float:
    """`text` as a number of seconds, 0 to a year. Fails with a usage error."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= LONGEST_S:  # also false for nan
        raise click.BadParameter(f"{text!r} is not a number of seconds from 0 to {LONGEST_S:.0f}")
    return number


# Not click.Path: it would stat the path, and hang on a mount whose daemon hangs.
@click.command()
@click.argument("source", type=str)
@click.argument("mountpoint", type=str)
@click.option("--foreground", "-f", is_flag=True, help="Stay in the foreground, and log to stderr.")
@click.option(
    "--on-conflict",
    type=click.Choice(get_args(OnConflict)),
    default="queue",
    show_default=True,
    help="A second writer waits for its turn, or gets EBUSY at once.",
)
@click.option(
    "--queue-timeout",
    type=a_time,
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a writer waits before it gets ETIMEDOUT.",
)
@click.option(
    "--durability",
    type=click.Choice(get_args(Durability)),
    default="replace",
    show_default=True,
    help="What is on disk before a new version takes its place: nothing, replaced files, all files.",
)
@click.option("--allow-other", is_flag=True, help="Let other users than the one who mounts use the mount.")
@click.option(
    "--xattrs", is_flag=True, help="Pass extended attributes and ACLs through. Each write then costs a request more."
)
@click.option(
    "--log-file",
    type=str,
    metavar="FILE",
    help="Log there; the default is SOURCE/.lockfs/lockfs.log, or stderr in the foreground (none if read-only).",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default="info",
    show_default=True,
)
@click.option("-o", "options", multiple=True, metavar="OPT[,OPT...]", help="Mount options, as for other FUSE mounts.")
def mount(
    source: str,
    mountpoint: str,
    foreground: bool,
    on_conflict: OnConflict,
    queue_timeout: float,
    durability: Durability,
    allow_other: bool,
    xattrs: bool,
    log_file: str | None,
    log_level: Literal["debug", "info", "warning", "error"],
    options: tuple[str, ...],
) -> None:
    """Mount directory SOURCE on directory MOUNTPOINT.

    Comes back when the mount answers, with lockfs in the background. MOUNTPOINT may be SOURCE itself.
    """
    fuse_options = split_options(options)
    if "allow_other" in fuse_options:
        allow_other = True
        fuse_options = tuple(option for option in fuse_options if option != "allow_other")
    origin, target = checks.resolve_pair(source, mountpoint)
    checks.check_fuse(allow_other)
    settings = Settings(
        source=origin,
        mountpoint=target,
        on_conflict=on_conflict,
        queue_timeout_s=queue_timeout,
        durability=durability,
        allow_other=allow_other,
        xattrs=xattrs,
        fuse_options=fuse_options,
        read_only=checks.is_read_only(origin),
    )
    if foreground:
        run_foreground(settings, log_file, log_level)
    else:
        run_background(settings, log_file, log_level)


def split_options(given: Iterable[str]) -> tuple[str, ...]:
    """The single options of all `-o a,b=c`. Usage error: one that only lockfs may set."""
    found = tuple(option.strip() for text in given for option in text.split(",") if option.strip())
    for option in found:
        name = option.partition("=")[0]
        if name in _OWN_OPTIONS:
            raise click.BadParameter(f"{name!r} is set by lockfs itself, leave it out", param_hint="'-o'")
    return found


def run_foreground(settings: Settings, log_file: str | None, log_level: str) -> None:
    """Serve in this process until the mount is gone."""
    handler = logs.open_log_file(Path(log_file).absolute()) if log_file else logs.to_stderr()
    logs.configure(handler, log_level)
    # A failure that goes to stderr anyway is not logged there too: it is said once.
    run = serve_and_log if log_file else serve
    run(settings, lambda: click.echo(mounted_line(settings, os.getpid())))


def run_background(settings: Settings, log_file: str | None, log_level: str) -> None:
    """Serve in a process of its own; back when the mount answers."""
    # Opened before mounting: for a mount over itself the path leads through the mount afterwards.
    path = Path(log_file).absolute() if log_file else default_log_file(settings)
    handler = logs.open_log_file(path)

    def in_daemon(on_ready: Callable[[], None]) -> None:
        logs.configure(handler, log_level)
        serve_and_log(settings, on_ready)

    pid = daemonize.start(in_daemon, handler.fds, handler.stream.fileno())
    answer = probe.ask(str(settings.mountpoint), 10.0)
    if answer.state != "mounted":
        daemonize.end(pid)
        raise Failure(
            f"{shown(settings.mountpoint)} was mounted but did not answer ({answer.state}), "
            f"so it was unmounted; see {shown(path)}"
        )
    click.echo(mounted_line(settings, pid))


def default_log_file(settings: Settings) -> Path:
    """SOURCE/.lockfs/lockfs.log; makes the directory, readable for its owner only. Raises `Failure`.

    None is kept of a read-only mount, which has nothing to tell but its own bugs.
    """
    if settings.read_only:
        return Path(os.devnull)
    hidden = settings.source / ".lockfs"
    try:
        hidden.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise Failure(
            f"cannot make the directory {shown(hidden)}: {reason(error)}; lockfs keeps its staged files there"
        ) from error
    return hidden / "lockfs.log"


def mounted_line(settings: Settings, pid: int) -> str:
    """What a successful mount prints."""
    mounted = f"mounted {shown(settings.source)} on {shown(settings.mountpoint)} (pid {pid})"
    return f"{mounted}, read-only since lockfs may not write to the source" if settings.read_only else mounted


def serve(settings: Settings, on_ready: Callable[[], None]) -> None:
    """`lockfs.fuse.mount.serve`, with every way to fail made a `Failure`; a bug is logged with its trace."""
    try:
        # Late: all other commands work where pyfuse3 or libfuse cannot be loaded.
        from lockfs.fuse.mount import serve as serve_fuse
    except ImportError as error:
        log.exception("cannot load pyfuse3")
        raise Failure(f"cannot load pyfuse3 ({error}); install libfuse3 and reinstall lockfs with pip") from error

    aside = StderrAside()

    def ready() -> None:
        aside.stop()
        on_ready()

    with aside:
        try:
            serve_fuse(settings, ready)
        except LockfsError as error:
            raise Failure(with_reason(str(error), aside.said())) from error
        except Exception as error:
            log.exception("internal error while serving")
            message = f"internal error: {type(error).__name__}: {error}; the log has the details"
            raise Failure(with_reason(message, aside.said())) from error


def serve_and_log(settings: Settings, on_ready: Callable[[], None]) -> None:
    """As `serve`; a failure is logged before it is raised."""
    try:
        serve(settings, on_ready)
    except Failure as failure:
        log.error("failed: %s", failure.message)
        raise


def with_reason(message: str, said: list[str]) -> str:
    """`message`, and what libfuse printed last, if it printed something that the message does not have."""
    if not said or said[-1] in message:
        return one_line(message)
    return one_line(f"{message} ({said[-1]})")
