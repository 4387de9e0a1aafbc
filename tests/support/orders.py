"""All orders in which the steps of some processes can be done, each order on a fresh folder of a mount.

`Explorer.explore` runs scripts, one real process each, one step at a time, in every possible order (or in some, drawn
at random): a step that has to wait for a session stays behind while the others go on. The model
(`tests.support.order_model`) judges each outcome; everything that can be seen is compared after each step; and the
same steps on a plain directory must end the same way, unless a promise says otherwise.
"""

from __future__ import annotations

import errno
import os
import select
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.support.order_model import Model
from tests.support.order_state import Broken, File, Folder, Step
from tests.support.rename import RENAME_EXCHANGE, RENAME_NOREPLACE
from tests.support.waiting import wait_until
from tests.support.worker import MODES, Pending, Worker

Script = Sequence[Step]
Tree = dict[str, bytes | None]

_FLAGS = {"": 0, "noreplace": RENAME_NOREPLACE, "exchange": RENAME_EXCHANGE}
_HANG_S = 15.0


def os_call(step: Step, root: str, fd_of: Callable[[str], int]) -> tuple[Any, ...]:
    """A step as a worker's command; `root` is where its paths begin."""
    name, *rest = step
    if name == "open":
        return ("open", f"{root}/{rest[1]}", MODES[rest[2]], 0o666)
    if name in ("write", "close", "fchmod", "read"):
        fd = fd_of(rest[0])
        return ("pread", fd, 1 << 20, 0) if name == "read" else (name, fd, *rest[1:])
    if name == "rename":
        old, new, how = rest
        return ("renameat2", f"{root}/{old}", f"{root}/{new}", _FLAGS[how])
    if name == "link":
        return ("link", f"{root}/{rest[0]}", f"{root}/{rest[1]}")
    if name == "truncate":
        return ("truncate", f"{root}/{rest[0]}", rest[1])
    if name == "exit":
        return ("exit", 0)
    command = {"look": "read_file", "list": "listdir"}.get(name, name)
    return (command, f"{root}/{rest[0]}")


class PlainTwin:
    """The same steps on a plain directory, by this process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._fds: dict[tuple[int, str], int] = {}

    def do(self, who: int, step: Step) -> str | None:
        """Carry a step out; the errno's name, or None."""
        if step[0] in ("kill", "exit"):
            for owner, key in [pair for pair in self._fds if pair[0] == who]:
                os.close(self._fds.pop((owner, key)))
            return None
        from tests.support import worker_main

        command, *arguments = os_call(step, str(self.root), lambda key: self._fds.get((who, key), -1))
        function = worker_main.COMMANDS.get(command) or getattr(os, command)
        try:
            value = function(*arguments)
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        if step[0] == "open":
            self._fds[who, step[1]] = value
        elif step[0] == "close":
            del self._fds[who, step[1]]
        return None

    def close(self) -> None:
        while self._fds:
            os.close(self._fds.popitem()[1])


def read_tree(root: str) -> Tree:
    """Every path below `root` with its content; each file's size must be what can be read."""
    found: Tree = {}

    def walk(folder: str, prefix: str) -> None:
        for name in os.listdir(folder):
            path = f"{folder}/{name}"
            try:
                with open(path, "rb", buffering=0) as file:
                    found[prefix + name] = data = file.read()
                    if os.stat(path).st_size != len(data):
                        raise Broken(f"{prefix + name}: size {os.stat(path).st_size}, content {data!r} (A4, W3)")
            except IsADirectoryError:
                found[prefix + name] = None
                walk(path, f"{prefix}{name}/")

    walk(root, "")
    return found


@dataclass
class Choices:
    """Which process goes next: depth first through all orders, or at random."""

    random: Random | None = None
    taken: list[int] = field(default_factory=list)
    open_ones: list[list[int]] = field(default_factory=list)
    depth: int = 0

    def next(self, enabled: list[int]) -> int:
        """One of `enabled`."""
        if self.random is not None:
            return self.random.choice(enabled)
        if self.depth == len(self.taken):
            self.taken.append(enabled[0])
            self.open_ones.append(enabled[1:])
        self.depth += 1
        return self.taken[self.depth - 1]

    def advance(self) -> bool:
        """On to the next order; False when there is none."""
        self.depth = 0
        while self.taken:
            if self.open_ones[-1]:
                self.taken[-1] = self.open_ones[-1].pop(0)
                return True
            self.taken.pop()
            self.open_ones.pop()
        return False


class Explorer:
    """Runs scripts in a mount (`mnt`, whose backing directory is `source`); without protection, both are the same.

    `stats` gives stats.json's content; None where there is no mount. `watch`: after how many steps everything that can
    be seen is compared (reading fills the kernel's caches, so some orders are run without).
    """

    def __init__(
        self, mnt: Path, source: Path, plain: Path, stats: Callable[[], dict[str, Any]] | None, *, refuse: bool = False
    ) -> None:
        self._mnt, self._source, self._plain, self._stats = mnt, source, plain, stats
        self._refuse = refuse
        self._workers: list[Worker] = []
        self._spare: list[Worker] = []
        self._orphans_seen: set[str] = set()
        self.runs = 0
        self.reasons: Counter[str] = Counter()

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers + self._spare:
            worker.close_down()

    def __enter__(self) -> Explorer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def worker(self, who: int) -> Worker:
        """The process that plays part `who`."""
        while len(self._workers) <= who:
            self._workers.append(self._fresh())
        return self._workers[who]

    def _fresh(self) -> Worker:
        while len(self._spare) < 2:
            self._spare.append(Worker())
        return self._spare.pop(0)

    def replace(self, who: int) -> None:
        """The process ended; the next order needs another one."""
        self._workers[who] = self._fresh()

    def explore(self, start: Tree, scripts: Sequence[Script], sample: tuple[Random, int] | None = None) -> int:
        """Every order of the scripts' steps, or `sample` (random numbers, how many). Raises `Broken` with the order.

        Returns how many orders were run.
        """
        choices = Choices(sample[0] if sample else None)
        before = self.runs
        while True:
            self.run(start, scripts, choices)
            if sample is not None and self.runs - before >= sample[1]:
                break
            if sample is None and not choices.advance():
                break
        self.check_quiet()
        return self.runs - before

    def run(self, start: Tree, scripts: Sequence[Script], choices: Choices) -> None:
        """One order."""
        self.runs += 1
        run = Run(self, f"order{self.runs}", start, scripts)
        try:
            run.go(choices, looks=(0, 1, 0, 3)[self.runs % 4])
        except AssertionError as error:
            raise type(error)(f"{error}\nthe order was:\n" + "\n".join(run.story)) from None
        except OSError as error:
            raise Broken(f"what everybody may do failed: {error!r}\nthe order was:\n" + "\n".join(run.story)) from error
        finally:
            run.close()
        self.reasons.update(run.model.reasons)

    def prepare(self, name: str, start: Tree) -> tuple[Path, Path, Path]:
        """Fresh folders: as programs see it, behind the mount, and the plain directory's."""
        for base in (self._source, self._plain):
            (base / name).mkdir()
            for path, data in start.items():
                if data is None:
                    (base / name / path).mkdir()
                else:
                    (base / name / path).write_bytes(data)
        return self._mnt / name, self._source / name, self._plain / name

    def model(self) -> Model:
        return Model(refuse=self._refuse)

    def waiting(self, those: list[int]) -> set[int]:
        """Which of these processes wait for a session."""
        if self._stats is None:
            return set()
        pids = {waiter["pid"] for waiter in self._stats()["waiters"]}
        return {who for who in those if self.worker(who).pid in pids}

    def new_orphans(self) -> list[bytes]:
        """The content of the orphans that were not there before."""
        folder = self._source / ".lockfs" / "orphans"
        if self._stats is None or not folder.is_dir():
            return []
        names = {name for name in os.listdir(folder) if name.endswith(".data")} - self._orphans_seen
        self._orphans_seen |= names
        return [(folder / name).read_bytes() for name in sorted(names)]

    def check_quiet(self) -> None:
        """Nothing is left of what was open."""
        if self._stats is None:
            return
        stats = self._stats
        wait_until(
            lambda: not (stats()["sessions"]["open"] or stats()["appends"]["open"] or stats()["waits"]["now"]),
            5.0,
            "no session, append handle or waiter left over",
        )
        staging = self._source / ".lockfs" / "staging"
        left = [path.name for path in staging.iterdir() if path.stat().st_size]
        if left:
            raise Broken(f"staged files left: {left}")


class Run:
    """One order of the steps of some scripts."""

    def __init__(self, explorer: Explorer, name: str, start: Tree, scripts: Sequence[Script]) -> None:
        self._explorer = explorer
        self._mnt, self._source, plain = explorer.prepare(name, start)
        self._scripts = [list(script) for script in scripts]
        self._pending: dict[int, Pending] = {}
        self._fds: dict[tuple[int, str], int] = {}
        self._plain: PlainTwin | None = PlainTwin(plain)
        self._all_plain = self._plain
        self.model = explorer.model()
        self.story: list[str] = []
        for path, data in start.items():
            place = self.model.place(path)
            assert isinstance(place, tuple)
            place[0].entries[place[1]] = Folder() if data is None else File(data)

    def go(self, choices: Choices, looks: int) -> None:
        """Until all scripts are done. `looks`: 0 looks only at the end, else after each such number of steps."""
        steps = 0
        while True:
            enabled = [who for who, script in enumerate(self._scripts) if script and who not in self._pending]
            if not enabled:
                break
            who = choices.next(enabled)
            self._step(who, self._scripts[who].pop(0))
            steps += 1
            if looks and steps % looks == 0:
                self._look()
        if self._pending:
            raise Broken(f"still waiting at the end: {list(self._pending.values())}")
        self._finish()

    # Steps

    def _step(self, who: int, step: Step) -> None:
        self.model.begin(who, step)
        worker = self._explorer.worker(who)
        if step[0] in ("kill", "exit"):
            (worker.kill_and_wait if step[0] == "kill" else worker.exit)()
            self._explorer.replace(who)
            self._done(who, step, None, None)
        else:
            call = os_call(step, str(self._mnt), lambda key: self._fds.get((who, key), -1))
            self._pending[who] = worker.begin(*call)
        self._settle(who)

    def _settle(self, who: int) -> None:
        """Until every process has answered or waits for a session."""
        end_s = time.monotonic() + _HANG_S
        renaming = any(self.model.waiting[one].step[0] == "rename" for one in self._pending if one != who)
        quiet = 0
        while self._pending:
            first = who in self._pending and not renaming
            # What the step has done comes before what it has others do.
            answered = [one for one in ([who] if first else sorted(self._pending)) if self._pending[one].done]
            for one in sorted(answered, key=lambda one: float(self._pending[one].answer()["at_s"])):
                self._answered(one)
            if answered:
                quiet = 0
                continue
            if quiet:
                waiting = self._explorer.waiting(list(self._pending))
                for one in waiting:
                    self.model.waiting[one].waited = True
                if len(waiting) == len(self._pending):
                    return
                if who in waiting:
                    who = -1
            quiet += 1
            select.select([self._explorer.worker(one) for one in self._pending], [], [], 0.002)
            if time.monotonic() > end_s:
                raise Broken(f"hangs: {list(self._pending.values())}")

    def _answered(self, who: int) -> None:
        pending = self._pending.pop(who)
        step = self.model.waiting[who].step
        answer = pending.answer()
        value = pending.result() if "errno" not in answer else None
        if step[0] == "open" and value is not None:
            self._fds[who, step[1]] = value
        self._done(who, step, pending.error(), value)

    def _done(self, who: int, step: Step, error: str | None, value: Any) -> None:
        self.story.append(f"  {'ABC'[who]}: {step} -> {error or 'ok'}")
        self.model.apply(who, error, value)
        if self._plain is not None:
            found = self._plain.do(who, step)
            if found != error:
                if not self.model.reasons:
                    raise Broken(f"{step}: {error or 'success'}, on a plain directory {found or 'success'}")
                self._plain = None  # from here on the promises make it another story

    # Looking

    def _readers(self) -> Iterator[tuple[int, str]]:
        for (who, key), handle in list(self.model.handles.items()):
            if not handle.append and handle.place is None and handle.file is not None and who not in self._pending:
                yield who, key

    def _look(self) -> None:
        for who, key in self._readers():
            data = self._explorer.worker(who).do("pread", self._fds[who, key], 1 << 20, 0)
            self.model.check_reader(self.model.handles[who, key], data)
        if any(waiting.step[0] == "rename" for waiting in self.model.waiting.values()):
            return  # it holds the directories' locks, and would hold us up
        self._compare(read_tree(str(self._mnt)), self.model.tree(), "seen by others")
        self._own_views()

    def _own_views(self) -> None:
        for session in self.model.sessions:
            if session.place is None or session.owner in self._pending:
                continue
            path = next((p for p, f in self._folders() if f is session.place[0]), None)
            if path is not None:
                seen = self._explorer.worker(session.owner).do("read_file", f"{self._mnt}/{path}{session.place[1]}")
                if seen != session.file.data:
                    raise Broken(f"the writer sees {seen!r} at {path}{session.place[1]}, wrote {session.file.data!r}")
                names = self._explorer.worker(session.owner).do("listdir", f"{self._mnt}/{path}")
                expected = self.model.names_seen_by(session.owner, session.place[0])
                if sorted(names) != sorted(expected):
                    raise Broken(f"the writer lists {sorted(names)} in {path!r}, there is {sorted(expected)} (F2)")

    def _folders(self) -> Iterator[tuple[str, Folder]]:
        found: list[tuple[str, Folder]] = [("", self.model.root)]
        while found:
            path, folder = found.pop()
            yield path, folder
            found += [(f"{path}{name}/", entry) for name, entry in folder.entries.items() if isinstance(entry, Folder)]

    def _compare(self, found: Tree, expected: Tree, what: str) -> None:
        pairs = {path: (found.get(path, "missing"), expected.get(path, "missing")) for path in {**found, **expected}}
        wrong = [f"{path}: {one!r}, must be {other!r}" for path, (one, other) in sorted(pairs.items()) if one != other]
        if wrong:
            raise Broken(f"{what}: " + "; ".join(wrong))

    def _finish(self) -> None:
        for who, key in self._readers():
            self._step(who, ("close", key))
        if self.model.handles or self.model.sessions:
            raise AssertionError("a script leaves something open")
        self._compare(read_tree(str(self._mnt)), self.model.tree(), "at the end, through the mount")
        self._compare(read_tree(str(self._source)), self.model.tree(), "at the end, behind the mount")
        if self._plain is not None:
            names = read_tree(str(self._plain.root)).keys()
            if names != self.model.tree().keys() and not self.model.reasons:
                raise Broken(f"at the end a plain directory has {sorted(names)}")
        orphans = self._explorer.new_orphans()
        if sorted(orphans) != sorted(self.model.orphans) and self._explorer._stats is not None:
            raise Broken(f"among the orphans: {orphans}, must be: {self.model.orphans} (N2)")
        if self._explorer.runs % 16 == 0:
            self._explorer.check_quiet()

    def close(self) -> None:
        """Give the processes back clean; those that a failure left in the middle are ended."""
        for who in self._pending:
            worker = self._explorer.worker(who)
            worker.kill()
            worker.close_down()
            self._explorer.replace(who)
        for who, key in self.model.handles:
            if who not in self._pending and (who, key) in self._fds:
                self._explorer.worker(who).begin("close", self._fds[who, key]).answer()
        self._pending.clear()
        self._explorer.new_orphans()  # a failed order's
        if self._all_plain is not None:
            self._all_plain.close()
