"""Ask a mount for its stats.json without ever hanging on it."""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lockfs.cli.mounts import Mount

DEADLINE_S = 3.0
"""How long a mount may take to answer; a healthy one needs about a millisecond."""

State = Literal["mounted", "dead", "silent", "private", "unknown"]
"""mounted: it answered. dead: its daemon has gone (ENOTCONN). silent: no answer in time. private: it belongs
to another user, who did not allow others in (not even root). unknown: it answered something else."""

_DEAD_ERRNOS = frozenset({errno.ENOTCONN, errno.ECONNABORTED})


@dataclass(frozen=True, slots=True)
class Answer:
    """What a mount said. `stats` is stats.json (its schema is in the README) for "mounted", else empty."""

    state: State
    stats: dict[str, Any]

    @property
    def pid(self) -> int | None:
        """The daemon's process id, if it said one."""
        pid = self.stats.get("pid")
        return pid if isinstance(pid, int) else None


class Probe:
    """One question to one mount, under way.

    It is put by a child process: who waits inside the kernel for a daemon that hangs cannot be ended, only be
    left behind, and a thread would keep its process from ending.
    """

    def __init__(self, mountpoint: str) -> None:
        read_fd, write_fd = os.pipe()
        self._fd = read_fd
        self._pid = os.fork()
        if self._pid == 0:
            _ask_and_exit(mountpoint, write_fd)
        os.close(write_fd)

    def answer(self, until_s: float) -> Answer:
        """The answer, or "silent" when there is none by `until_s` (time.monotonic)."""
        chunks: list[bytes] = []
        try:
            while True:
                ready, _, _ = select.select([self._fd], [], [], max(0.0, until_s - time.monotonic()))
                if not ready:
                    os.kill(self._pid, signal.SIGKILL)
                    return Answer("silent", {})
                chunk = os.read(self._fd, 1 << 16)
                if not chunk:
                    return _understand(b"".join(chunks))
                chunks.append(chunk)
        finally:
            os.close(self._fd)
            # Reaped if it has ended; else it may be stuck, and is left to init.
            os.waitpid(self._pid, os.WNOHANG)


def _ask_and_exit(mountpoint: str, write_fd: int) -> None:
    """In the child: one line with the errno (0 if fine), then the content."""
    status = 1
    try:
        try:
            content = Path(mountpoint, ".lockfs", "stats.json").read_bytes()
            reply = b"0\n" + content
        except OSError as error:
            reply = b"%d\n" % (error.errno or errno.EIO)
        view = memoryview(reply)
        while view:
            view = view[os.write(write_fd, view) :]
        status = 0
    finally:
        os._exit(status)


def _understand(reply: bytes) -> Answer:
    head, _, content = reply.partition(b"\n")
    code = int(head) if head.isdigit() else errno.EIO
    if code in _DEAD_ERRNOS:
        return Answer("dead", {})
    if code in (errno.EACCES, errno.EPERM):
        return Answer("private", {})
    if code != 0:
        return Answer("unknown", {})
    try:
        stats = json.loads(content)
    except ValueError:
        return Answer("unknown", {})
    if not isinstance(stats, dict):
        return Answer("unknown", {})
    return Answer("mounted", stats)


def ask(mountpoint: str, deadline_s: float = DEADLINE_S) -> Answer:
    """Ask one mount; takes at most `deadline_s`."""
    return Probe(mountpoint).answer(time.monotonic() + deadline_s)


def ask_all(mounts: list[Mount], deadline_s: float = DEADLINE_S) -> list[Answer]:
    """Ask all at once: however many are silent, it takes `deadline_s` at most. Same order as `mounts`."""
    until_s = time.monotonic() + deadline_s
    return [probe.answer(until_s) for probe in [Probe(mount.mountpoint) for mount in mounts]]


def daemon_in_lock_file(mount: Mount) -> int | None:
    """The daemon's pid as its lock file has it, for a mount that does not answer; None if not known.

    Not for a mount over itself: there the lock file can only be reached through the mount.
    """
    if mount.source == mount.mountpoint:
        return None
    try:
        note = json.loads(Path(mount.source, ".lockfs", "lock").read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(note, dict) or note.get("mountpoint") != mount.mountpoint:
        return None
    pid = note.get("pid")
    return pid if isinstance(pid, int) and is_lockfs_process(pid) else None


def is_lockfs_process(pid: int) -> bool:
    """Process `pid` is there and its command line names lockfs: a number may have gone to another program."""
    try:
        return b"lockfs" in Path("/proc", str(pid), "cmdline").read_bytes()
    except OSError:
        return False
