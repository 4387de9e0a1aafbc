"""The hand that carries out a case's calls in one directory, and writes down what a program sees of each."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from tests.conformance import calls
from tests.conformance.people import Person
from tests.mount.operations import ARTIFICIAL_NS, seen

OPENS = frozenset({"open", "open_raw", "openat", "openat2", "creat", "dup"})
"""Calls that return a descriptor: which number does not matter."""

_CLOCK_REALTIME_COARSE = 5
"""The clock that filesystems take times from, which Python has no name for."""


@dataclass(frozen=True)
class Step:
    """One call: how it reads, and its value or its errno's name."""

    call: str
    outcome: Any


def facts(status: os.stat_result) -> dict[str, Any]:
    """The fields of a status that must agree; times that the case set (before 2017) by value, others as "natural"."""
    found = seen(status)
    found["mtime"] = status.st_mtime_ns if status.st_mtime_ns < ARTIFICIAL_NS else "natural"
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        found["rdev"] = status.st_rdev
    return found


def observe(root: bytes) -> dict[str, Any]:
    """Everything that is in a case's directory, and the directory itself: "name field" -> value."""
    found: dict[str, Any] = {}
    first_name: dict[tuple[int, int], str] = {}
    _observe(root, "", found, first_name)
    # Not before the rest: what is asked of a mount first may be answered from what the kernel kept, while the release
    # that commits a file is still on its way.
    found |= {". " + key: value for key, value in facts(os.lstat(root)).items()}
    return found


def _observe(folder: bytes, prefix: str, found: dict[str, Any], first_name: dict[tuple[int, int], str]) -> None:
    for name in sorted(os.listdir(folder)):
        path, shown = os.path.join(folder, name), prefix + os.fsdecode(name)
        status = os.lstat(path)
        fields = facts(status)
        if stat.S_ISLNK(status.st_mode):
            fields["target"] = os.readlink(path)
        elif stat.S_ISREG(status.st_mode):
            with open(path, "rb", buffering=0) as file:
                fields["content"] = file.read()
            fields["same as"] = first_name.setdefault((status.st_dev, status.st_ino), shown)
        found |= {f"{shown} {key}": value for key, value in fields.items()}
        if stat.S_ISDIR(status.st_mode):
            _observe(path, shown + "/", found, first_name)


def _portable(value: Any) -> Any:
    if isinstance(value, os.stat_result):
        return facts(value)
    if isinstance(value, list) and all(isinstance(item, str | bytes) for item in value):
        return sorted(value)
    return value


class Act:
    """What a case's function gets: every call of `os` and of `calls` as a method, plus `call`, `note` and `times`.

    A call that fails is written down with its errno and returns -1 where a descriptor was expected, else None; the
    case goes on. `x` and `y` are the names of the files under test. The working directory is the case's own.
    """

    def __init__(self, x: str, y: str, person: Person, different: bool = False) -> None:
        self.x = x
        self.y = y
        self.person = person
        self.different = different
        """Only for the tests of the comparison itself: true in the second of the two directories."""
        self.steps: list[Step] = []
        self._opened: set[int] = set()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        ours = vars(calls).get(name)
        function = ours if isinstance(ours, FunctionType) else getattr(os, name)

        def recorded(*args: Any, **kwargs: Any) -> Any:
            return self._do(name, function, args, kwargs)

        return recorded

    def call(self, label: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Any other function that raises OSError, under this label; what it returns must agree."""
        return self._do(label, function, args, kwargs)

    def _do(self, name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        shown = [self._shown(arg) for arg in args] + [f"{key}={self._shown(arg)}" for key, arg in kwargs.items()]
        text = f"{name}({', '.join(shown)})"
        try:
            value = function(*args, **kwargs)
        except OSError as error:
            self.steps.append(Step(text, errno.errorcode.get(error.errno or 0, str(error))))
            return -1 if name in OPENS else None
        except ValueError as error:
            if "negative" not in str(error):
                raise
            self.steps.append(Step(text, "EBADF"))  # Python does not ask the system about descriptor -1
            return None
        if name in OPENS:
            self._opened.add(value)
        self.steps.append(Step(text, "a descriptor" if name in OPENS else _portable(value)))
        return value

    def _shown(self, value: Any) -> str:
        if isinstance(value, int) and not isinstance(value, bool):
            return "fd" if value in self._opened else oct(value) if value > 9 else str(value)
        text = repr(value)
        return text if len(text) < 100 else f"{text[:60]}...({len(value)})"

    def note(self, label: str, value: Any) -> None:
        """Something that the case found out, which must agree."""
        self.steps.append(Step(label, _portable(value)))

    @contextmanager
    def times(self, *paths: str | bytes | int) -> Iterator[None]:
        """Which of atime, mtime and ctime of these (paths or descriptors) the calls within change.

        Names that lead nowhere count as "gone"; nobody follows symbolic links here.
        """
        before = [_times(path) for path in paths]
        _let_the_clock_move([stamp for stamps in before if stamps for stamp in stamps])
        yield
        changes = {}
        for path, old in zip(paths, before, strict=True):
            new = _times(path)
            if old is None or new is None:
                changes[self._shown(path)] = f"{'there' if old else 'gone'}, then {'there' if new else 'gone'}"
            else:
                changes[self._shown(path)] = "".join(
                    letter for letter, one, two in zip("amc", old, new, strict=True) if one != two
                )
        self.note("times", changes)


def _times(path: str | bytes | int) -> tuple[int, int, int] | None:
    try:
        status = os.fstat(path) if isinstance(path, int) else os.lstat(path)
    except OSError:
        return None
    return status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns


def _let_the_clock_move(stamps: list[int]) -> None:
    """Until a time that the kernel puts on a file now would be later than these (its clock ticks every 1 to 10 ms)."""
    now_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
    last_ns = max((stamp for stamp in stamps if stamp <= now_ns), default=0)
    while time.clock_gettime_ns(_CLOCK_REALTIME_COARSE) <= last_ns:
        time.sleep(0.0005)
