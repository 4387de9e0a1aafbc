"""The scenarios. Each runs unmodified programs (`programs/`) in a directory, and counts the damage it finds there.

They know nothing of lockfs and do the same on a plain directory and on a mount. Standard library only, and no pytest:
scripts/demo runs them, tests/demo and tests/semantics too.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support import programs

PROGRAMS = Path(__file__).with_name("programs")
WRITERS = 5
LIMIT_S = 60.0


@dataclass(frozen=True)
class Found:
    """What a run of a scenario found: `damage` out of `of` things that could be damaged."""

    damage: int
    of: int


@dataclass(frozen=True)
class Scenario:
    """A scenario; `run(folder, scratch)` works in an empty folder, and keeps what is its own in scratch."""

    name: str
    counted: str
    run: Callable[[Path, Path], Found]
    plain_is_damaged: bool = True
    needs: str | None = None


def _python(name: str, *arguments: object) -> list[str]:
    return [sys.executable, "-I", "-S", str(PROGRAMS / name), *map(str, arguments)]


def compile_c(scratch: Path) -> Path | None:
    """The stdio program, compiled once into scratch; None without a compiler."""
    binary = scratch / "append_stdio"
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    if not binary.exists():
        programs.run(compiler, "-O1", "-o", binary, PROGRAMS / "append_stdio.c")
    return binary


def _stdio(scratch: Path) -> list[str]:
    binary = compile_c(scratch)
    assert binary is not None
    return [str(binary)]


APPENDERS: dict[str, Callable[[Path], list[str]]] = {
    "python print": lambda _: _python("append_print.py"),
    "python json.dump": lambda _: _python("append_json.py"),
    "perl print": lambda _: ["perl", str(PROGRAMS / "append_print.pl")],
    "C stdio": _stdio,
}

# Enough that the processes overlap: the fast ones are done with 60 rows before the next one has started.
ROWS = {"python print": 200, "python json.dump": 120, "perl print": 200, "C stdio": 500}


def _expected_pad(me: int, row: int) -> str:
    return chr(ord("a") + me) * (10_000 + (row * 977 + me * 131) % 10_000)


def _rows_in(text: str) -> Iterator[tuple[int, int]]:
    """The whole rows (writer, row) in a file of rows."""
    for line in text.split("\n"):
        try:
            if line.startswith("{"):
                found = json.loads(line)
                me, row, pad, end = found["writer"], found["row"], found["pad"], found["end"]
            else:
                one, two, pad, last = line.split(" ")
                me, row, end = int(one), int(two), int(last)
        except (ValueError, KeyError, TypeError):
            continue
        if row == end and pad == _expected_pad(me, row):
            yield me, row


def append_rows(folder: Path, kind: str, scratch: Path, rows: int) -> int:
    """Five processes append rows of 10 to 20 KB to one file; how many of all rows are not there as they should be."""
    path = folder / "rows"
    path.write_text("")
    command = APPENDERS[kind](scratch)
    writers = [programs.start([*command, str(path), str(me), str(rows)]) for me in range(WRITERS)]
    programs.finish(writers, LIMIT_S)
    whole = list(_rows_in(path.read_text(errors="replace")))
    assert len(set(whole)) == len(whole), "a row is there twice"
    return WRITERS * rows - len(whole)


def _append_scenario(kind: str) -> Callable[[Path, Path], Found]:
    rows = ROWS[kind]
    return lambda folder, scratch: Found(append_rows(folder, kind, scratch, rows), WRITERS * rows)


def rewrite_json(folder: Path, scratch: Path) -> Found:
    """Five processes rewrite one JSON file while a reader parses it: invalid reads, and an invalid final file."""
    path, stop = folder / "state.json", scratch / "stop"
    path.write_text("{}")
    stop.unlink(missing_ok=True)
    reader = programs.start(_python("read_json.py", path, stop), stdout=subprocess.PIPE)
    try:
        writers = [programs.start(_python("rewrite_json.py", path, me, 25)) for me in range(WRITERS)]
        programs.finish(writers, LIMIT_S)
    finally:
        stop.touch()
    out, _ = reader.communicate(timeout=LIMIT_S)
    reads, invalid = map(int, out.split())
    try:
        final = json.loads(path.read_text())
        bad_end = len(final["items"]) != 600 + 40 * final["writer"]
    except ValueError:
        bad_end = True
    return Found(invalid + bad_end, reads + 1)


def count_up(folder: Path, scratch: Path) -> Found:
    """Five processes count up in one file with open('r+'): updates that were lost."""
    path, times = folder / "counter", 200
    path.write_text("0\n")
    programs.finish([programs.start(_python("count_up.py", path, times)) for _ in range(WRITERS)], LIMIT_S)
    return Found(WRITERS * times - int(path.read_text()), WRITERS * times)


def killed_half_way(folder: Path, scratch: Path) -> Found:
    """Writers are killed half-way: files that are not whole afterwards."""
    damaged, count = 0, 5
    for number in range(count):
        path, old = folder / f"f{number}", "the old content\n" * 1000
        path.write_text(old)
        writer = programs.start(_python("half_writer.py", path), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"half\n"
        writer.kill()
        programs.finish([writer], ok=False)
        damaged += path.read_text() != old
    return Found(damaged, count)


def two_shells(folder: Path, scratch: Path) -> Found:
    """Two shells, each `{ cmd; sleep; cmd; } > f`: looks at the file that show neither the old nor one whole output."""
    path = folder / "out"
    path.write_text("old\n")
    texts = [("the first shell, line 1", "the first shell, and a longer line 2"), ("second: 1", "second: 2")]
    whole = {"old\n", *(f"{one}\n{two}\n" for one, two in texts)}
    bad = looks = 0

    def look() -> None:
        nonlocal bad, looks
        looks += 1
        bad += path.read_text() not in whole
        time.sleep(0.01)

    command = ["sh", str(PROGRAMS / "two_steps.sh"), str(path)]
    first = programs.start([*command, *texts[0]])
    while looks < 10:  # about a tenth of a second: the first is in its sleep when the second starts
        look()
    second = programs.start([*command, *texts[1]])
    end_s = time.monotonic() + LIMIT_S
    while (first.poll() is None or second.poll() is None) and time.monotonic() < end_s:
        look()
    programs.finish([first, second])
    look()
    return Found(bad, looks)


def claims(folder: Path, scratch: Path) -> Found:
    """Twenty shells claim a name with noclobber: winners too many or too few."""
    path, count = folder / "claim", 20
    command = ["sh", str(PROGRAMS / "claim.sh"), str(path)]
    statuses = programs.finish([programs.start([*command, str(me)]) for me in range(count)], LIMIT_S, ok=False)
    winners = statuses.count(0)
    assert set(statuses) <= {0, 9}, statuses
    right = winners == 1 and path.read_text() == f"{statuses.index(0)}\n"
    return Found(0 if right else max(1, abs(winners - 1)), count)


SCENARIOS = (
    Scenario("5 processes append rows, Python print", "torn rows", _append_scenario("python print")),
    Scenario("5 processes append rows, Python json.dump", "torn rows", _append_scenario("python json.dump")),
    Scenario("5 processes append rows, perl print", "torn rows", _append_scenario("perl print"), needs="perl"),
    Scenario("5 processes append rows, C stdio", "torn rows", _append_scenario("C stdio"), needs="gcc"),
    Scenario("5 processes rewrite a JSON file, 1 parses it", "invalid reads", rewrite_json),
    Scenario("5 processes count up with open('r+')", "lost updates", count_up),
    Scenario("a writer is killed half-way", "broken files", killed_half_way),
    Scenario("2 shells: { cmd; sleep; cmd; } > f", "mixed or half outputs seen", two_shells),
    Scenario("20 shells claim a name (noclobber)", "winners more or fewer than 1", claims, plain_is_damaged=False),
)


def run_scenario(scenario: Scenario, folder: Path, scratch: Path, rounds: int, until_damaged: bool) -> Found:
    """Run a scenario up to `rounds` times, each in a fresh folder; with until_damaged, stop at the first damage."""
    damage = of = 0
    for number in range(rounds):
        fresh = folder / f"round{number}"
        fresh.mkdir()
        found = scenario.run(fresh, scratch)
        damage += found.damage
        of += found.of
        if until_damaged and damage:
            break
    return Found(damage, of)
