"""W7 in full: writers, renames and removals by two or three processes, in all orders of their steps, on a mount."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from tests.conftest import Mounter
from tests.support.order_state import Broken, Step
from tests.support.orders import Explorer, Script, Tree

START: Tree = {"f": b"old f\n", "g": b"old g\n", "d": None, "d/f": b"old d/f\n", "e": None}


def opened(path: str, mode: str, *then: Step, end: Step = ("close", "1")) -> Script:
    """Open, write twice with what is given in between, and close."""
    first, second = (("write", "1", f"{path} {mode} {part}\n".encode() * 3) for part in ("one", "two"))
    if mode == "r":
        return [("open", "1", path, mode), *then, end]
    return [("open", "1", path, mode), first, *then, second, end]


def brief(path: str, mode: str = "w", *then: Step, end: Step = ("close", "9")) -> Script:
    """Open, write once, close."""
    return [("open", "9", path, mode), ("write", "9", f"brief {path} {mode}\n".encode()), *then, end]


WRITERS: dict[str, Script] = {
    "replace": opened("f", "w"),
    "edit": opened("f", "r+", ("fchmod", "1", 0o640)),
    "create": opened("n", "x"),
    "create in a folder": opened("d/n", "w"),
    "replace in a folder": opened("d/f", "w"),
    "append": opened("f", "a"),
    "append anew": opened("n", "a"),
    "killed": opened("f", "w", end=("kill",)),
    "killed while creating": opened("n", "w", end=("kill",)),
    "exits": opened("f", "r+", end=("exit",)),
    "renames its new file": opened("n", "x", ("rename", "n", "f", "")),
    "renames what it writes": opened("f", "w", ("rename", "f", "n", "")),
    "renames into a folder": opened("f", "w", ("rename", "f", "d/f", "")),
    "atomic": [*opened("t", "x"), ("rename", "t", "f", "")],
    "unlinks its own": opened("f", "w", ("unlink", "f")),
    "unlinks and makes it again": [*opened("f", "w", ("unlink", "f")), *brief("f")],
    "replaces its own": opened("f", "w", ("rename", "g", "f", "")),
    "links its own": opened("f", "w", ("link", "f", "n")),
    "moves its folder": opened("d/f", "w", ("rename", "d", "n", "")),
    "reads": opened("f", "r", ("read", "1"), ("read", "1")),
    "reads in a folder": opened("d/f", "r", ("read", "1"), ("read", "1")),
    "two files": [("open", "1", "f", "w"), ("open", "2", "g", "w"), ("write", "2", b"two\n"), ("close", "2"),
                  ("write", "1", b"one\n"), ("close", "1")],
}  # fmt: skip

OTHERS: dict[str, Script] = {
    "rename away": [("rename", "f", "n", ""), ("look", "n"), ("list", "")],
    "rename over another": [("rename", "f", "g", "")],
    "rename over": [("rename", "g", "f", "")],
    "rename there and back": [("rename", "f", "n", ""), ("rename", "n", "f", "")],
    "rename away and write anew": [("rename", "f", "n", ""), *brief("f")],
    "rename the new one": [("rename", "n", "g", ""), ("rename", "f", "n", "")],
    "across folders": [("rename", "f", "d/f", ""), ("rename", "d/f", "f", "")],
    "unlink": [("unlink", "f"), ("look", "f")],
    "unlink and mkdir": [("unlink", "f"), ("mkdir", "f"), ("rmdir", "f")],
    "unlink and link": [("unlink", "f"), ("link", "g", "f")],
    "unlink and write": [("unlink", "f"), *brief("f")],
    "unlink and claim": [("unlink", "f"), *brief("f", "x")],
    "unlink and rename to it": [("unlink", "f"), ("rename", "g", "f", "noreplace")],
    "unlink the new one": [("unlink", "n"), ("mkdir", "n")],
    "clear the folder": [("unlink", "d/f"), ("rmdir", "d"), ("mkdir", "d")],
    "rename the folder": [("rename", "d", "n", ""), ("list", "n")],
    "a new folder in its place": [("rename", "d", "n", ""), ("mkdir", "d"), *brief("d/f")],
    "a folder over the other": [("unlink", "d/f"), ("rename", "e", "d", "")],
    "the folder over another": [("rename", "d", "e", ""), ("unlink", "e/f"), ("rmdir", "e")],
    "exchange": [("rename", "f", "g", "exchange"), ("look", "f")],
    "exchange the other way": [("rename", "g", "f", "exchange"), ("look", "g")],
    "exchange folders": [("rename", "d", "e", "exchange"), ("look", "e/f")],
    "exchange file and folder": [("rename", "f", "d", "exchange"), ("list", "f")],
    "not over": [("rename", "g", "f", "noreplace"), ("rename", "g", "n", "noreplace")],
    "atomic": [*brief("t", "x"), ("rename", "t", "f", "")],
    "link": [("link", "f", "n"), ("unlink", "f"), ("look", "n")],
    "link and rename over": [("link", "f", "n"), ("rename", "f", "n", ""), ("rename", "n", "f", "")],
    "link over the new one": [("link", "f", "n"), ("link", "g", "f")],
    "truncate": [("truncate", "f", 4), ("look", "f")],
    "replace": brief("f"),
    "edit": brief("f", "r+"),
    "append": brief("f", "a"),
    "killed": brief("f", "w", end=("kill",)),
    "claim": brief("n", "x"),
    "read": opened("f", "r", ("read", "1")),
    "the same two files": [("open", "8", "g", "w"), *brief("f"), ("close", "8")],
}

THREE: dict[str, tuple[Script, Script, Script]] = {
    "writer, reader, rename": (brief("f"), opened("f", "r", ("read", "1")), [("rename", "f", "n", "")]),
    "two writers, rename": (brief("f"), brief("f", "r+"), [("rename", "f", "g", "")]),
    "two writers, rename over": (brief("f"), brief("f"), [("rename", "g", "f", "")]),
    "two writers, unlink": (brief("f"), brief("f"), [("unlink", "f"), ("mkdir", "f")]),
    "writer, appender, rename": (brief("f"), brief("f", "a"), [("rename", "f", "n", ""), ("mkdir", "f")]),
    "writer, folder, folder": (brief("d/f"), [("rename", "d", "n", "")], [("unlink", "d/f"), ("rmdir", "d")]),
    "killed writer, writer, unlink": (brief("f", end=("kill",)), brief("f"), [("unlink", "f")]),
    "creators": (brief("n", "x"), brief("n"), [("rename", "g", "n", "noreplace"), ("unlink", "n")]),
    "own rename, writer, reader": (
        brief("f", "w", ("rename", "f", "n", "")), brief("f"), [("open", "1", "f", "r"), ("read", "1")]
    ),
}  # fmt: skip


PAIRS = {f"{one} | {other}": (WRITERS[one], OTHERS[other]) for one, other in itertools.product(WRITERS, OTHERS)}

THOROUGH = ("replace", "create in a folder")
"""The writers whose pairs are run in all orders; of the others' pairs some orders, drawn at random."""


@contextmanager
def explorer(mount_with: Mounter, tmp_path: Path, *options: str) -> Iterator[Explorer]:
    """On a mount of its own; nothing may be in its log."""
    plain = tmp_path / "plain"
    plain.mkdir()
    with mount_with("--durability", "none", *options) as mount:
        refuse = "refuse" in options
        with Explorer(mount.mnt, mount.source, plain, mount.stats, refuse=refuse) as found:
            yield found
        assert mount.bad_lines() == []
        assert mount.stats()["errors"] == 0
    assert mount.staged() == []


@pytest.mark.limit(240)
@pytest.mark.parametrize("options", [(), ("--on-conflict", "refuse")], ids=["queue", "refuse"])
def test_W7_some_orders(mount_with: Mounter, tmp_path: Path, options: tuple[str, ...]) -> None:
    """Of pairs and threes drawn at random; the slow test has them all."""
    random = Random(20)
    scripts: list[Sequence[Script]] = [random.choice(list(PAIRS.values())) for _ in range(70)]
    if not options:
        scripts += THREE.values()
    with explorer(mount_with, tmp_path, *options) as orders:
        for some in scripts:
            orders.explore(START, some, (random, 1))


@pytest.mark.slow
@pytest.mark.limit(900)
@pytest.mark.parametrize("writer", WRITERS)
def test_W7_all_orders(mount_with: Mounter, tmp_path: Path, writer: str) -> None:
    """One writer against everything that others can do to its file meanwhile."""
    sample = None if writer in THOROUGH or os.environ.get("LOCKFS_ALL_ORDERS") else (Random(7), 2)
    with explorer(mount_with, tmp_path) as orders:
        for other in OTHERS.values():
            orders.explore(START, (WRITERS[writer], other), sample)
    print(f"{orders.runs} orders, {dict(orders.reasons)}")


@pytest.mark.slow
@pytest.mark.limit(900)
@pytest.mark.parametrize("options", [(), ("--on-conflict", "refuse")], ids=["queue", "refuse"])
def test_W7_orders_of_three(mount_with: Mounter, tmp_path: Path, options: tuple[str, ...]) -> None:
    sample = None if os.environ.get("LOCKFS_ALL_ORDERS") else (Random(8), 25)
    with explorer(mount_with, tmp_path, *options) as orders:
        for scripts in THREE.values():
            orders.explore(START, scripts, sample)


def test_W7_orders_show_the_damage_without_protection(tmp_path: Path) -> None:
    """The same on a plain directory: torn versions are seen, second writers get in, updates are lost."""
    folder, plain = tmp_path / "unprotected", tmp_path / "plain"
    folder.mkdir()
    plain.mkdir()
    damage: Counter[str] = Counter()
    with Explorer(folder, folder, plain, None) as orders:
        for one, other in (("replace", "read"), ("edit", "rename over"), ("killed", "link"), ("replace", "append")):
            for seed in range(8):
                try:
                    orders.explore(START, PAIRS[f"{one} | {other}"], (Random(seed), 1))
                except Broken as error:
                    damage[str(error).partition(":")[0]] += 1
    assert damage["seen by others"], damage  # torn (W2)
    assert damage["('rename', 'g', 'f', '')"], damage  # lost (W1)
    assert damage["('open', '9', 'f', 'a')"], damage  # a second writer (W1)
