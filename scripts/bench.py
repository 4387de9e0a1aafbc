"""First figures: the plain directory, bindfs and lockfs side by side, interleaved, medians of some rounds.

Equal safety: lockfs's clients just open the file with mode "w", the others' write a temporary file and rename it. Once
without fsync (lockfs with --durability none), once with fsync in the client, against lockfs's default.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

SMALL = b"x" * 2048
LINE = b"y" * 99 + b"\n"
XATTRS = "--xattrs"
MEBIBYTE = b"z" * (1 << 20)


def timed(operation: Callable[[], object], count: int) -> float:
    """Microseconds of one operation, mean of `count`."""
    start_s = time.perf_counter()
    for _ in range(count):
        operation()
    return (time.perf_counter() - start_s) / count * 1e6


def replace_plainly(path: Path) -> None:
    path.write_bytes(SMALL)


def replace_by_rename(path: Path, sync: bool = False) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.write(SMALL)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    temporary.rename(path)


def append_once(path: Path) -> None:
    with path.open("ab") as file:
        file.write(LINE)


def measure(root: Path, default: Path | None) -> dict[str, float]:
    """All tasks once below `root`; `default` is the lockfs mount with the default durability, None for the others."""
    target = root / "bench"
    target.mkdir()
    small, rows, large, many = (target / name for name in ("small", "rows", "large", "many"))
    replace: Callable[[], None]
    if default is None:
        replace, durable = (lambda: replace_by_rename(small)), (lambda: replace_by_rename(small, True))
    else:
        replace, durable = (lambda: replace_plainly(small)), (lambda: replace_plainly(default / "small"))
    replace_by_rename(small)
    durable()
    result = {"replace 2 KiB": timed(replace, 500), "replace 2 KiB, on disk": timed(durable, 100)}
    with rows.open("ab", buffering=0) as file:
        result["append through an open handle"] = timed(lambda: file.write(LINE), 2000)
    with large.open("wb", buffering=0) as file:
        result["write 1 byte through an open handle"] = timed(lambda: file.write(b"1"), 2000)
    result["open, append, close"] = timed(lambda: append_once(rows), 500)
    result["stat"] = timed(rows.stat, 5000)
    with large.open("wb", buffering=0) as file:
        result["write 1 MiB"] = timed(lambda: file.write(MEBIBYTE), 128)
    with large.open("rb", buffering=0) as file:
        result["read 1 MiB, warm"] = timed(lambda: file.read(1 << 20), 128)
    many.mkdir()
    for number in range(1000):
        (many / str(number)).touch()
    result["list 1,000 entries"] = timed(lambda: os.listdir(many), 10)
    shutil.rmtree(target)
    return result


def lockfs(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "lockfs.cli.main", *map(str, arguments)], check=True, timeout=60)


@contextmanager
def mounted_lockfs(base: Path, name: str, *options: str) -> Iterator[Path]:
    source, mountpoint = base / f"{name}-source", base / name
    source.mkdir()
    mountpoint.mkdir()
    lockfs("mount", source, mountpoint, *options)
    try:
        yield mountpoint
    finally:
        lockfs("umount", mountpoint)


@contextmanager
def mounted_bindfs(base: Path) -> Iterator[Path]:
    source, mountpoint = base / "bindfs-source", base / "bindfs"
    source.mkdir()
    mountpoint.mkdir()
    subprocess.run(["bindfs", str(source), str(mountpoint)], check=True, timeout=60)
    try:
        yield mountpoint
    finally:
        subprocess.run(["fusermount3", "-u", str(mountpoint)], check=True, timeout=60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured; medians are shown")
    parser.add_argument("--xattrs", action="store_true", help="measure lockfs mount --xattrs too")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lockfs-bench-")))
        plain = base / "plain"
        plain.mkdir()
        default = stack.enter_context(mounted_lockfs(base, "lockfs-default"))
        targets: dict[str, tuple[Path, Path | None]] = {"plain": (plain, None)}
        if shutil.which("bindfs"):
            targets["bindfs"] = (stack.enter_context(mounted_bindfs(base)), None)
        targets["lockfs"] = (stack.enter_context(mounted_lockfs(base, "lockfs", "--durability", "none")), default)
        if arguments.xattrs:
            default = stack.enter_context(mounted_lockfs(base, "xattrs-default", "--xattrs"))
            root = stack.enter_context(mounted_lockfs(base, "xattrs", "--durability", "none", "--xattrs"))
            targets[XATTRS] = (root, default)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in targets}
        for _ in range(arguments.rounds):
            for name, (root, durable) in targets.items():
                found[name].append(measure(root, durable))
    show(found)


def show(found: dict[str, list[dict[str, float]]]) -> None:
    """A table: microseconds, and lockfs as a multiple of the others."""
    pairs = [("lockfs", name) for name in found if name not in ("lockfs", XATTRS)]
    if XATTRS in found:
        pairs.append((XATTRS, "lockfs"))
    heads = [*(f"{name} us" for name in found), *(f"{one} / {other}" for one, other in pairs)]
    print(f"{'':<36}" + "".join(f"{head:>17}" for head in heads))
    for task in found["lockfs"][0]:
        medians = {name: statistics.median(one[task] for one in results) for name, results in found.items()}
        ratios = [medians[one] / medians[other] for one, other in pairs]
        cells = [*(f"{value:.1f}" for value in medians.values()), *(f"{ratio:.1f}" for ratio in ratios)]
        print(f"{task:<36}" + "".join(f"{cell:>17}" for cell in cells))


if __name__ == "__main__":
    main()
