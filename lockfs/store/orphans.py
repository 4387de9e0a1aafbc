"""Bytes that were written but not published, and a note of whose they are (N2)."""

from __future__ import annotations

import errno
import itertools
import json
import os
import time
from dataclasses import asdict, dataclass

from lockfs.store.entries import names_in
from lockfs.store.journal import Writer
from lockfs.store.labels import reached

_serial = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Note:
    """What is known of an orphan."""

    writer: Writer
    reason: str


class Orphans:
    """The orphans' directory: `ID.data` with the bytes, `ID.json` with the note."""

    def __init__(self, orphans_fd: int, staging_fd: int) -> None:
        self._dir_fd = orphans_fd
        self._staging_fd = staging_fd

    @staticmethod
    def _fresh_id() -> str:
        return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}-{next(_serial)}"

    def keep_staged(self, staged_name: bytes, note: Note) -> str:
        """Move a staged file to the orphans; returns its id.

        The note goes first, so that no orphan lacks one, unless the disk is full: then the bytes are kept without.
        """
        ident = self._fresh_id()
        status = os.stat(staged_name, dir_fd=self._staging_fd, follow_symlinks=False)
        try:
            self._write_note(ident, note, status.st_size)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
        reached("abort.keep")
        os.rename(staged_name, f"{ident}.data", src_dir_fd=self._staging_fd, dst_dir_fd=self._dir_fd)
        return ident

    def keep_bytes(self, data: bytes, note: Note) -> str:
        """Keep the held tail of a killed appender (A5); returns its id."""
        ident = self._fresh_id()
        self._write_note(ident, note, len(data))
        self._write(f"{ident}.data", data)
        return ident

    def sweep(self, writers: dict[str, Writer]) -> list[str]:
        """Move what a crashed daemon left in the staging directory to the orphans (N3); returns the ids.

        `writers` tells what the journal knows. Empty files are dropped: they hold no bytes.
        """
        kept = []
        for name in sorted(names_in(self._staging_fd)):
            status = os.stat(name, dir_fd=self._staging_fd, follow_symlinks=False)
            reached("sweep.keep")
            if status.st_size == 0:
                os.unlink(name, dir_fd=self._staging_fd)
                continue
            writer = writers.get(os.fsdecode(name), Writer("", 0, ""))
            kept.append(self.keep_staged(name, Note(writer, "the daemon ended without a commit")))
        return kept

    def _write_note(self, ident: str, note: Note, size: int) -> None:
        reached("abort.note")
        content = asdict(note.writer) | {
            "reason": note.reason,
            "id": ident,
            "size": size,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        self._write(f"{ident}.json", json.dumps(content, indent=1).encode("utf-8", "surrogateescape") + b"\n")

    def _write(self, name: str, data: bytes) -> None:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._dir_fd)
        try:
            os.write(fd, data)
        except OSError:
            os.unlink(name, dir_fd=self._dir_fd)
            raise
        finally:
            os.close(fd)
