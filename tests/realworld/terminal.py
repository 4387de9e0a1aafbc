"""A program in a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import select
import time

from tests.realworld.scenario import Run


class Terminal:
    """A program in a pseudo-terminal of its own, the controlling terminal of its session."""

    def __init__(self, run: Run, *argv: str) -> None:
        self.seen = ""
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.chdir(run.dir)
            os.execvpe(argv[0], argv, {**run.env, "TERM": "xterm", "PS1": "$ "})

    def send(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def wait_for(self, text: str, limit_s: float = 40.0) -> None:
        """Until `text` has come since the last wait; what came up to it is forgotten."""
        end_s = time.monotonic() + limit_s
        while text not in self.seen:
            ready, _, _ = select.select([self._fd], [], [], max(end_s - time.monotonic(), 0))
            try:
                data = os.read(self._fd, 4096) if ready else b""
            except OSError:
                data = b""  # the other side is closed
            assert data, f"no {text!r} came, but {self.seen[-200:]!r}"
            self.seen += data.decode(errors="replace")
        self.seen = self.seen.partition(text)[2]

    def comes(self, text: str, limit_s: float) -> bool:
        """As wait_for, but False if it does not come."""
        try:
            self.wait_for(text, limit_s)
        except AssertionError:
            return False
        return True

    def wait_for_end(self, limit_s: float = 40.0) -> int:
        end_s = time.monotonic() + limit_s
        while time.monotonic() < end_s:
            ready, _, _ = select.select([self._fd], [], [], 0.05)
            try:
                if ready and not os.read(self._fd, 4096):
                    break
            except OSError:
                break
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        while not pid and time.monotonic() < end_s:
            time.sleep(0.01)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        assert pid, "the program in the terminal did not end"
        os.close(self._fd)
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        """Hang up: what still runs gets SIGHUP."""
        os.close(self._fd)
