"""A2, A4 with ordinary programs: their own buffering cuts lines in the middle; no record is torn for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.demo.scenarios import APPENDERS, ROWS, append_rows, compile_c
from tests.support import programs
from tests.support.targets import Place, Target
from tests.support.waiting import wait_until

ROUNDS = 6


@pytest.mark.parametrize("kind", sorted(APPENDERS))
def test_A2_no_row_of_five_processes_is_torn(target: Target, kind: str, tmp_path: Path) -> None:
    """Lines of 10 to 20 KB through Python's print, json.dump, perl's print and C's stdio, unmodified."""
    if kind == "C stdio" and compile_c(tmp_path) is None:
        pytest.skip("no C compiler")
    if kind == "perl print":
        programs.need("perl")
    for _ in range(ROUNDS if target.plain else 1):
        torn = append_rows(target.mnt, kind, tmp_path, ROWS[kind])
        if target.plain and torn:
            return
    assert not target.plain, "the check saw no damage where there is some"
    assert torn == 0


WATCH = """
import os, sys
path, stop = sys.argv[1], sys.argv[2]
looks = 0
size = 0
while True:
    last = os.path.exists(stop)
    before = size
    size = os.stat(path).st_size
    assert size >= before, f"the size went back from {before} to {size}"
    with open(path, "rb") as file:
        data = file.read()
        assert os.fstat(file.fileno()).st_size >= len(data)
    assert len(data) >= size, f"size {size}, but only {len(data)} bytes can be read"
    assert b"\\0" not in data, "a NUL"
    looks += 1
    if last:
        break
print(looks)
"""


def test_A4_size_never_runs_ahead_of_the_bytes(mount: Place, tmp_path: Path) -> None:
    path, stop = mount.mnt / "rows", tmp_path / "stop"
    path.write_bytes(b"")
    watchers = [
        programs.start([sys.executable, "-I", "-S", "-c", WATCH, path, stop], stdout=subprocess.PIPE) for _ in range(2)
    ]
    try:
        assert append_rows(mount.mnt, "python print", tmp_path, rows=60) == 0
    finally:
        stop.touch()
        programs.finish(watchers)


def test_A4_tail_f_sees_each_record(mount: Place) -> None:
    path = mount.mnt / "rows"
    path.write_bytes(b"record 0\n")
    tail = programs.start(["tail", "-n", "+1", "-s", "0.05", "-f", path], stdout=subprocess.PIPE)
    seen = b""

    def comes(expected: bytes) -> None:
        def read() -> bool:
            nonlocal seen
            assert tail.stdout is not None
            seen += tail.stdout.read() or b""
            return seen == expected

        wait_until(read, what=f"{expected!r} from tail -f")

    try:
        assert tail.stdout is not None
        os.set_blocking(tail.stdout.fileno(), False)
        expected = b"record 0\n"
        comes(expected)
        for number in range(1, 6):
            programs.shell(f'echo "record {number}" >> "{path}"')
            expected += b"record %d\n" % number
            comes(expected)
    finally:
        programs.end_group(tail)


def test_A2_shell_appends_from_many_processes(mount: Place) -> None:
    path = mount.mnt / "rows"
    script = 'i=0; while [ $i -lt 40 ]; do echo "shell $1 line $i" >> "$0"; i=$((i+1)); done'
    programs.finish([programs.start(["sh", "-c", script, path, str(me)]) for me in range(5)])
    lines = path.read_text().splitlines()
    assert sorted(lines) == sorted(f"shell {me} line {i}" for me in range(5) for i in range(40))


LOGGING = """
import logging, sys
logging.basicConfig(filename=sys.argv[1], format="%(process)d %(message)s")
for number in range(100):
    logging.error("%d %s", number, "x" * 3000)
"""


@pytest.mark.parametrize("name", ["app.txt", "app.log"])
def test_A2_python_logging_from_four_processes(mount: Place, name: str) -> None:
    path = mount.mnt / name
    programs.finish([programs.start([sys.executable, "-c", LOGGING, path]) for _ in range(4)])
    rows = [line.split(" ") for line in path.read_text().splitlines()]
    assert len(rows) == 400
    assert all(len(row) == 3 and row[2] == "x" * 3000 for row in rows)
