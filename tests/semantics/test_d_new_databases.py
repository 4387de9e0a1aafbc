"""D1: several processes make one SQLite database at the same time, under a name that no pattern knows."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing

import pytest

from tests.support import programs
from tests.support.targets import Place

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
