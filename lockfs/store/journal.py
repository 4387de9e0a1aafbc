"""Which staged file belongs to which path, for the mount after a crash (N3).

One JSON line a session, appended when the session begins. Read only by the sweep. A line costs one write(2) into the
page cache, where a sidecar file or an extended attribute would cost several calls for each session.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

JOURNAL = b"sessions.jsonl"
_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Writer:
    """Who wrote a staged file and for which path (relative to the mount, surrogate-escaped)."""

    path: str
    pid: int
    command: str


class Journal:
    """The journal of one mount, opened in the hidden directory."""

    def __init__(self, hidden_fd: int) -> None:
        self._fd = os.open(
            JOURNAL, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=hidden_fd
        )
        self._size = os.fstat(self._fd).st_size
        self._open: dict[bytes, Writer] = {}

    def recorded(self) -> dict[str, Writer]:
        """Staged file's name -> writer, as the previous daemon left it; lines that make no sense are passed over."""
        found: dict[str, Writer] = {}
        for line in os.pread(self._fd, 4 * _LIMIT, 0).splitlines():
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
        """A session begins to stage. When the journal is too long only the open sessions are kept."""
        self._open[staged] = writer
        if self._size > _LIMIT:
            self.clear()
            self._append(b"".join(self._line(name, who) for name, who in self._open.items()))
        else:
            self._append(self._line(staged, writer))

    def end(self, staged: bytes) -> None:
        """A session ended; its line is dropped when the journal is next rewritten."""
        self._open.pop(staged, None)

    def _append(self, data: bytes) -> None:
        self._size += os.write(self._fd, data)

    @staticmethod
    def _line(staged: bytes, writer: Writer) -> bytes:
        return json.dumps({"staged": os.fsdecode(staged)} | asdict(writer)).encode() + b"\n"

    def close(self) -> None:
        """Close the journal's file."""
        os.close(self._fd)
