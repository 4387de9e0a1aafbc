"""N6: a bug in lockfs costs one operation, never the mount. The bug is put in, the mount is real."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from pyfuse3 import FUSEError

from lockfs.core.errors import Conflict, WaitCycle
from lockfs.core.ids import FileKey, WriterId
from lockfs.fuse.boundary import guarded
from tests.support.mounting import ROOT, lazy_unmount, lockfs_environment, lockfs_mounts
from tests.support.waiting import wait_until

BUGGY = """
import sys
from lockfs.fuse import operations
from lockfs.fuse.boundary import guarded

async def readlink(self, inode, ctx):
    return [][0]

operations.Operations.readlink = guarded(readlink)
from lockfs.cli.main import main
sys.argv = ["lockfs", "mount", "--foreground", *sys.argv[1:]]
main()
"""


class Handlers:
    """Stands in for the operations; `fail` says how."""

    errors = 0

    def count_error(self) -> None:
        self.errors += 1

    @guarded
    async def handle(self, error: BaseException | None) -> str:
        if error is not None:
            raise error
        return "done"


@pytest.mark.parametrize(
    ("error", "number", "bugs"),
    [
        (FUSEError(errno.ENOENT), errno.ENOENT, 0),
        (OSError(errno.ENOSPC, "full"), errno.ENOSPC, 0),
        (OSError("no number"), errno.EIO, 0),
        (Conflict(FileKey(1), WriterId(1, 1), 0.0, 0), errno.EBUSY, 0),
        (WaitCycle(FileKey(1), WriterId(1, 1)), errno.EDEADLK, 0),
        (ZeroDivisionError(), errno.EIO, 1),
        (KeyError(3), errno.EIO, 1),
        (AssertionError(), errno.EIO, 1),
    ],
)
def test_N6_nothing_but_an_errno_gets_out(error: BaseException, number: int, bugs: int) -> None:
    handlers = Handlers()
    with pytest.raises(FUSEError) as caught:
        trio.run(handlers.handle, error)
    assert caught.value.errno == number
    assert handlers.errors == bugs


def test_N6_a_handlers_bug_costs_one_operation(tmp_path: Path) -> None:
    source, mnt, log = tmp_path / "source", tmp_path / "mnt", tmp_path / "log"
    source.mkdir()
    mnt.mkdir()
    command = [sys.executable, "-c", BUGGY, str(source), str(mnt), "--log-file", str(log)]
    daemon = subprocess.Popen(command, env=lockfs_environment(), cwd=ROOT, stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: mnt in lockfs_mounts() and (mnt / ".lockfs" / "stats").exists(), 20, "the mount's answer")
        (mnt / "link").symlink_to("target")
        for _ in range(3):
            with pytest.raises(OSError, match="Input/output error"):
                os.readlink(mnt / "link")
        (mnt / "file").write_text("all else goes on")
        assert (mnt / "file").read_text() == "all else goes on"
        assert json.loads((mnt / ".lockfs" / "stats.json").read_text())["errors"] == 3
        text = log.read_text()
        assert text.count("handler failed operation=readlink") == 3
        assert "IndexError" in text
    finally:
        daemon.terminate()
        try:
            assert daemon.wait(20) == 0
        finally:
            daemon.kill()
            if mnt in lockfs_mounts():
                lazy_unmount(mnt)
