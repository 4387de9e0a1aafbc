"""Which staged file belongs to which path, for the mount after a crash (N3).

One JSON line a session, appended when the session begins. Read only by the sweep. A line costs one write(2) into the
page cache, where a sidecar file or an extended attribute would cost several calls for each session.
"""

from __future__ import annotations

import errno
import json
import os
from dataclasses import asdict, dataclass

from lockfs.store.staging import write_all

JOURNAL = b"sessions.jsonl"
_REWRITTEN = b"sessions.jsonl.new"
_LIMIT = 1 << 20
"""Up to this size in bytes it only grows; from there on ended sessions' lines are dropped."""


@dataclass(frozen=True, slots=True)
class Writer:
    """Who wrote a staged file and for which path (relative to the mount, surrogate-escaped)."""

    path: str
    pid: int
    command: str


class Journal:
    """The journal of one mount, opened in the hidden directory."""

    def __init__(self, hidden_fd: int) -> None:
        self._hidden_fd = hidden_fd
        self._fd = self._opened(JOURNAL)
        self._size = os.fstat(self._fd).st_size
        self._rewrite_at = _LIMIT
        self._torn = False
        """The last line is not whole: the disk was full."""
        self._open: dict[bytes, Writer] = {}

    def _opened(self, name: bytes) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(name, flags, 0o600, dir_fd=self._hidden_fd)

    def recorded(self) -> dict[str, Writer]:
        """Staged file's name -> writer, as the previous daemon left it; lines that make no sense are passed over."""
        found: dict[str, Writer] = {}
        for line in os.pread(self._fd, self._size, 0).splitlines():
            try:
                entry = json.loads(line)
                found[str(entry["staged"])] = Writer(str(entry["path"]), int(entry["pid"]), str(entry["command"]))
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def clear(self) -> None:
        """Forget everything: the sweep is done."""
        os.ftruncate(self._fd, 0)
        self._size = 0

    def begin(self, staged: bytes, writer: Writer) -> None:
        """A session begins to stage. When the journal is too long only the open sessions' lines are kept.

        On a full disk the session goes unrecorded: emptying a file must be possible there, and what little it can
        stage is kept without its path. Raises OSError otherwise, and then nothing has begun.
        """
        self._open[staged] = writer
        try:
            if self._size > self._rewrite_at:
                self._rewrite()
            else:
                self._append(self._line(staged, writer))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                del self._open[staged]
                raise

    def end(self, staged: bytes) -> None:
        """A session ended; its line is dropped when the journal is next rewritten."""
        self._open.pop(staged, None)

    def _append(self, data: bytes) -> None:
        if self._torn:
            data = b"\n" + data
        written = os.write(self._fd, data)
        self._size += written
        self._torn = written < len(data)

    def _rewrite(self) -> None:
        """Drop the lines of ended sessions, in a new file: a crash finds the old journal or the new one."""
        self._rewrite_at = 2 * self._size  # should it fail, or most of them be open, not with every session
        fd = self._opened(_REWRITTEN)
        try:
            os.ftruncate(fd, 0)
            lines = b"".join(self._line(name, who) for name, who in self._open.items())
            write_all(fd, lines, 0)
            os.rename(_REWRITTEN, JOURNAL, src_dir_fd=self._hidden_fd, dst_dir_fd=self._hidden_fd)
        except OSError:
            os.close(fd)
            raise
        os.close(self._fd)
        self._fd = fd
        self._size = len(lines)
        self._torn = False
        self._rewrite_at = max(_LIMIT, 2 * len(lines))

    @staticmethod
    def _line(staged: bytes, writer: Writer) -> bytes:
        return json.dumps({"staged": os.fsdecode(staged)} | asdict(writer)).encode() + b"\n"

    def close(self) -> None:
        """Close the journal's file."""
        os.close(self._fd)
