"""The hidden directory of one filesystem at work: what is staged there, what is kept, and the journal of both."""

from __future__ import annotations

import os

from lockfs.store.journal import Journal
from lockfs.store.layout import FileId, Layout
from lockfs.store.orphans import Orphans
from lockfs.store.staging import Staging


class StagingArea:
    """Staged files can be published anywhere on the filesystem (and the mount of it) that holds this directory."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        status = os.fstat(layout.hidden_fd)
        self.hidden_id: FileId = (status.st_dev, status.st_ino)
        self.staging = Staging(layout.staging_fd)
        self.orphans = Orphans(layout.orphans_fd, layout.staging_fd)
        self.journal = Journal(layout.hidden_fd)
        self.uses = 0
        """Sessions that have a staged file here."""
        self.idle = False
        """Not used since somebody last looked."""

    def sweep(self) -> list[str]:
        """Keep what a crashed daemon left (N3); returns the orphans' ids. Only before anything is staged here."""
        kept = self.orphans.sweep(self.journal.recorded())
        self.journal.clear()
        return kept

    def close(self) -> None:
        """Give the directory back."""
        self.staging.close()
        self.journal.close()
        self.layout.close()
