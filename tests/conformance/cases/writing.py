"""What a write session does to a path, seen from its own process: attributes, times, link counts (W5)."""

from __future__ import annotations

import os

from tests.conformance.acting import Act
from tests.conformance.case import ALL_RULES, PROTECTED, case, differs
from tests.conformance.entries import Dir, File, Link
from tests.conformance.named import COMMIT_BREAKS_LINKS, COMMIT_IS_A_RENAME
from tests.conformance.people import OTHER, OWNER, ROOT


@case(
    Dir("."),
    File("{x}", 0o640, OTHER),
    each=ALL_RULES,
    people=(ROOT, OTHER),
    differs=[differs(COMMIT_IS_A_RENAME, "tree: . mtime", rules=[PROTECTED])],
)
def replacing_keeps_owner_and_mode(act: Act) -> None:
    """open(2) with O_TRUNC keeps owner, group and mode, also where the writer may not make files (W5)."""
    act.close(act.open(act.x, os.O_WRONLY | os.O_TRUNC))
    act.stat(act.x)


@case(
    File("{x}"),
    Link("{y}", "{x}"),
    each=ALL_RULES,
    people=(ROOT, OWNER),
    differs=[
        differs(COMMIT_IS_A_RENAME, "tree: . mtime", rules=[PROTECTED]),
        differs(COMMIT_BREAKS_LINKS, "tree: ? *", "tree: y *", "stat('y') *", rules=[PROTECTED]),
    ],
)
def replacing_one_of_two_links(act: Act) -> None:
    """The other name of a file that is written again."""
    fd = act.open(act.x, os.O_WRONLY | os.O_TRUNC)
    act.write(fd, b"new\n")
    act.close(fd)
    act.stat(act.y)
