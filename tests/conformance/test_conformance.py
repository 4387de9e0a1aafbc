"""The conformance table: every case, by every person, on a plain directory and on the mount (see `case.py`)."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.acting import Act
from tests.conformance.case import CASES, PROTECTED, Case, Run, all_runs, differs, load
from tests.conformance.comparing import verdict
from tests.conformance.entries import Dir, File
from tests.conformance.named import COMMIT_BREAKS_LINKS, NAMED, Named
from tests.conformance.people import OWNER
from tests.conformance.runner import Child, act_out
from tests.conformance.table import Table

RUNS = [pytest.param(run, id=str(run), marks=[pytest.mark.slow] if run.is_repetition else []) for run in all_runs()]


@pytest.mark.parametrize("run", RUNS)
def test_agrees(table: Table, run: Run) -> None:
    table.check(run)


def test_every_named_difference_is_shown_by_a_case() -> None:
    shown = {difference.named.name for case in load().values() for difference in case.differs}
    assert shown == {named.name for named in NAMED}


def test_every_case_says_what_it_is_about() -> None:
    assert [name for name, case in load().items() if not case.function.__doc__] == []


# --- does the comparison see anything? -----------------------------------------------------------------------------


class Here:
    """Stands in for a child: two plain directories, in this process, and the second is told to differ."""

    alive = True

    def carry_out(self, run: Run, plain: bytes, mount: bytes) -> Any:
        cwd = os.getcwd()
        try:
            return tuple(
                act_out(run.case, run.rule, run.person, folder, different)
                for folder, different in ((plain, False), (mount, True))
            )
        finally:
            os.chdir(cwd)

    def end(self) -> None:
        """Nothing to end."""


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What the table says of a function, where the mount is one more plain directory."""
    for name in ("plain", "second"):
        (tmp_path / name).mkdir()
    table = Table(tmp_path / "plain", tmp_path / "second", tmp_path / "second")
    monkeypatch.setattr(Table, "_child", lambda self, person: Here())

    def judge(function: Callable[[Act], None], *promised: Any) -> str:
        case = Case("planted", function, (File("{x}"), Dir("d")), (PROTECTED,), (OWNER,), promised)
        [run] = case.runs()
        return verdict(run, table.mismatches(run))

    return judge


def test_two_plain_directories_agree(planted: Callable[..., str]) -> None:
    def same(act: Act) -> None:
        with act.times("x", "."):
            act.mkdir("e")
            act.write(act.open("x", 2), b"other")
        act.stat("nowhere")

    assert planted(same) == ""


def value_differs(act: Act) -> None:
    act.note("the value", 1 if act.different else 2)


def errno_differs(act: Act) -> None:
    act.call("look", lambda: open("nowhere" if act.different else "d").close())


def mode_differs(act: Act) -> None:
    act.umask(0o077 if act.different else 0o022)
    act.mkdir("e")


def content_differs(act: Act) -> None:
    act.call("write", lambda: Path("x").write_bytes(b"one" if act.different else b"two") and None)


def time_differs(act: Act) -> None:
    with act.times("x", "d"):
        act.call("touch", lambda: (Path("d") if act.different else Path("x")).touch())


def entry_differs(act: Act) -> None:
    act.call("make", lambda: Path("one" if act.different else "two").touch())


def course_differs(act: Act) -> None:
    act.stat("d" if act.different else "x")


@pytest.mark.parametrize(
    ("function", "place"),
    [
        (value_differs, "the value"),
        (errno_differs, "look("),
        (mode_differs, "tree: e mode"),
        (content_differs, "tree: x content"),
        (time_differs, "times 'd'"),
        (entry_differs, "tree: one content"),
        (course_differs, "the course of the calls"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_comparison_sees_a_planted_difference(
    planted: Callable[..., str], function: Callable[[Act], None], place: str
) -> None:
    assert place in planted(function)


def test_a_named_difference_is_allowed_where_it_is_named_and_only_there(planted: Callable[..., str]) -> None:
    named = Named("for this test", "X0", "")
    assert planted(value_differs, differs(named, "the value")) == ""
    assert "the value" in planted(value_differs, differs(named, "another*"))


def test_a_named_difference_that_does_not_occur_is_stale(planted: Callable[..., str]) -> None:
    problems = planted(value_differs, differs(COMMIT_BREAKS_LINKS, "the value", "another*"))
    assert "stale" in problems
    assert "another*" in problems


def test_a_case_that_is_wrong_itself_fails(table: Table, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The child says so, and takes the next order."""
    child = Child(OWNER)
    unknown = Case("not in the table", value_differs, (), (PROTECTED,), (OWNER,), ())
    good = next(iter(CASES.values()))
    folder = os.fsencode(tempfile.mkdtemp(prefix="lockfs-table-"))  # tmp_path is for root only
    os.chmod(folder, 0o777)
    try:
        with pytest.raises(AssertionError, match="KeyError"):
            child.carry_out(unknown.runs()[0], b"/", b"/")
        assert child.carry_out(good.runs()[0], folder, folder) is not None
    finally:
        child.end()
        shutil.rmtree(folder)
