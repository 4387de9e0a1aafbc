"""Real processes that open, write and close on command, so that a test of three of them reads like a script."""

from __future__ import annotations

import errno
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import wait_for_exit

ANSWER_S = 20.0
"""How long an answer may take before the test fails. Nothing in a healthy run comes near it."""

PathLike = str | bytes | Path

MODES = {
    "r": os.O_RDONLY,
    "r+": os.O_RDWR,
    "w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    "w+": os.O_RDWR | os.O_CREAT | os.O_TRUNC,
    "a": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    "a+": os.O_RDWR | os.O_CREAT | os.O_APPEND,
    "x": os.O_WRONLY | os.O_CREAT | os.O_EXCL,
    "rw": os.O_RDWR | os.O_CREAT,
}


def _pack(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"b": value.decode("latin-1")}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [_pack(item) for item in value]
    return value


def _unpack(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"b"}:
        return value["b"].encode("latin-1")
    if isinstance(value, list):
        return [_unpack(item) for item in value]
    return value


def python_for_everybody() -> str:
    """A Python that other users may run: the tests' own may lie in somebody's home directory."""
    found = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if found is None:
        pytest.skip("no system-wide python3 for processes of another user")
    return found


class Stat:
    """A stat result that came over the pipe: attributes st_size, st_mode, ..."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields

    def __getattr__(self, name: str) -> Any:
        try:
            return self.fields[name]
        except KeyError:
            raise AttributeError(name) from None


class Pending:
    """A command that has been sent and may not have been answered yet."""

    def __init__(self, worker: Worker, number: int, what: str) -> None:
        self._worker = worker
        self._number = number
        self._what = what

    def __repr__(self) -> str:
        return f"<{self._what} of process {self._worker.pid}>"

    @property
    def done(self) -> bool:
        """Whether the answer is there; never blocks."""
        self._worker._collect(0)
        return self._number in self._worker._answers

    def answer(self, deadline_s: float = ANSWER_S) -> dict[str, Any]:
        """The whole answer, with took_s (the command's own time) and at_s (monotonic clock, when it was done)."""
        end_s = time.monotonic() + deadline_s
        while not self.done:
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                raise AssertionError(f"{self!r} was not answered within {deadline_s:g} s")
            if not self._worker._collect(left_s):
                raise AssertionError(f"{self!r}: the process ended first, status {self._worker.wait()}")
        return self._worker._answers[self._number]

    def result(self, deadline_s: float = ANSWER_S) -> Any:
        """The command's value; raises the OSError it met; AssertionError when no answer comes in time."""
        answer = self.answer(deadline_s)
        if "errno" in answer:
            raise OSError(answer["errno"], f"{errno.errorcode.get(answer['errno'])}: {answer['text']}")
        return _unpack(answer["value"])

    def error(self, deadline_s: float = ANSWER_S) -> str | None:
        """The errno's name, or None where the command succeeded."""
        code = self.answer(deadline_s).get("errno")
        return None if code is None else "EDEADLK" if code == errno.EDEADLK else errno.errorcode[code]


class Worker:
    """One child process. Every method is a command it carries out; an OSError there is raised here.

    `begin` sends a command without waiting, for opens that are expected to wait.
    """

    def __init__(self, *, user: int | None = None) -> None:
        # As text, since another user may not be able to read this tree.
        main = Path(__file__).with_name("worker_main.py").read_text()
        python = sys.executable if user is None else python_for_everybody()
        self._process = subprocess.Popen(
            [python, "-I", "-S", "-c", main],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            user=user,
            group=user,
            extra_groups=[] if user is not None else None,
        )
        self.pid = self._process.pid
        self._sent = 0
        self._buffer = b""
        self._answers: dict[int, dict[str, Any]] = {}
        self._ended = False

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_down()

    # The pipe

    def fileno(self) -> int:
        """For select(2): readable when an answer comes."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def begin(self, command: str, *args: Any) -> Pending:
        """Send a command: one of worker_main's own, or any function of `os`."""
        self._sent += 1
        assert self._process.stdin is not None
        line = json.dumps([self._sent, command, *(_pack(arg) for arg in args)])
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()
        return Pending(self, self._sent, f"{command}{args!r}")

    def _collect(self, wait_s: float) -> bool:
        """Read what answers there are, waiting at most wait_s for the first; False at end of file."""
        stream = self._process.stdout
        assert stream is not None
        while not self._ended and select.select([stream], [], [], max(wait_s, 0))[0]:
            wait_s = 0
            part = os.read(stream.fileno(), 1 << 20)
            if not part:
                self._ended = True
            self._buffer += part
            *lines, self._buffer = self._buffer.split(b"\n")
            for line in lines:
                answer = json.loads(line)
                self._answers[answer["n"]] = answer
        return not self._ended

    def do(self, command: str, *args: Any) -> Any:
        """Send a command and wait for its value."""
        return self.begin(command, *args).result()

    # Files

    def begin_open(self, path: PathLike, mode: str | int, extra: int = 0, permissions: int = 0o666) -> Pending:
        """`mode` is one of MODES or a number of flags; `extra` flags are added."""
        flags = MODES[mode] if isinstance(mode, str) else mode
        return self.begin("open", path, flags | extra, permissions)

    def open(self, path: PathLike, mode: str | int, extra: int = 0, permissions: int = 0o666) -> int:
        return int(self.begin_open(path, mode, extra, permissions).result())

    def write(self, fd: int, data: bytes) -> int:
        return int(self.do("write", fd, data))

    def read_all(self, fd: int) -> bytes:
        data = self.do("read_all", fd)
        assert isinstance(data, bytes)
        return data

    def read_file(self, path: PathLike) -> bytes:
        data = self.do("read_file", path)
        assert isinstance(data, bytes)
        return data

    def write_file(self, path: PathLike, data: bytes) -> None:
        self.do("write_file", path, data)

    def close(self, fd: int) -> None:
        self.do("close", fd)

    def stat(self, path: PathLike) -> Stat:
        return Stat(self.do("stat", path))

    def fstat(self, fd: int) -> Stat:
        return Stat(self.do("fstat", fd))

    def run(self, *argv: PathLike, data: bytes = b"", pass_fds: tuple[int, ...] = ()) -> bytes:
        """Run a program as a child of this process; its output. It must exit with 0."""
        status, out, err = self.do("run", list(argv), data, list(pass_fds))
        assert status == 0, f"{argv} ended with {status}: {err!r}"
        assert isinstance(out, bytes)
        return out

    # The end

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal; does not wait."""
        self._process.send_signal(number)

    def wait(self, deadline_s: float = ANSWER_S) -> int:
        """The exit status (negative: the signal), once the process has ended."""
        try:
            return wait_for_exit(self._process, deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"process {self.pid} did not end within {deadline_s:g} s") from None

    def kill_and_wait(self, number: int = signal.SIGKILL) -> int:
        self.kill(number)
        return self.wait()

    def exit(self, status: int = 0) -> int:
        """Leave by _exit(status) without closing anything; the exit status."""
        self.begin("exit", status)
        return self.wait()

    def close_down(self) -> None:
        """End the process, politely if it listens, by SIGKILL otherwise; never blocks for long."""
        if self.alive and not self._ended and self._process.stdout and not self._process.stdout.closed:
            self._collect(0)
            if self._sent > len(self._answers):  # it waits in a queue, and would not hear
                self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass
        try:
            wait_for_exit(self._process, 1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            try:
                wait_for_exit(self._process, 5.0)
            except subprocess.TimeoutExpired:
                pass  # stuck in the kernel until its mount goes; the mount's own check will speak
