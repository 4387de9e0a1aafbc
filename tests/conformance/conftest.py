"""The table's mount and its people, and the count at the end."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.table import Table, counted
from tests.support.mounting import mounted


@pytest.fixture(scope="module")
def table(can_mount: None, no_mount_left: None) -> Iterator[Table]:
    """One mount for the whole table, for all users where root runs the tests, and a plain directory beside it."""
    from tests.conformance.people import AS_ROOT
    from tests.conftest import live_mounts

    base = Path(tempfile.mkdtemp(prefix="lockfs-table-"))
    base.chmod(0o755)
    (base / "plain").mkdir()
    try:
        with mounted(base, *(["--allow-other", "-o", "suid,dev"] if AS_ROOT else [])) as mount:
            live_mounts.append(mount)
            table = Table(base / "plain", mount.mnt, mount.source)
            try:
                yield table
            finally:
                table.close()
    finally:
        shutil.rmtree(base, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How large the table is, and how much of it ran."""
    if Table.carried_out:
        terminalreporter.write_line(f"conformance table: {counted()}; {Table.carried_out} runs carried out")
