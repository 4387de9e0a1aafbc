"""W1, W2, W5: a commit between somebody's walk of the path and his open, chmod or truncate loses nothing.

Each of these lost data, or failed with ESTALE, in an earlier state of lockfs. They need no luck to pass, and only a
little to fail: hundreds of tries by several processes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.support import programs
from tests.support.targets import Place

COUNTER = """
import sys
mode, path, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
for _ in range(rounds):
    with open(path, mode) as file:
        if mode == "a+":
            import fcntl
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            count = int(file.read().split()[-1])
            file.write(f"{count + 1}\\n")
        else:
            count = int(file.read())
            file.seek(0)
            file.write(str(count + 1))
            file.truncate()
"""

REPLACER = """
import sys
letter, path, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
for _ in range(rounds):
    with open(path, "w") as file:
        file.write(letter * 1000)
"""

READER = """
import sys
path, rounds = sys.argv[1], int(sys.argv[2])
for _ in range(rounds):
    with open(path) as file:
        text = file.read()
        file.seek(0)
        assert len(text) == 1000 and len(set(text)) == 1 and file.read() == text, "torn or changing"
"""

TRUNCATER = """
import os, sys
path, rounds = sys.argv[1], int(sys.argv[2])
for size in range(1000, 1000 + rounds):
    os.truncate(path, size)
    assert os.stat(path).st_size == size, "lost"
"""

EDITOR = """
import sys
path, rounds = sys.argv[1], int(sys.argv[2])
for _ in range(rounds):
    with open(path, "r+") as file:
        file.write("edit")
"""

LINKER = """
import os, sys
path, rounds = sys.argv[1], int(sys.argv[2])
for number in range(rounds):
    os.link(path, f"{path}.{number}")
    os.unlink(f"{path}.{number}")
"""

REMOVER = """
import os, sys
path, rounds = sys.argv[1], int(sys.argv[2])
for _ in range(rounds):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
"""

CHMODDER = """
import os, sys
path, rounds = sys.argv[1], int(sys.argv[2])
for number in range(rounds):
    mode = 0o600 | (number % 2) << 2
    os.chmod(path, mode)
    assert os.stat(path).st_mode & 0o777 == mode, "lost"
"""


def together(*commands: tuple[str, ...]) -> None:
    """Run Python programs at the same time; all must succeed."""
    programs.finish([programs.start([sys.executable, "-c", *command]) for command in commands])


@pytest.mark.parametrize("mode", ["r+", "a+"])
def test_W1_no_update_is_lost(mount: Place, mode: str) -> None:
    path = mount.mnt / "counter"
    path.write_text("0\n")
    together(*[(COUNTER, mode, str(path), "60")] * 5)
    assert int(path.read_text().split()[-1]) == 300


def test_W2_readers_of_a_file_that_is_replaced_all_the_time(mount: Place) -> None:
    path = mount.mnt / "f"
    path.write_text("A" * 1000)
    together(*((REPLACER, letter, str(path), "150") for letter in "BCD"), *[(READER, str(path), "400")] * 2)


def test_W1_truncate_among_commits(mount: Place) -> None:
    """An edit keeps the size, so that a truncate that got lost would show."""
    path = mount.mnt / "f"
    path.write_text("x" * 100)
    together((TRUNCATER, str(path), "150"), *[(EDITOR, str(path), "150")] * 2)
    assert path.stat().st_size == 1149


def test_W7_links_among_commits(mount: Place) -> None:
    path = mount.mnt / "f"
    path.write_text("A" * 1000)
    together((LINKER, str(path), "150"), *[(EDITOR, str(path), "150")] * 2)


@pytest.mark.parametrize("mode", ["w", "a"])
def test_W7_writers_among_removals(mount: Place, mode: str) -> None:
    path = mount.mnt / "f"
    writer = REPLACER.replace('"w"', f'"{mode}"')
    together((REMOVER, str(path), "300"), *((writer, letter, str(path), "150") for letter in "BC"))


def test_W5_chmod_among_commits(mount: Place) -> None:
    path = mount.mnt / "f"
    path.write_text("A" * 1000)
    together((CHMODDER, str(path), "150"), *((REPLACER, letter, str(path), "150") for letter in "BC"))


def test_W4_inode_number_stays_within_a_session(mount: Place) -> None:
    """vim compares what it opened with what it looked at (E949)."""
    path = mount.mnt / "f"
    path.write_text("old")
    before = path.stat().st_ino
    with path.open("r+") as file:
        assert os.fstat(file.fileno()).st_ino == before
        file.write("new")
        file.flush()
        assert os.fstat(file.fileno()).st_ino == before
    assert path.read_text() == "new"


def test_N_links_and_removals_leak_no_descriptors(mount: Place) -> None:
    def descriptors() -> int:
        return len(list(Path(f"/proc/{mount.pid}/fd").iterdir()))

    before = descriptors()
    for number in range(300):
        first, second = mount.mnt / f"a{number}", mount.mnt / f"b{number}"
        first.touch()
        second.hardlink_to(first)
        first.unlink()
    assert descriptors() < before + 50
