"""Run test modules of Python's standard library on a plain directory and on a lockfs mount, and compare their results.

Each module runs twice, with its working directory and its temporary files below the one and below the other. A
module whose results differ runs once more on both sides, since some tests depend on the load of the machine. What
still differs is listed test by test, and the outputs are kept.
"""

from __future__ import annotations

import argparse
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
MODULES = (
    "array asyncio bufio bz2 cmd_line_script compileall concurrent_futures configparser csv dbm dbm_dumb dbm_gnu "
    "dbm_ndbm epoll fcntl file filecmp fileinput fileio fnmatch genericpath glob gzip import importlib io "
    "largefile linecache logging lzma mailbox memoryio mmap multiprocessing_fork multiprocessing_forkserver "
    "multiprocessing_main_handling multiprocessing_spawn netrc os pathlib pickle pkg pkgutil plistlib poll posix "
    "posixpath pty py_compile readline runpy select selectors shelve shutil signal site "
    "sqlite3 stat subprocess tarfile tempfile tokenize unicode_file unicode_file_functions univnewlines venv "
    "zipapp zipfile zipimport "
)
"""Of all modules those that have to do with files, without `test_`."""


RAN = re.compile(r"^Ran (\d+) tests? in ", re.MULTILINE)
SKIPPED = re.compile(r"skipped (['\"].*)$|^(test_\w+ skipped.*)$", re.MULTILINE)
BAD = re.compile(r"^((?:FAIL|ERROR|UNEXPECTED SUCCESS): .*)$", re.MULTILINE)
BAD_LINE = re.compile(r"\bERROR\b|Traceback")
# Differences that are no fault: what the mount does not have by choice, and why.
CHOSEN = {"'no non-broken extended attribute support'": "extended attributes need --xattrs"}
# What differs from run to run in the text of an outcome: addresses, process ids, random names.
VARYING = re.compile(r"0x[0-9a-f]+|\d{3,}|(?<=/tmp)\w{8}")


class Outcome(NamedTuple):
    """What one module said: how many tests ran, and every one that was skipped (by its reason) or failed (by name)."""

    ran: int
    skipped: Counter[str]
    bad: Counter[str]

    def __str__(self) -> str:
        return f"{self.ran} ran, {self.skipped.total()} skipped, {self.bad.total()} failed"


def read_outcome(text: str, status: int) -> Outcome:
    """From the output of `python -m test -v`; a module that ended early is bad, whatever its tests said."""
    skipped = Counter(VARYING.sub("*", one or other) for one, other in SKIPPED.findall(text))
    bad = Counter(VARYING.sub("*", name) for name in BAD.findall(text))
    if status and not bad:
        bad[f"the module ended with status {status}"] = 1
    return Outcome(sum(map(int, RAN.findall(text))), skipped, bad)


def run_module(python: str, module: str, directory: Path, output: Path, user: str | None, limit_s: float) -> Outcome:
    """One module, with all its files below `directory`; what it prints goes to `output`."""
    here = Path(tempfile.mkdtemp(dir=directory))  # a short path: those of sockets have 107 bytes at most
    if user is not None:
        os.chown(here, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
    command = [python, "-m", "test", "-v", "-u", "largefile,subprocess", "--tempdir", str(here), module]
    environment = {**os.environ, "TMPDIR": str(here), "PYTHONDONTWRITEBYTECODE": ""}
    environment.pop("PYTHONPATH" if user is None else "HOME", None)
    with output.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=here,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user,
            group=None if user is None else pwd.getpwnam(user).pw_gid,
            extra_groups=None if user is None else [],
        )
        try:
            status = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            status = -1
        finally:
            end_group(process)
    remove(here)
    return read_outcome(output.read_text(errors="replace"), status)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """What a module has left running goes with it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def remove(directory: Path) -> None:
    """Some tests leave directories without permissions, and an ordinary user cannot pass those."""
    for path, names, _ in os.walk(directory):
        for below in (Path(path, name) for name in names):
            if not below.is_symlink():
                below.chmod(0o700)
    shutil.rmtree(directory, ignore_errors=True)


def lockfs(*arguments: str | Path) -> None:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "lockfs.cli.main", *map(str, arguments)]
    subprocess.run(command, check=True, timeout=60, env={**os.environ, "PYTHONPATH": path})


@contextmanager
def mounted(base: Path, options: list[str]) -> Iterator[Path]:
    """A mount below `base`, with its log at `base`/lockfs.log."""
    source, mountpoint = base / "source", base / "mount"
    for directory in (source, mountpoint):
        directory.mkdir()
        directory.chmod(0o755)
    lockfs("mount", source, mountpoint, "--log-file", base / "lockfs.log", *options)
    try:
        yield mountpoint
    finally:
        lockfs("umount", mountpoint)


def present(python: str, names: list[str]) -> list[str]:
    """Those of the modules that this interpreter has, as `test_NAME`; an error where it has none."""
    wanted = [name if name.startswith("test") else f"test_{name}" for name in names]
    code = "import sys, importlib.util as u\nprint(*[n for n in sys.argv[1:] if u.find_spec(f'test.{n}')])"
    found = subprocess.run([python, "-c", code, *wanted], capture_output=True, text=True, check=False)
    if not found.stdout.split():
        raise SystemExit(f"python-tests: {python} has no test package; name one that has with --python")
    return found.stdout.split()


def agree(one: Outcome, other: Outcome) -> bool:
    """Whether two outcomes are the same, but for what was chosen so."""
    skipped = [Counter({name: n for name, n in o.skipped.items() if name not in CHOSEN}) for o in (one, other)]
    return one.ran == other.ran and one.bad == other.bad and skipped[0] == skipped[1]


def compare(modules: list[str], sides: dict[str, Path], base: Path, options: argparse.Namespace) -> int:
    """Run all, print a row for each and the differences; how many modules differ."""
    differing = 0
    print(f"{'module':<36}{' | '.join(f'{side:<40}' for side in sides)}", flush=True)
    for module in modules:
        for _attempt in range(2):
            outcomes = [
                run_module(options.python, module, path, base / f"{module}.{side}", options.user, options.limit)
                for side, path in sides.items()
            ]
            same = agree(*outcomes)
            if same:
                break
        differing += not same
        print(
            f"{module:<36}{' | '.join(f'{outcome!s:<40}' for outcome in outcomes)}{'' if same else '  <--'}", flush=True
        )
        for side, one, other in zip(sides, outcomes, reversed(outcomes), strict=True):
            for name, count in [*(one.bad - other.bad).items(), *(one.skipped - other.skipped).items()]:
                print(f"    {count} only on the {side}: {name}", flush=True)
    return differing


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="such as test_io, or io; all that touch files")
    parser.add_argument("--python", default=sys.executable, help="the interpreter whose tests run")
    parser.add_argument("--user", help="run them as this user, on a mount with --allow-other (for root)")
    parser.add_argument("--xattrs", action="store_true", help="mount with --xattrs")
    parser.add_argument("--dir", type=Path, help="make the directories below this one")
    parser.add_argument("--limit", type=float, default=900.0, help="seconds for one module")
    return parser.parse_args()


def main() -> int:
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unmount on the way out, as after Ctrl-C
    modules = present(options.python, options.modules or MODULES.split())
    base = Path(tempfile.mkdtemp(prefix="lockfs-py-", dir=options.dir))
    base.chmod(0o755)
    plain = base / "plain"
    plain.mkdir()
    mount_options = [*(["--allow-other"] if options.user else []), *(["--xattrs"] if options.xattrs else [])]
    with mounted(base, mount_options) as mountpoint:
        differing = compare(modules, {"plain": plain, "mount": mountpoint}, base, options)
    faults = [line for line in (base / "lockfs.log").read_text().splitlines() if BAD_LINE.search(line)]
    for line in faults[:20]:
        print(f"lockfs says: {line}")
    print(f"{len(modules)} modules, {differing} with differences, {len(faults)} errors in lockfs's log")
    if differing or faults:
        print(f"the outputs and the log are in {base}")
        return 1
    shutil.rmtree(base)
    return 0


if __name__ == "__main__":
    sys.exit(main())
