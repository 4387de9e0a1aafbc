"""D1: several processes make one SQLite database at the same time, under a name that no pattern knows."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing

import pytest

from tests.support import programs
from tests.support.targets import Place
from tests.support.worker import Worker

MAKER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=30)
connection.execute("create table if not exists t (x)")
for _ in range(10):
    connection.execute("insert into t values (1)")
    connection.commit()
"""


@pytest.mark.parametrize("name", ["notes", "notes.db"])
@pytest.mark.parametrize("empty", [False, True])
def test_D1_database_made_by_four_processes(mount: Place, name: str, empty: bool) -> None:
    for number in range(3):
        path = mount.mnt / f"{number}-{name}"
        if empty:
            path.touch()
        programs.finish([programs.start([sys.executable, "-c", MAKER, str(path)]) for _ in range(4)])
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("select count(*) from t").fetchone() == (40,)
            assert connection.execute("pragma integrity_check").fetchone() == ("ok",)


BLOCK = 4096
HEADS = {
    "DuckDB": bytes(8) + b"DUCK" + bytes(BLOCK - 12),
    "LMDB": bytes(16) + b"\xde\xc0\xef\xbe" + bytes(BLOCK - 20),
    "gdbm": b"\xcf\x9a\x57\x13" + bytes(BLOCK - 4),
    "Berkeley DB": bytes(12) + b"\x61\x15\x06\x00" + bytes(BLOCK - 16),
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS.keys())
def test_D1_other_databases_by_their_header(mount: Place, worker: Callable[..., Worker], head: bytes) -> None:
    """Known from its first write on: a second process opens it at once, and what a killed one wrote stays."""
    path = mount.mnt / "unknown"
    maker, second = worker(), worker()
    made = maker.open(path, "rw")
    maker.write(made, head)
    opened = second.open(path, "r+")  # does not wait
    second.write(opened, b"second")
    maker.kill_and_wait()
    assert path.read_bytes() == b"second" + head[6:]
