"""Run real programs in a directory, one line PASS, FAIL or SKIP each; --compare: on three targets side by side."""

from __future__ import annotations

import argparse
import signal
import sys
from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from tests.realworld.compare import targets
from tests.realworld.scenario import Scenario, all_scenarios
from tests.realworld.supervisor import Result, as_json, run_scenario


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/realworld", description=__doc__)
    parser.add_argument("directory", nargs="?", help="where to run them; with --compare and --list a NAME")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these; `git*` means all that start with git")
    parser.add_argument("--compare", action="store_true", help="on a plain directory, bindfs and lockfs")
    parser.add_argument("--list", action="store_true", help="say which there are, and what is missing for them")
    parser.add_argument("--json", action="store_true", help="results as JSON, at the end")
    parser.add_argument("--extended", action="store_true", help="also what takes long or needs a network")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="time limit of each (default: its own)")
    return parser.parse_intermixed_args()


def _chosen(names: list[str], extended: bool) -> list[Scenario]:
    every = all_scenarios()
    if not names:
        return [one for one in every.values() if extended or not one.extended]
    chosen: dict[str, Scenario] = {}
    for name in names:
        hits = {key: one for key, one in every.items() if fnmatchcase(key, name)}
        if not hits:
            sys.exit(f"realworld: no scenario {name}; see --list")
        chosen |= hits
    return list(chosen.values())


def _list(chosen: list[Scenario]) -> None:
    for one in chosen:
        notes = ["extended"] if one.extended else []
        missing = one.missing()
        if missing:
            notes.append(f"missing: {missing}")
        print(f"{one.name:<28} {one.about}" + (f" [{'; '.join(notes)}]" if notes else ""))


def _count(results: list[Result]) -> str:
    counts = Counter(result.verdict for result in results)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in ("PASS", "FAIL", "SKIP"))


def _run_all(chosen: list[Scenario], where: Mapping[str, Path], options: argparse.Namespace) -> dict[str, list[Result]]:
    """Every scenario on every target; a line as soon as it is done."""
    found: dict[str, list[Result]] = {name: [] for name in where}
    for one in chosen:
        row = []
        for name, directory in where.items():
            limit_s = options.timeout or one.limit_s
            result = run_scenario(one, directory, limit_s, options.extended)
            found[name].append(result)
            row.append(result)
        if options.json:
            continue
        if len(where) == 1:
            (only,) = row
            print(f"{only.verdict} {only.name} {only.seconds:.1f} s {only.reason}".rstrip(), flush=True)
        else:
            cells = (f"{cell.verdict} {cell.seconds:>6.1f} s" for cell in row)
            print(f"{one.name:<28}" + "".join(f"{cell:<18}" for cell in cells).rstrip(), flush=True)
    return found


def _compare(chosen: list[Scenario], options: argparse.Namespace) -> int:
    faults: list[str] = []
    with targets(faults) as where:
        if not options.json:
            print(f"{'':<28}" + "".join(f"{name:<18}" for name in where).rstrip())
        found = _run_all(chosen, where, options)
    if options.json:
        print("{" + ", ".join(f'"{name}": {as_json(results)}' for name, results in found.items()) + "}")
    else:
        print()
        for name, results in found.items():
            print(f"{name}: {_count(results)}")
        for name, results in found.items():
            for result in results:
                if result.verdict == "FAIL" or (result.reason and name == "lockfs"):
                    print(f"{name}: {result.verdict} {result.name}: {result.reason}")
    for fault in faults:
        print(f"lockfs's daemon: {fault}", file=sys.stderr)
    return 1 if faults or any(result.verdict == "FAIL" for result in found["lockfs"]) else 0


def main() -> int:
    """0: no scenario failed (with --compare: none on lockfs)."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the mounts are put away
    options = _arguments()
    if options.compare or options.list:
        names = [*([options.directory] if options.directory else []), *options.names]
        chosen = _chosen(names, options.extended or options.list)
        if options.list:
            _list(chosen)
            return 0
        return _compare(chosen, options)
    if not options.directory:
        sys.exit("realworld: say in which directory, or --compare")
    directory = Path(options.directory).resolve()
    if not directory.is_dir():
        sys.exit(f"realworld: {directory} is not a directory")
    results = _run_all(_chosen(options.names, options.extended), {"": directory}, options)[""]
    print(as_json(results) if options.json else _count(results))
    return 1 if any(result.verdict == "FAIL" for result in results) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
