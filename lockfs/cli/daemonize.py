"""Start in the background: the caller waits until the mount is ready, or hears why not."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from lockfs.cli.say import Failure, one_line

READY_DEADLINE_S = 60.0
"""Mounting itself takes milliseconds, but a big staging area may have to be swept first (N3)."""

Serve = Callable[[Callable[[], None]], None]
"""Does the work, and calls its argument once it is ready. Raises `Failure` if it cannot start."""

_READY = b"ready"


def start(serve: Serve, keep_fds: frozenset[int] = frozenset(), stderr_fd: int | None = None) -> int:
    """Run `serve` in a process of its own, and return its pid once it is ready.

    It gets a session of its own, "/" as working directory, and none of the caller's descriptors but
    `keep_fds`; its stderr becomes `stderr_fd` (or /dev/null). Raises `Failure` with its reason if it ends
    or is not ready in time.
    """
    read_fd, write_fd = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _child(serve, write_fd, keep_fds, stderr_fd)
    os.close(write_fd)
    try:
        said = _wait(pid, read_fd)
    except KeyboardInterrupt:
        end(pid)
        raise
    finally:
        os.close(read_fd)
    if said == _READY:
        return pid
    raise Failure(said.decode("utf-8", "replace") or _how_it_ended(pid))


def end(pid: int) -> None:
    """End a daemon that was just started: politely, then after 3 s for good."""
    try:
        os.kill(pid, signal.SIGTERM)
        until_s = time.monotonic() + 3.0
        while time.monotonic() < until_s:
            if os.waitpid(pid, os.WNOHANG)[0] == pid:
                return
            time.sleep(0.02)
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, ChildProcessError):
        pass


def _wait(pid: int, read_fd: int) -> bytes:
    """What the child says first; empty if it ends without a word."""
    until_s = time.monotonic() + READY_DEADLINE_S
    said = b""
    while True:
        ready, _, _ = select.select([read_fd], [], [], max(0.0, until_s - time.monotonic()))
        if not ready:
            end(pid)
            raise Failure(f"the mount was not ready within {READY_DEADLINE_S:.0f} s, so it was ended; see the log")
        chunk = os.read(read_fd, 1 << 16)
        said += chunk
        if not chunk or said.endswith(b"\n"):
            return said.strip()


def _how_it_ended(pid: int) -> str:
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return f"the daemon was killed by signal {os.WTERMSIG(status)} before the mount was ready; see the log"
    code = os.waitstatus_to_exitcode(status)
    return f"the daemon ended with status {code} before the mount was ready; see the log"


def _child(serve: Serve, write_fd: int, keep_fds: frozenset[int], stderr_fd: int | None) -> NoReturn:
    """The daemon's life. Never returns into the caller's frames, whatever happens."""
    status = 1
    listening = True

    def tell(line: bytes) -> None:
        nonlocal listening
        if not listening:
            return  # the log has it; and the descriptor's number may belong to another file by now
        listening = False
        try:
            os.write(write_fd, line + b"\n")
        except OSError:
            pass  # the caller has gone
        os.close(write_fd)

    try:
        _let_go(keep_fds | {write_fd}, stderr_fd)
        try:
            serve(lambda: tell(_READY))
            status = 0
        except Failure as failure:
            tell(one_line(failure.message).encode("utf-8", "backslashreplace"))
    finally:
        os._exit(status)


def _let_go(keep_fds: frozenset[int], stderr_fd: int | None) -> None:
    """Keep nothing of the caller: session, terminal, working directory, descriptors, blocked signals."""
    os.setsid()
    os.chdir("/")
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    null_fd = os.open(os.devnull, os.O_RDWR)
    os.dup2(null_fd, 0)
    os.dup2(null_fd, 1)
    os.dup2(null_fd if stderr_fd is None else stderr_fd, 2)
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2 and fd not in keep_fds:
            try:
                os.close(fd)
            except OSError:
                pass  # the one that listed them
