"""Catch what libfuse and fusermount3 print to stderr while mounting: often the reason is said only there."""

from __future__ import annotations

import os
import re
from types import TracebackType

_PREFIX = re.compile(r"^(fuse|fusermount3|mount): ", re.IGNORECASE)


class StderrAside:
    """Descriptor 2 goes to a file in memory until `stop` or the end of the block."""

    def __init__(self) -> None:
        self._file_fd = -1
        self._real_fd = -1

    def __enter__(self) -> StderrAside:
        self._file_fd = os.memfd_create("lockfs-stderr", os.MFD_CLOEXEC)
        self._real_fd = os.dup(2)
        os.dup2(self._file_fd, 2)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        os.close(self._file_fd)

    def stop(self) -> None:
        """Give stderr back. May be called twice."""
        if self._real_fd >= 0:
            os.dup2(self._real_fd, 2)
            os.close(self._real_fd)
            self._real_fd = -1

    def said(self) -> list[str]:
        """The lines caught so far, without the name of the library."""
        text = os.pread(self._file_fd, 1 << 16, 0).decode("utf-8", "replace")
        return [_PREFIX.sub("", line).strip() for line in text.splitlines() if line.strip()]
