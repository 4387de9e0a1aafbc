"""What /proc tells about the processes that use the mount (proc(5), proc_pid_stat(5), proc_pid_status(5))."""

from __future__ import annotations

import itertools
import os
import re
import signal
import time
from collections.abc import Container
from dataclasses import dataclass

from lockfs.core.ids import Lineage, WriterId

_CACHE_S = 0.25
_CACHE_ENTRIES = 4096
_PF_EXITING = 0x4
_ENDING_SIGNALS = sum(
    1 << (number - 1) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL)
)
_TGID = re.compile(rb"^Tgid:\t(\d+)$", re.M)
_UMASK = re.compile(rb"^Umask:\t([0-7]+)$", re.M)
_GROUPS = re.compile(rb"^Groups:\t([0-9 ]*)$", re.M)
_CAPABILITIES = re.compile(rb"^CapEff:\t([0-9a-f]+)$", re.M)
_MASKS = re.compile(rb"^(SigPnd|ShdPnd|SigBlk|SigIgn):\t([0-9a-f]+)$", re.M)


CAP_FSETID = 4
CAP_SYS_ADMIN = 21


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a thread may do (capabilities(7)): supplementary groups, and capabilities in our own user namespace."""

    groups: frozenset[int]
    capabilities: int

    def has(self, capability: int) -> bool:
        """Whether a capability is effective."""
        return bool(self.capabilities >> capability & 1)


@dataclass(frozen=True, slots=True)
class Caller:
    """The process behind a request: itself and its ancestors."""

    lineage: Lineage

    @property
    def writer(self) -> WriterId:
        """The process itself."""
        return self.lineage[0]


def _read(path: str, size: int = 4096) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, size)
    finally:
        os.close(fd)


def _stat_fields(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the third (state) on; the command may contain anything."""
    text = _read(f"/proc/{pid}/stat")
    return text[text.rindex(b")") + 2 :].split()


class Processes:
    """Looks processes up; keeps what it found for a quarter of a second.

    Within that time a process number cannot come round again, and a process that is re-parented meanwhile merely
    stays in its family a moment longer.
    """

    def __init__(self) -> None:
        self._callers: dict[int, tuple[float, Caller]] = {}
        self._unknown = itertools.count(1)

    def caller(self, tid: int) -> Caller:
        """The process that thread `tid` belongs to, with its ancestors.

        A thread that cannot be seen (0: another pid namespace; or gone) is a writer of its own, without a family.
        """
        now = time.monotonic()
        known = self._callers.get(tid)
        if known is not None and known[0] > now:
            return known[1]
        try:
            match = _TGID.search(_read(f"/proc/{tid}/status")) if tid > 0 else None
        except OSError:
            match = None
        if match is None:
            return Caller((WriterId(0, next(self._unknown)),))
        lineage = self._lineage(int(match[1]))
        if not lineage:
            return Caller((WriterId(0, next(self._unknown)),))
        if len(self._callers) >= _CACHE_ENTRIES:
            self._callers.clear()
        caller = Caller(lineage)
        self._callers[tid] = (now + _CACHE_S, caller)
        return caller

    @staticmethod
    def _lineage(pid: int) -> Lineage:
        found: list[WriterId] = []
        while pid > 0 and len(found) < 256:
            try:
                fields = _stat_fields(pid)
            except (OSError, ValueError):
                break
            found.append(WriterId(pid, int(fields[19])))
            pid = int(fields[1])
        return tuple(found)


def command(pid: int) -> str:
    """The command line of a process, at most 200 characters, control characters replaced; '' when unknown."""
    if pid <= 0:
        return ""
    try:
        text = _read(f"/proc/{pid}/cmdline", 400).replace(b"\0", b" ").strip() or _read(f"/proc/{pid}/comm").strip()
    except OSError:
        return ""
    return printable(text.decode("utf-8", "replace"))[:200]


def printable(text: str) -> str:
    """`text` without characters that a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in text)


def killed_by(writer: WriterId) -> int:
    """The signal that is ending this process just now, or 0 (N1).

    Asked at a flush: a dying process closes its files while PF_EXITING is set. The low seven bits of the exit code
    tell a signal from a normal exit even for threads that exit_group(2) of another thread takes down. A process
    that is gone without a trace counts as not killed.
    """
    if writer.pid <= 0:
        return 0
    try:
        fields = _stat_fields(writer.pid)
    except (OSError, ValueError):
        return 0
    if int(fields[19]) != writer.start or not int(fields[6]) & _PF_EXITING:
        return 0
    return int(fields[49]) & 0x7F


def append_flags(pid: int, inodes: Container[int]) -> frozenset[bool]:
    """Whether the descriptors by which a process may write these inodes have O_APPEND now: what is found among them,
    nothing if none can be seen.

    proc_pid_fdinfo(5), which asks nothing of the filesystem that the files are on, as stat(2) would.
    """
    found = set()
    try:
        for number in os.listdir(f"/proc/{pid}/fdinfo"):
            fields = dict(line.split(b":", 1) for line in _read(f"/proc/{pid}/fdinfo/{number}").splitlines()[:4])
            flags = int(fields[b"flags"], 8)
            if flags & os.O_ACCMODE != os.O_RDONLY and int(fields[b"ino"]) in inodes:
                found.add(bool(flags & os.O_APPEND))
    except (OSError, ValueError, KeyError):
        return frozenset()
    return frozenset(found)


def is_alive(tid: int) -> bool:
    """Whether a thread is still there."""
    return os.path.exists(f"/proc/{tid}")


def umask_of(tid: int) -> int:
    """The umask of a thread's process; 022 when it cannot be told."""
    try:
        match = _UMASK.search(_read(f"/proc/{tid}/status"))
    except OSError:
        match = None
    return int(match[1], 8) if match is not None else 0o022


def credentials(tid: int) -> Credentials:
    """Groups and capabilities of a thread; none when it cannot be seen."""
    try:
        text = _read(f"/proc/{tid}/status", 65536) if tid > 0 else b""  # there may be 65,536 groups
        same_namespace = tid > 0 and os.path.samefile(f"/proc/{tid}/ns/user", "/proc/self/ns/user")
    except OSError:
        return Credentials(frozenset(), 0)
    groups, capabilities = _GROUPS.search(text), _CAPABILITIES.search(text)
    return Credentials(
        frozenset(map(int, groups[1].split())) if groups else frozenset(),
        int(capabilities[1], 16) if capabilities and same_namespace else 0,
    )


def has_children(writer: WriterId) -> bool:
    """Whether a process has children, who may share its descriptors. True when it cannot be told."""
    try:
        for tid in os.listdir(f"/proc/{writer.pid}/task"):
            if _read(f"/proc/{writer.pid}/task/{tid}/children").strip():
                return True
    except OSError:
        return True
    return False


class SignalWatch:
    """Reads one waiting thread's pending signals again and again (Q3); keeps the file open, which is the cheap way."""

    __slots__ = ("_fd",)

    def __init__(self, tid: int) -> None:
        try:
            self._fd = os.open(f"/proc/{tid}/status", os.O_RDONLY | os.O_CLOEXEC) if tid > 0 else -1
        except OSError:
            self._fd = -1

    def told_to_end(self) -> bool:
        """Whether INT, TERM, HUP, QUIT or KILL is pending, unblocked and not ignored.

        A thread that is gone was not told anything: it was the opener of a descriptor that a child still uses.
        """
        if self._fd < 0:
            return False
        try:
            text = os.pread(self._fd, 4096, 0)
        except OSError:
            return False
        masks = {name: int(value, 16) for name, value in _MASKS.findall(text)}
        pending = masks.get(b"SigPnd", 0) | masks.get(b"ShdPnd", 0)
        return bool(pending & ~masks.get(b"SigBlk", 0) & ~masks.get(b"SigIgn", 0) & _ENDING_SIGNALS)

    def close(self) -> None:
        """Stop watching."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
