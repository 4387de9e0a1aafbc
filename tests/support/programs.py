"""Running unmodified programs with a time limit."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

LIMIT_S = 30.0

Argument = str | bytes | Path


def need(*names: str) -> None:
    """Skip the test, with the reason, where one of these programs is not installed."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        import pytest  # here, since the demo uses this module where pytest is not installed

        pytest.skip(f"not installed: {', '.join(missing)}")


def start(argv: Sequence[Argument], **options: object) -> subprocess.Popen[bytes]:
    """Start a program in a process group of its own, so that all of it can be ended."""
    return subprocess.Popen(list(argv), start_new_session=True, **options)  # type: ignore[call-overload, no-any-return]


def wait_for_exit(process: subprocess.Popen[bytes], limit_s: float) -> int:
    """As process.wait(limit_s), TimeoutExpired included, without its polling, which takes up to 50 ms longer."""
    if process.poll() is None:
        pidfd = os.pidfd_open(process.pid)
        try:
            select.select([pidfd], [], [], max(limit_s, 0))
        finally:
            os.close(pidfd)
    return process.wait(0)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a program that `start` started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    try:
        wait_for_exit(process, 5.0)
    except subprocess.TimeoutExpired:
        pass  # stuck in the kernel until its mount goes


def finish(processes: Sequence[subprocess.Popen[bytes]], limit_s: float = LIMIT_S, ok: bool = True) -> list[int]:
    """Wait for all of them; their exit statuses. With `ok` each must be 0. Past the limit all are killed."""
    statuses = []
    try:
        for process in processes:
            statuses.append(wait_for_exit(process, limit_s))
    except subprocess.TimeoutExpired:
        raise AssertionError(f"{process.args!r} did not end within {limit_s:g} s") from None
    finally:
        for process in processes:
            if process.poll() is None:
                end_group(process)
    assert not ok or not any(statuses), f"exit statuses {statuses} of {[p.args for p in processes]}"
    return statuses


def run(
    *argv: Argument,
    cwd: Path | None = None,
    data: bytes = b"",
    limit_s: float = LIMIT_S,
    status: int | None = 0,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run one program to its end; its status must be `status` (None: any)."""
    process = start(argv, cwd=cwd, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = process.communicate(data, limit_s)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"{argv!r} did not end within {limit_s:g} s") from None
    finally:
        if process.poll() is None:
            end_group(process)
    assert status is None or process.returncode == status, (
        f"{argv!r} ended with {process.returncode}\n{out.decode(errors='replace')}\n{err.decode(errors='replace')}"
    )
    return subprocess.CompletedProcess(argv, process.returncode, out, err)


def shell(script: str, cwd: Path | None = None, **options: object) -> str:
    """Run a line of `sh`; its output as text."""
    return run("sh", "-c", script, cwd=cwd, **options).stdout.decode()  # type: ignore[arg-type]
