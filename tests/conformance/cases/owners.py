"""chown(2), fchown(2), lchown(2), fchownat(2)."""

from __future__ import annotations

import os

from tests.conformance.acting import Act
from tests.conformance.calls import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW
from tests.conformance.case import ALL_RULES, case, differs
from tests.conformance.entries import Dir, Fifo, File, Symlink
from tests.conformance.named import SETGID_WITHOUT_EXECUTE
from tests.conformance.people import MEMBER, OTHER, OWNER, ROOT, STAFF

SPECIAL = 1401
"""The owner's supplementary group."""

PAIRS = (
    (-1, -1), (OWNER.uid, -1), (-1, OWNER.gid), (OWNER.uid, OWNER.gid), (-1, SPECIAL), (OWNER.uid, SPECIAL),
    (OTHER.uid, -1), (-1, OTHER.gid), (MEMBER.uid, STAFF), (0, 0), (0, -1), (-1, 0),
)  # fmt: skip


@case(File("{x}"), Dir("d"), Fifo("p"), Symlink("l", "{x}"), each=ALL_RULES)
def who_may_chown(act: Act) -> None:
    """chown(2): the owner to groups of theirs, root to anybody, -1 leaves; everyone else EPERM."""
    for path in (act.x, "d", "p", "l"):
        for uid, gid in PAIRS:
            act.chown(path, uid, gid)
            act.lstat(path)
            act.lchown(path, uid, gid)
            act.lstat(path)
    act.chown("nowhere", 0, 0)


SET = (0o6755, 0o4755, 0o2755, 0o6644, 0o2644, 0o6711, 0o1777, 0o7777)


@case(*[File(f"{mode:o}{{x}}", mode) for mode in SET], *[Dir(f"d{mode:o}", mode) for mode in SET], each=ALL_RULES)
def chown_clears_set_id_bits(act: Act) -> None:
    """chown(2) takes setuid and (with group execute) setgid bits of files away, not of directories; root's, too."""
    for mode in SET:
        for path in (f"{mode:o}{act.x}", f"d{mode:o}"):
            if mode != 0o2644:
                act.chown(path, -1, -1)
            act.stat(path)
            act.chown(path, -1, act.person.gid)
            act.stat(path)
            act.chmod(path, mode)
            act.chown(path, act.person.uid, -1)
            act.stat(path)


@case(
    File("{x}", 0o2644),
    each=ALL_RULES,
    people=(OTHER,),
    differs=[differs(SETGID_WITHOUT_EXECUTE, "chown(*, -1, -1)")],
)
def chown_to_nobody_by_a_stranger(act: Act) -> None:
    """chown(2) with -1 and -1 would take the bit away, which only the owner may."""
    act.chown(act.x, -1, -1)


@case(File("{x}"), Dir("d"), Symlink("l", "{x}"), each=ALL_RULES)
def chown_changes_ctime(act: Act) -> None:
    """chown(2) changes ctime, also to the same owner; with -1 and -1, too; never the parent's times."""
    for path in (act.x, "d", "l"):
        for uid, gid in ((-1, -1), (-1, OWNER.gid), (OWNER.uid, OWNER.gid), (-1, SPECIAL)):
            with act.times(path, "."):
                act.lchown(path, uid, gid)


@case(File("{x}"), Symlink("l", "{x}"), Symlink("away", "no"), Dir("shut", 0o700), File("shut/f"), each=ALL_RULES)
def fchownat_flags(act: Act) -> None:
    """fchownat(2): AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH, O_PATH descriptors, unknown flags."""
    for path in (act.x, "l", "away", "shut/f", "", act.x + "/"):
        for flags in (0, AT_SYMLINK_NOFOLLOW, 0x8000):
            act.fchownat(AT_FDCWD, path, -1, SPECIAL, flags)
    fd = act.open(act.x, os.O_PATH)
    act.fchownat(fd, "", -1, OWNER.gid, AT_EMPTY_PATH)
    act.fchownat(fd, "", -1, OWNER.gid, 0)
    act.fchown(fd, -1, OWNER.gid)
    act.stat(act.x)
    link = act.open("l", os.O_PATH | os.O_NOFOLLOW)
    act.fchownat(link, "", -1, SPECIAL, AT_EMPTY_PATH)
    act.lstat("l")


@case(File("{x}", 0o6777), each=ALL_RULES)
def fchown_by_descriptors(act: Act) -> None:
    """fchown(2) on readers, writers and appenders; the path shows it at once, and after the close."""
    for flags in (os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND):
        fd = act.open(act.x, flags)
        act.fchown(fd, -1, SPECIAL)
        act.fstat(fd)
        act.stat(act.x)
        act.fchown(fd, act.person.uid, -1)
        act.stat(act.x)
        act.close(fd)
        act.stat(act.x)
        act.chown(act.x, OWNER.uid, OWNER.gid)


@case(File("{x}", 0o666), File("{y}", 0o666, ROOT), each=ALL_RULES, people=(ROOT, OWNER, OTHER))
def large_ids(act: Act) -> None:
    """User and group numbers above 2^16 and 2^31."""
    for number in (65534, 65535, 70_000, 2**31, 2**32 - 2):
        act.chown(act.x, number, number)
        act.stat(act.x)
