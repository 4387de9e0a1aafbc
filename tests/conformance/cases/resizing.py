"""truncate(2), ftruncate(2): who may, what changes, what the errors are."""

from __future__ import annotations

import os

from tests.conformance.acting import Act
from tests.conformance.case import ALL_RULES, PROTECTED, case, differs
from tests.conformance.entries import Dir, Fifo, File, Link, Node, Symlink
from tests.conformance.named import COMMIT_BREAKS_LINKS, COMMIT_IS_A_RENAME, SETGID_WITHOUT_EXECUTE
from tests.conformance.people import OTHER, OWNER, ROOT

RENAMED = [differs(COMMIT_IS_A_RENAME, "tree: . mtime", rules=[PROTECTED], people=(ROOT, OWNER))]


@case(File("{x}"), Symlink("l", "{x}"), each=ALL_RULES, differs=RENAMED)
def truncate_by_path(act: Act) -> None:
    """truncate(2): shorter, longer (zeros), the same size, nothing; through a link; mtime and ctime of the file."""
    for size in (4, 100, 100, 0, 0, 8192, 5):
        with act.times(act.x):
            act.truncate(act.x, size)
        act.stat(act.x)
    act.truncate("l", 3)
    act.lstat("l")
    act.stat(act.x)


@case(
    File("x", 0o666), Dir("d", 0o777), Fifo("p", 0o666), Node("s", 0o666), Symlink("away", "no"),
    Symlink("loop", "loop"), File("shut", 0o444), Dir("dir shut", 0o700), File("dir shut/f", 0o666),
    File("other", 0o644, OTHER),
    differs=[
        differs(COMMIT_IS_A_RENAME, "tree: . mtime"),
        differs(COMMIT_IS_A_RENAME, "tree: dir shut mtime", people=(ROOT, OWNER)),
    ],
)  # fmt: skip
def truncate_what(act: Act) -> None:
    """truncate(2) of every type: EISDIR, EINVAL, ENOENT, ELOOP, EACCES, ENOTDIR; negative and huge sizes."""
    for path in ("d", "p", "s", "away", "loop", "shut", "dir shut/f", "nowhere", "x/", "x/y", "d/", "", "other"):
        act.truncate(path, 0)
    act.truncate("x", -1)
    act.truncate("x", 2**62)
    act.truncate("x", 2**63 - 1)
    act.truncate("x", 1)


@case(
    File("{x}", 0o666),
    each=ALL_RULES,
    differs=[differs(COMMIT_IS_A_RENAME, "tree: . mtime", rules=[PROTECTED])],
)
def ftruncate_by_descriptors(act: Act) -> None:
    """ftruncate(2): EINVAL on readers and negative sizes, EBADF on O_PATH, EINVAL on directories."""
    for flags in (os.O_RDONLY, os.O_PATH):
        act.ftruncate(act.open(act.x, flags), 1)
    act.ftruncate(act.open(".", os.O_RDONLY), 1)
    fd = act.open(act.x, os.O_RDWR)
    for size in (4, 100, -1, 2**62, 0):
        act.ftruncate(fd, size)
        act.fstat(fd)
        act.stat(act.x)


SET = (0o6777, 0o4777, 0o2777)


@case(
    *[File(f"{mode:o}{{x}}", mode) for mode in SET], each=ALL_RULES,
    differs=[differs(COMMIT_IS_A_RENAME, "tree: . mtime", rules=[PROTECTED])],
)  # fmt: skip
def truncating_clears_set_id_bits(act: Act) -> None:
    """truncate(2), ftruncate(2), O_TRUNC and write(2) by others than root take setuid and setgid bits away."""
    for mode in SET:
        path = f"{mode:o}{act.x}"
        for label in ("truncate", "ftruncate", "open", "write", "append"):
            act.chmod(path, mode)
            if label == "truncate":
                act.truncate(path, 5)
            else:
                extra = {"open": os.O_TRUNC, "append": os.O_APPEND}.get(label, 0)
                fd = act.open(path, os.O_RDWR | extra)
                act.fstat(fd)
                if label == "ftruncate":
                    act.ftruncate(fd, 4)
                elif label != "open":
                    act.write(fd, b"text\n")
                act.fstat(fd)
                act.close(fd)
            act.stat(path)


@case(
    File("{x}", 0o666), Link("{y}", "{x}"), each=ALL_RULES,
    differs=[
        differs(COMMIT_IS_A_RENAME, "tree: . mtime", rules=[PROTECTED]),
        differs(COMMIT_BREAKS_LINKS, "stat('y') *", "tree: x nlink", "tree: y *", rules=[PROTECTED]),
    ],
)  # fmt: skip
def truncating_one_of_two_links(act: Act) -> None:
    """truncate(2) of a file with two names."""
    act.truncate(act.x, 3)
    act.stat(act.y)


@case(
    *[File(f"{number}{{x}}", 0o2766) for number in range(2)],
    each=ALL_RULES,
    people=(OTHER,),
    differs=[
        differs(SETGID_WITHOUT_EXECUTE, "stat('?x*') mode", "tree: ?x* mode"),
        differs(COMMIT_IS_A_RENAME, "tree: . mtime", rules=[PROTECTED]),
    ],
)
def setgid_without_execute(act: Act) -> None:
    """Written or truncated by somebody who is not of the group: since Linux 6.1 the bit goes."""
    act.truncate("0" + act.x, 3)
    act.stat("0" + act.x)
    fd = act.open("1" + act.x, os.O_WRONLY)
    act.write(fd, b"text\n")
    act.close(fd)
    act.stat("1" + act.x)
