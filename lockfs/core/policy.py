"""Which rule holds for a path, and why (D1, D4). The built-in list is in `builtin_rules`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from lockfs.core.builtin_rules import BUILTIN
from lockfs.core.rules import Mode, Rule

__all__ = ["BUILTIN", "DATABASE_HEADER_SIZE", "DEFAULT", "Mode", "Policy", "Rule", "database_of"]

DEFAULT = Rule(Mode.PROTECT, "", "no pattern matches: one writer, published as a whole")

DATABASE_HEADER_SIZE = 20
"""How many bytes of a file `database_of` needs."""


def _both(number: int) -> tuple[bytes, bytes]:
    """Magic numbers are in the byte order of the machine that made the file."""
    return number.to_bytes(4, "little"), number.to_bytes(4, "big")


_SQLITE_MAGIC = b"SQLite format 3\0"
_AT_0 = {magic: "gdbm" for number in range(0x13579ACD, 0x13579AD3) for magic in _both(number)}
_AT_8 = {b"DUCK": "DuckDB"}
_AT_12 = {magic: "Berkeley DB" for number in (0x53162, 0x61561, 0x42253, 0x74582) for magic in _both(number)}
_AT_16 = dict.fromkeys(_both(0xBEEFC0DE), "LMDB") | dict.fromkeys(_both(0xED0CDAED), "bbolt")


def database_of(head: bytes) -> str | None:
    """Which embedded database a file that begins with `head` (DATABASE_HEADER_SIZE bytes, or more) holds, whatever
    its name; None for anything else (D1). The formats' own documents say where their magic numbers stand.
    """
    if head.startswith(_SQLITE_MAGIC):
        return "SQLite"
    return _AT_8.get(head[8:12]) or _AT_0.get(head[:4]) or _AT_12.get(head[12:16]) or _AT_16.get(head[16:20])


class Policy:
    """Rules in order; the last one that matches holds.

    Layers are added by putting their rules behind: `Policy((*BUILTIN, *users))`.
    """

    def __init__(self, rules: Iterable[Rule] = BUILTIN, *, cache_size: int = 4096) -> None:
        """Raises ValueError for a pattern that git would ignore or reject, and for a negated one: to take a
        path out of an earlier rule, give it a later one with the mode PROTECT.
        """
        self._rules = tuple((rule, _compile(rule)) for rule in rules)
        self._any_name = _any_of((pattern for rule, pattern in self._rules if rule.name_only), names=True)
        self._any_path = _any_of(pattern for rule, pattern in self._rules if not rule.name_only)
        self._cached = lru_cache(maxsize=cache_size)(self._find)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """All rules, the weakest first."""
        return tuple(rule for rule, _ in self._rules)

    def rule_for(self, path: bytes) -> Rule:
        """The rule for the file at `path`: relative to the mount's root, b"a/b/c", any bytes but NUL."""
        return self._cached(path)

    def _find(self, path: bytes) -> Rule:
        # The library's regular expressions stop at a newline, and no pattern can contain one.
        path = path.replace(b"\n", b"\x01")
        name = path[path.rfind(b"/") + 1 :]
        if self._any_name.match(name) is None and self._any_path.match(path) is None:
            return DEFAULT  # most files; one look is many times as fast as one for each rule
        for rule, pattern in reversed(self._rules):
            if pattern.match_file(name if rule.name_only else path) is not None:
                return rule
        return DEFAULT


def _compile(rule: Rule) -> GitIgnoreSpecPattern:
    if rule.name_only and "/" in rule.pattern:
        raise ValueError(f"pattern {rule.pattern!r} is for names only, and has a slash")
    pattern = GitIgnoreSpecPattern(rule.pattern.encode("utf-8", "surrogateescape"))
    if pattern.include is None:
        raise ValueError(f"pattern {rule.pattern!r} matches nothing")
    if not pattern.include:
        raise ValueError(f"pattern {rule.pattern!r} is negated: give a later rule with mode protect instead")
    return pattern


_ANYWHERE = b"^(?:.+/)?"
"""How the library's expressions begin for a pattern that holds in every directory."""


def _any_of(patterns: Iterable[GitIgnoreSpecPattern], *, names: bool = False) -> re.Pattern[bytes]:
    """One expression that matches where one of the patterns does. With `names` only for names without a slash."""
    anywhere: list[bytes] = []
    other: list[bytes] = []
    for pattern in patterns:
        if pattern.regex is not None:
            part = re.sub(rb"\(\?P<\w+>", b"(?:", pattern.regex.pattern)
            (anywhere if part.startswith(_ANYWHERE) else other).append(part.removeprefix(_ANYWHERE))
    if anywhere:
        other.append((b"(?:" if names else b"(?:.+/)?(?:") + b"|".join(anywhere) + b")")
    return re.compile(b"|".join(other) if other else rb"(?!)", re.DOTALL)
