"""Where the log goes."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import TextIO

from lockfs.cli.say import Failure, reason, shown

LIMIT = 5 << 20
"""Bytes after which a log file is put aside."""
KEPT = 3
"""How many are kept beside the current one: NAME.1 is the latest."""

_FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s"


class BoundedFile(logging.StreamHandler[TextIO]):
    """A log file that is put aside at `LIMIT` bytes, without ever going through a path of more than one name.

    logging's RotatingFileHandler opens its path again for each turn. When a directory is mounted over itself
    that path leads through the mount, and the daemon would wait for an answer from itself. So the directory
    is opened once, before mounting, and everything after that is relative to its descriptor.
    """

    def __init__(self, path: Path) -> None:
        self._file_name = path.name
        # Kept for the life of the process.
        self._dir_fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            super().__init__(self._open())
        except OSError:
            os.close(self._dir_fd)
            raise
        if self._size() >= LIMIT:
            self._turn()

    @property
    def fds(self) -> frozenset[int]:
        """The descriptors that a daemon must keep."""
        return frozenset({self._dir_fd, self.stream.fileno()})

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; called under the handler's lock."""
        super().emit(record)
        try:
            if self._size() >= LIMIT:
                self._turn()
        except OSError:
            self.handleError(record)

    def _open(self) -> TextIO:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        # Only its owner may read it: it names the files and commands of all users.
        fd = os.open(self._file_name, flags, 0o600, dir_fd=self._dir_fd)
        return os.fdopen(fd, "a", encoding="utf-8", errors="backslashreplace", buffering=1)

    def _size(self) -> int:
        return os.fstat(self.stream.fileno()).st_size

    def _turn(self) -> None:
        fds = [self.stream.fileno()]
        if os.path.sameopenfile(2, fds[0]):  # a daemon's stderr goes to the log too
            fds.append(2)
        for number in range(KEPT - 1, 0, -1):
            self._rename(f"{self._file_name}.{number}", f"{self._file_name}.{number + 1}")
        self._rename(self._file_name, f"{self._file_name}.1")
        fresh = self._open()
        for fd in fds:
            os.dup2(fresh.fileno(), fd, inheritable=fd == 2)
        fresh.close()

    def _rename(self, old: str, new: str) -> None:
        try:
            os.rename(old, new, src_dir_fd=self._dir_fd, dst_dir_fd=self._dir_fd)
        except FileNotFoundError:
            pass


def open_log_file(path: Path) -> BoundedFile:
    """The handler for `path`. Raises `Failure` if it cannot be written."""
    try:
        return BoundedFile(path)
    except OSError as error:
        raise Failure(
            f"cannot write the log file {shown(path)}: {reason(error)}; name another one with --log-file"
        ) from error


def configure(handler: logging.StreamHandler[TextIO], level: str) -> None:
    """Send all log records of `level` and above to `handler`, and nowhere else. Times are in UTC."""
    formatter = logging.Formatter(_FORMAT, "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # A log line that cannot be written (full disk) must not end up as a traceback on somebody's terminal.
    logging.raiseExceptions = False


def to_stderr() -> logging.StreamHandler[TextIO]:
    """A handler for a copy of stderr, which stays where it is while descriptor 2 is turned aside."""
    copy = os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8", errors="backslashreplace", buffering=1)
    return logging.StreamHandler(copy)
