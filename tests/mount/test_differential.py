"""Random operations of one process, on a mount and on a plain directory: outcomes and trees agree after each.

Seeded, so a failure comes back; the failing sequence is shortened, and can be kept as a named test with `replay`.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from tests.mount.differences import Watch
from tests.mount.operations import WEIGHTS, XATTR_WEIGHTS, Actor, Chooser, Operation, tree
from tests.support.acls import why_not
from tests.support.targets import Place

counter = itertools.count()

START: list[Operation] = [
    ("mkdir", b"d", 0o755),
    ("mkdir", b"d/s", 0o755),
    *(
        step
        for path in (b"a", b"b", b"d/a", b"d/s/b", b"x.log", b"x.lock")
        for step in (
            ("open", 0, path, os.O_WRONLY | os.O_CREAT, 0o644),
            ("write", 0, path + b" has this content\n"),
            ("close", 0),
        )
    ),
]


class Different(AssertionError):
    """The mount and the plain directory do not agree."""


@dataclass
class Twins:
    """A folder on the mount and a plain one, to which the same is done."""

    mount: Actor
    plain: Actor
    source: bytes
    watch: Watch
    done: list[Operation] = field(default_factory=list)
    succeeded: set[str] = field(default_factory=set)

    def step(self, operation: Operation) -> None:
        """Carry it out on both and compare; left out where a promise makes it differ."""
        if operation[0] == "open" and self.plain.fds[operation[1]] is not None:
            self.step(("close", operation[1]))
        if self.watch.promised(operation):
            return
        self.done.append(operation)
        expected, found = self.plain.do(operation), self.mount.do(operation)
        if found != expected:
            raise Different(f"the outcome of {operation}\nmount: {found}\nplain: {expected}")
        if expected.error is None:
            self.succeeded.add(operation[0])
            self.watch.done(operation)
        self._compare_trees(self.mount.root, f"the tree after {operation}")

    def finish(self) -> None:
        """Close what is open; then the backing directory must agree, too."""
        for slot in list(self.watch.handles):
            self.step(("close", slot))
        self._compare_trees(self.source, "the backing directory at the end")

    def _compare_trees(self, root: bytes, when: str) -> None:
        there, here = tree(self.plain.root), tree(root)
        names = [name for name in sorted(there | here) if there.get(name) != here.get(name)]
        if names:
            parts = [f"{name!r}\n  mount: {here.get(name)}\n  plain: {there.get(name)}" for name in names]
            raise Different(f"{when}:\n" + "\n".join(parts))


@contextmanager
def twins(mnt: Path, source: Path) -> Iterator[Twins]:
    """Both in a folder within a folder of their own, which symbolic links to ../a do not leave."""
    name = f"run{next(counter)}"
    outer = Path(tempfile.mkdtemp(prefix="lockfs-plain-"))
    for folder in (outer / "root", mnt / name / "root"):
        folder.mkdir(parents=True, mode=0o755)
    mount, plain = Actor(os.fsencode(mnt / name / "root")), Actor(os.fsencode(outer / "root"))
    try:
        yield Twins(mount, plain, os.fsencode(source / name / "root"), Watch(plain))
    finally:
        mount.close_all()
        plain.close_all()
        shutil.rmtree(mnt / name, ignore_errors=True)
        shutil.rmtree(outer)


def replay(mnt: Path, source: Path, steps: Iterable[Operation]) -> Twins:
    """Carry the steps out, from an empty folder."""
    with twins(mnt, source) as pair:
        for step in steps:
            pair.step(step)
        pair.finish()
    return pair


def shortened(mnt: Path, source: Path, steps: list[Operation]) -> tuple[list[Operation], str]:
    """Leave out of a failing sequence what it does not need; it with its failure's text."""

    def failure(candidate: list[Operation]) -> str | None:
        try:
            replay(mnt, source, candidate)
        except Different as different:
            return str(different)
        return None

    text = failure(steps)
    if text is None:
        return steps, "(it does not fail when repeated)"
    size = max(1, len(steps) // 2)
    while size:
        position = 0
        while position < len(steps):
            candidate = steps[:position] + steps[position + size :]
            found = failure(candidate)
            if found is not None:
                steps, text = candidate, found
            else:
                position += size
        size //= 2
    return steps, text


def explore(mnt: Path, source: Path, seed: int, length: int, weights: dict[str, int] = WEIGHTS) -> set[str]:
    """One random sequence; the names of the operations that succeeded in it."""
    with twins(mnt, source) as pair:
        try:
            for step in START:
                pair.step(step)
            chooser = Chooser(Random(seed), pair.plain, weights)
            for _ in range(length):
                pair.step(chooser.operation())
            pair.finish()
            return pair.succeeded
        except Different as different:
            done, first = pair.done, different
    short, text = shortened(mnt, source, done)
    lines = "".join(f"    {step!r},\n" for step in short)
    raise Different(f"seed {seed}: {text}\nafter [\n{lines}]\nfirst seen as: {first}") from None


@pytest.mark.limit(90)
@pytest.mark.parametrize("seed", range(10))
def test_differential(mount: Place, seed: int) -> None:
    explore(mount.mnt, mount.source, seed, 50)


@pytest.mark.slow
@pytest.mark.limit(600)
@pytest.mark.parametrize("part", range(10))
def test_differential_long(mount: Place, part: int) -> None:
    succeeded = set()
    for seed in range(1000 * (part + 1), 1000 * (part + 1) + 20):
        succeeded |= explore(mount.mnt, mount.source, seed, 100)
    assert succeeded == set(WEIGHTS), f"never succeeded: {set(WEIGHTS) - succeeded}"


def explore_with_xattrs(place: Place, seed: int, length: int) -> set[str]:
    reason = why_not(Path(tempfile.gettempdir()))
    if reason is not None:  # the mount may be on a tmpfs then, but the plain directory is not
        pytest.skip(reason)
    return explore(place.mnt, place.source, seed, length, WEIGHTS | XATTR_WEIGHTS)


@pytest.mark.limit(90)
@pytest.mark.parametrize("seed", range(8))
def test_differential_with_xattrs(xattr_mount: Place, seed: int) -> None:
    explore_with_xattrs(xattr_mount, seed, 50)


@pytest.mark.slow
@pytest.mark.limit(600)
@pytest.mark.parametrize("part", range(8))
def test_differential_with_xattrs_long(xattr_mount: Place, part: int) -> None:
    for seed in range(1000 * (part + 1), 1000 * (part + 1) + 15):
        explore_with_xattrs(xattr_mount, seed, 100)


def test_the_comparison_sees_a_difference(tmp_path: Path) -> None:
    """Two plain directories agree, every operation succeeds now and then, and a planted difference is found."""
    succeeded = set()
    weights = WEIGHTS if why_not(tmp_path) else WEIGHTS | XATTR_WEIGHTS
    for seed in range(40):
        succeeded |= explore(tmp_path, tmp_path, seed, 50, weights)
    assert succeeded == set(weights), f"never succeeded: {set(weights) - succeeded}"

    def forgetful(actor: Actor) -> Callable[..., None]:
        return lambda path, mode: os.chmod(actor.path(path), mode & 0o700)

    with twins(tmp_path, tmp_path) as pair:
        pair.mount.op_chmod = forgetful(pair.mount)  # type: ignore[method-assign]
        for step in START:
            pair.step(step)
        with pytest.raises(Different, match="the tree after"):
            pair.step(("chmod", b"a", 0o755))
