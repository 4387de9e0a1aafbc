"""What a scenario is, and what it gets to work with."""

from __future__ import annotations

import functools
import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support import programs
from tests.support.waiting import wait_until

Argument = str | bytes | Path

REASON_LENGTH = 300

PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


class Skip(Exception):
    """The scenario cannot run here; the text says what is missing."""


@dataclass(frozen=True)
class Scenario:
    """One run of real programs. `body` raises for a failure, Skip where something is missing."""

    name: str
    body: Callable[[Run], None]
    about: str
    needs: tuple[str, ...]
    modules: tuple[str, ...]
    limit_s: float
    extended: bool
    root: bool

    def missing(self) -> str | None:
        """What is not here, as text for people; None if all is."""
        lacking = [name for name in self.needs if shutil.which(name, path=PATH) is None]
        lacking += [f"Python module {name}" for name in self.modules if name not in modules_here()]
        if self.root and os.getuid() != 0:
            lacking.append("root")
        return ", ".join(lacking) or None


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    needs: str = "", *, modules: str = "", limit_s: float = 120.0, extended: bool = False, root: bool = False
) -> Callable[[Callable[[Run], None]], Callable[[Run], None]]:
    """Register a function as a scenario: its name with dashes, its docstring as the description.

    `needs` and `modules` are programs and Python modules, parted by spaces; without one of them it is a SKIP.
    `extended` is for what takes long or needs a network: only with `--extended`, or by name.
    """

    def register(body: Callable[[Run], None]) -> Callable[[Run], None]:
        name = body.__name__.replace("_", "-")
        assert name not in SCENARIOS, name
        about = (body.__doc__ or "").partition("\n")[0]
        SCENARIOS[name] = Scenario(
            name, body, about, tuple(needs.split()), tuple(modules.split()), limit_s, extended, root
        )
        return body

    return register


def all_scenarios() -> dict[str, Scenario]:
    """Every scenario by name, those of all files of this package."""
    here = Path(__file__).parent
    for module in pkgutil.iter_modules([str(here)]):
        if module.name.startswith("with_"):
            importlib.import_module(f"tests.realworld.{module.name}")
    return SCENARIOS


def python() -> str:
    """The interpreter for scenarios that need Python modules."""
    return os.environ.get("REALWORLD_PYTHON") or sys.executable


@functools.cache
def modules_here() -> frozenset[str]:
    """Which of all the modules that any scenario needs can be imported; found out by one process."""
    wanted = sorted({name for one in SCENARIOS.values() for name in one.modules})
    code = "import sys, importlib.util as u; print(*[n for n in sys.argv[1:] if u.find_spec(n)])"
    done = subprocess.run([python(), "-c", code, *wanted], capture_output=True, text=True, timeout=60, check=False)
    return frozenset(done.stdout.split())


def squeezed(text: str) -> str:
    """One line, its end if it is too long: programs say last what went wrong."""
    line = " ".join(text.split())
    return line if len(line) <= REASON_LENGTH else "..." + line[-REASON_LENGTH:]


class Run:
    """What a scenario works with: a fresh directory on the target, one elsewhere, and ways to run programs.

    `dir` is on the target, and so are HOME and TMPDIR. `scratch` is on an ordinary filesystem.
    """

    def __init__(self, directory: Path, scratch: Path, extended: bool) -> None:
        self.dir = directory
        self.scratch = scratch
        self.extended = extended
        self.python_path = python()
        home, temporary = directory / ".home", directory / ".tmp"
        home.mkdir()
        temporary.mkdir()
        real_home = Path(os.environ.get("HOME", "/"))
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "XDG_", "TMUX"))},
            "PATH": PATH,
            "HOME": str(home),
            "TMPDIR": str(temporary),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(real_home / ".rustup")),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "c",
            "GIT_COMMITTER_EMAIL": "c@example.org",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PYTHONDONTWRITEBYTECODE": "",
        }
        self._logs = 0

    def __call__(
        self,
        *argv: Argument,
        cwd: Path | None = None,
        data: bytes | str = b"",
        status: int | None = 0,
        limit_s: float = 600.0,
        **env: str,
    ) -> str:
        """Run a program in `dir` to its end, with `env` added; its standard output. `status` None: any."""
        process = self.start(
            *argv, cwd=cwd, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            out, err = process.communicate(data.encode() if isinstance(data, str) else data, limit_s)
        finally:
            if process.poll() is None:
                programs.end_group(process)
        if status is not None and process.returncode != status:
            said = (out + b" " + err).decode(errors="replace")
            raise AssertionError(f"{_called(argv)} ended with {process.returncode}: {squeezed(said)}")
        return out.decode(errors="replace")

    def sh(self, script: str, *, cwd: Path | None = None, status: int | None = 0, data: bytes | str = b"") -> str:
        """Run a script of bash; it ends at the first command that fails."""
        return self("bash", "-euo", "pipefail", "-c", script, cwd=cwd, status=status, data=data)

    def py(self, code: str, *args: Argument, status: int | None = 0, cwd: Path | None = None) -> str:
        """Run a script of Python, by the interpreter that has the modules."""
        return self(self.python_path, "-c", code, *args, status=status, cwd=cwd)

    def start(
        self, *argv: Argument, cwd: Path | None = None, env: dict[str, str] | None = None, **options: object
    ) -> subprocess.Popen[bytes]:
        """Start a program in `dir`, in a group of its own; without options nothing to read, output thrown away."""
        if not options:
            options = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        return programs.start(argv, cwd=cwd or self.dir, env={**self.env, **(env or {})}, **options)

    def together(self, *commands: Sequence[Argument], cwd: Path | None = None, limit_s: float = 600.0) -> list[str]:
        """Run programs at the same time, wait for all of them to end with 0; what each said."""
        processes, logs = [], []
        for command in commands:
            self._logs += 1
            log = self.scratch / f"together{self._logs}"
            with log.open("wb") as out:
                processes.append(self.start(*command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out))
            logs.append(log)
        statuses = programs.finish(processes, limit_s, ok=False)
        said = [log.read_text(errors="replace") for log in logs]
        for command, status, text in zip(commands, statuses, said, strict=True):
            assert status == 0, f"{_called(command)} ended with {status}: {squeezed(text)}"
        return said

    def py_together(self, code: str, count: int, *args: Argument) -> list[str]:
        """`count` processes of a Python script at the same time; sys.argv[1] is the number of each, from 0."""
        return self.together(*([self.python_path, "-c", code, str(number), *args] for number in range(count)))

    def write(self, name: str, text: str | bytes) -> Path:
        """A file in `dir`, its directories made."""
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def read(self, name: str) -> str:
        return (self.dir / name).read_text(errors="replace")

    def wait_for(self, name: str, text: str, times: int = 1, limit_s: float = 40.0) -> None:
        """Until the file has `text` in it, at least so many times."""

        def there() -> bool:
            return (self.dir / name).exists() and self.read(name).count(text) >= times

        wait_until(there, limit_s, f"{times} {text!r} in {name}")


def _called(argv: Sequence[Argument]) -> str:
    words = [word.decode(errors="replace") if isinstance(word, bytes) else str(word) for word in argv]
    return " ".join(words)[:80].replace("\n", " ")


def same(found: object, expected: object, what: str) -> None:
    """A check whose failure says what was found."""
    assert found == expected, f"{what}: found {squeezed(repr(found))[:130]}, expected {squeezed(repr(expected))[:130]}"
