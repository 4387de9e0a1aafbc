"""Real mounts: start the daemon as a program, wait until it answers, and check at the end that it behaved."""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.programs import wait_for_exit
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
FSTYPE = "fuse.lockfs"
START_S = 20.0
STOP_S = 20.0
BAD_LINE = re.compile(r"\bERROR\b|\bCRITICAL\b|Traceback \(most recent call last\)")


def _plain(field: str) -> str:
    """Undo mountinfo's octal escapes."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def lockfs_mounts() -> list[Path]:
    """Mountpoints of all lockfs mounts of this machine, from /proc/self/mountinfo."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        left, _, right = line.partition(" - ")
        if right.split(" ")[0] == FSTYPE:
            found.append(Path(_plain(left.split(" ")[4])))
    return found


def lazy_unmount(mountpoint: Path) -> None:
    """Take the mount away whatever state it is in (the last resort)."""
    subprocess.run(["fusermount3", "-uzq", str(mountpoint)], timeout=20, check=False)


def lockfs_command() -> list[str]:
    """How the tests call lockfs: the tree under test, by the interpreter that runs the tests."""
    return [sys.executable, "-m", "lockfs.cli.main"]


def lockfs_environment() -> dict[str, str]:
    """The tree under test first, whether it is installed or not."""
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{path}" if path else str(ROOT)}


def lockfs(*arguments: str | Path, limit_s: float = 30.0) -> subprocess.CompletedProcess[str]:
    """Run `lockfs ARGUMENTS` to its end."""
    command = [*lockfs_command(), *map(str, arguments)]
    return subprocess.run(
        command, env=lockfs_environment(), capture_output=True, text=True, timeout=limit_s, check=False
    )


_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """For preexec_fn: SIGTERM when the process that started this one ends, even by kill -9."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class MountFault(AssertionError):
    """The daemon did something no test may tolerate: an error in its log, no exit, a mount left behind."""


class Mount:
    """A running daemon with its mount.

    `source` is the backing directory, `mnt` what programs use; both exist. `log` is all the daemon has said so far.
    """

    def __init__(self, source: Path, mnt: Path, logs: Path, options: tuple[str, ...]) -> None:
        self.source = source
        self.mnt = mnt
        logs.mkdir(parents=True, exist_ok=True)
        self._out = logs / "daemon.out"
        self._logfile = logs / "daemon.log"
        self._killed = False
        command = [*lockfs_command(), "mount", "--foreground", str(source), str(mnt)]
        with self._out.open("wb") as out:
            self._process = subprocess.Popen(
                [*command, "--log-file", str(self._logfile), *options],
                env=lockfs_environment(),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        try:
            wait_until(self._answers, START_S, "the mount's first answer")
        except BaseException:
            self._end_by_force()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        """Everything the daemon wrote, to its log file and to standard output and error."""
        parts = [path.read_text(errors="replace") for path in (self._logfile, self._out) if path.exists()]
        return "".join(parts)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def _answers(self) -> bool:
        if not self.alive:
            raise MountFault(f"the daemon ended with status {self._process.returncode}:\n{self.log}")
        try:
            return self.mnt in lockfs_mounts() and self.stats()["pid"] == self.pid
        except OSError:  # a dead mount lies there, or this one does not answer yet
            return False

    def stats(self) -> dict[str, Any]:
        """`/.lockfs/stats.json`, parsed."""
        stats = json.loads((self.mnt / ".lockfs" / "stats.json").read_text())
        assert isinstance(stats, dict)
        return stats

    def waiting(self, pid: int) -> bool:
        """Whether this process is in a queue now."""
        return any(waiter["pid"] == pid for waiter in self.stats()["waiters"])

    def holding(self, pid: int) -> bool:
        """Whether this process holds a pen now."""
        return any(holder["pid"] == pid for holder in self.stats()["holders"])

    def wait_for_waiters(self, *pids: int, deadline_s: float = 10.0) -> None:
        """Until all of these processes are in a queue."""
        wait_until(lambda: all(map(self.waiting, pids)), deadline_s, f"processes {pids} waiting in a queue")

    def orphans(self) -> list[Path]:
        """The files in the backing directory's orphans, notes included."""
        return sorted(path for path in (self.source / ".lockfs" / "orphans").rglob("*") if path.is_file())

    def staged(self) -> list[Path]:
        """The files in the backing directory's staging area."""
        return sorted(path for path in (self.source / ".lockfs" / "staging").rglob("*") if path.is_file())

    def bad_lines(self) -> list[str]:
        return [line for line in self.log.splitlines() if BAD_LINE.search(line)]

    def kill_daemon(self) -> None:
        """kill -9 (N3). The mountpoint is left as the kernel leaves it."""
        self._killed = True
        self._process.kill()
        self._process.wait(STOP_S)

    def terminate(self) -> None:
        """SIGTERM, without waiting (N7)."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self, deadline_s: float = STOP_S) -> int:
        """The daemon's exit status, once it has ended."""
        try:
            return wait_for_exit(self._process, deadline_s)
        except subprocess.TimeoutExpired:
            raise MountFault(f"the daemon did not exit within {deadline_s:g} s:\n{self.log[-4000:]}") from None

    def stop(self) -> None:
        """Terminate, wait, check. MountFault if the daemon logged an error, stayed, or left its mount behind."""
        try:
            if self.alive:
                self.terminate()
            status = self.wait()
            faults = self.bad_lines()
            if not self._killed:
                if status != 0:
                    faults.append(f"exit status {status}")
                if self.mnt in lockfs_mounts():
                    faults.append("the mount is still there after the daemon's exit")
            if faults:
                raise MountFault("the daemon misbehaved:\n" + "\n".join(faults) + f"\n{self.log[-6000:]}")
        finally:
            self._end_by_force()

    def _end_by_force(self) -> None:
        """Nothing of this daemon is left after this, unless the kernel is stuck."""
        if self.alive:
            self._process.kill()
        if self.mnt in lockfs_mounts():
            lazy_unmount(self.mnt)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            pass

    def break_off(self) -> None:
        """For the watchdog: whoever is stuck in this mount gets ENOTCONN now."""
        self._killed = True
        self._process.kill()


@contextmanager
def mounted(tmp_path: Path, *options: str, source: Path | None = None, mnt: Path | None = None) -> Iterator[Mount]:
    """A mount of `tmp_path`/source (or `source`) on `tmp_path`/mnt (or `mnt`), stopped and checked at the end."""
    source = tmp_path / "source" if source is None else source
    mnt = tmp_path / "mnt" if mnt is None else mnt
    source.mkdir(parents=True, exist_ok=True)
    if mnt not in lockfs_mounts():  # a dead mount's mountpoint answers ENOTCONN to everything
        mnt.mkdir(parents=True, exist_ok=True)
    number = sum(1 for _ in tmp_path.glob("logs*"))
    mount = Mount(source, mnt, tmp_path / f"logs{number}", options)
    try:
        yield mount
    except BaseException:
        try:
            mount.stop()
        except MountFault as fault:
            print(f"also: {fault}")  # shown with the test's own failure, which matters more
        raise
    mount.stop()
