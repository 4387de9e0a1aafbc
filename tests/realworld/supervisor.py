"""One scenario under a time limit, in a process of its own that leaves no process behind.

Run as `python -m tests.realworld.supervisor NAME DIR LIMIT_S EXTENDED`; the last line of its output is the result.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.realworld.scenario import Run, Scenario, Skip, all_scenarios, squeezed
from tests.support.mounting import ROOT

GRACE_S = 15.0
"""How long killed processes may take to go: one that waits for a filesystem's answer cannot go before it."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Result:
    """`verdict` is PASS, FAIL or SKIP; `reason` says why not PASS; `seconds` how long it took."""

    name: str
    verdict: str
    reason: str
    seconds: float


def run_scenario(one: Scenario, directory: Path, limit_s: float, extended: bool) -> Result:
    """Run it in a fresh directory below `directory`, which is removed after a PASS or SKIP."""
    missing = one.missing()
    if missing:
        return Result(one.name, "SKIP", f"missing: {missing}", 0.0)
    command = [sys.executable, "-m", "tests.realworld.supervisor"]
    command += [one.name, str(directory), str(limit_s), str(int(extended))]
    start_s = time.monotonic()
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        # It keeps to its limit by itself, and never touches the directory: no need for another one here.
        out, _ = process.communicate()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    seconds = time.monotonic() - start_s
    try:
        verdict, reason = json.loads(out.splitlines()[-1])
    except (IndexError, ValueError):
        verdict, reason = "FAIL", f"the supervisor ended with {process.returncode}"
    return Result(one.name, verdict, reason, round(seconds, 2))


def as_json(results: list[Result]) -> str:
    return json.dumps([asdict(result) for result in results], indent=2)


def _body(one: Scenario, directory: Path, scratch: Path, extended: bool) -> tuple[str, str]:
    """Run the scenario in this process."""
    fresh = directory / one.name
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o755)
        one.body(Run(fresh, scratch, extended))
    except Skip as skip:
        return "SKIP", f"missing: {skip}"
    except subprocess.TimeoutExpired as expired:
        return "FAIL", f"took longer than {expired.timeout:g} s: {squeezed(str(expired.cmd))}"
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        line = next((frame.lineno for frame in reversed(frames) if "/with_" in frame.filename), None)
        said = squeezed(str(error)) or "failed"
        kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
        return "FAIL", f"{kind}{said} (line {line})"
    return "PASS", ""


def _descendants() -> list[int]:
    """Every process below this one, which is also the parent of all that lost theirs."""
    found: list[int] = []
    unseen = [os.getpid()]
    while unseen:
        for task in Path(f"/proc/{unseen.pop()}/task").glob("*/children"):
            try:
                children = [int(pid) for pid in task.read_text().split()]
            except OSError:
                continue
            found += children
            unseen += children
    return found


def _kill_all() -> list[int]:
    """Kill everything that the scenario left, and reap it; what could not be killed within GRACE_S."""
    end_s = time.monotonic() + GRACE_S
    while True:
        left = _descendants()
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return []
        if time.monotonic() >= end_s:
            return left
        time.sleep(0.01)


def _scratch_directory() -> Path:
    """Outside the directory under test; made and taken away by the process that outlives the scenario's."""
    scratch = Path(tempfile.mkdtemp(prefix="realworld-"))
    if os.getuid() == 0:
        scratch.chmod(0o755)  # servers run as other users
    return scratch


def supervise(one: Scenario, directory: Path, limit_s: float, extended: bool) -> tuple[str, str]:
    """Fork, run, wait at most `limit_s`, and take away every process that is left."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    scratch = _scratch_directory()

    def terminated(_number: int, _frame: object) -> None:
        _kill_all()
        shutil.rmtree(scratch, ignore_errors=True)
        os._exit(1)

    signal.signal(signal.SIGTERM, terminated)
    receive, send = os.pipe()
    pid = os.fork()
    if pid == 0:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)  # nohup and `&` have some ignored, which programs would inherit
        os.close(receive)
        status = 1
        try:
            os.write(send, json.dumps(_body(one, directory, scratch, extended)).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(send)
    ready, _, _ = select.select([receive], [], [], limit_s)
    answer = os.read(receive, 1 << 16) if ready else None
    stuck = _kill_all()
    shutil.rmtree(scratch, ignore_errors=True)
    if stuck:
        return "FAIL", f"processes that SIGKILL does not end: {stuck}"
    if answer is None:
        return "FAIL", f"not done within {limit_s:g} s"
    verdict, reason = json.loads(answer) if answer else ("FAIL", "its process died")
    if verdict != "FAIL":
        shutil.rmtree(directory / one.name, ignore_errors=True)
    return verdict, reason


def main() -> None:
    name, directory, limit_s, extended = sys.argv[1:]
    print(json.dumps(supervise(all_scenarios()[name], Path(directory), float(limit_s), extended == "1")))


if __name__ == "__main__":
    main()
