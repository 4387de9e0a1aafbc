"""Names that equal or resemble lockfs's own, below the root of the mount: they are names like any other (C1, C3)."""

from __future__ import annotations

import os

from tests.conformance.acting import Act
from tests.conformance.case import case, differs
from tests.conformance.entries import Dir, File
from tests.conformance.named import HIDDEN
from tests.conformance.people import OTHER, OWNER, ROOT

NAMES = (".lockfs", ".lockfs2", "lockfs", ".LOCKFS", ".lockfs.lock", ".lock", "staging", "orphans", "stats.json")


@case(people=(ROOT, OWNER, OTHER))
def directories_of_that_name(act: Act) -> None:
    """mkdir, listing, files inside, rename and removal."""
    for name in NAMES:
        act.mkdir(name, 0o755)
        act.close(act.open(name + "/stats.json", os.O_WRONLY | os.O_CREAT, 0o644))
        act.mkdir(name + "/staging", 0o755)
        act.listdir(name)
        act.rename(name, name + "-moved")
        act.listdir(".")
        act.rename(name + "-moved", name)
        act.unlink(name + "/stats.json")
        act.rmdir(name)
        act.rmdir(name + "/staging")


@case(people=(ROOT, OWNER, OTHER))
def files_of_that_name(act: Act) -> None:
    """Files, links and symbolic links."""
    for name in NAMES:
        fd = act.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        act.write(fd, b"text\n")
        act.close(fd)
        act.link(name, name + "-link")
        act.symlink(name, name + "-symlink")
        act.stat(name + "-symlink")
        act.unlink(name)
    act.listdir(".")


@case(Dir("{x}", 0o777), Dir("d.lock", 0o777), Dir("d.log", 0o777), Dir(".git", 0o777), File(".git/index", 0o666))
def directories_with_names_that_rules_know(act: Act) -> None:
    """A directory may have a name that means a rule for files."""
    for folder in ("d.lock", "d.log", ".git"):
        act.close(act.open(folder + "/f", os.O_WRONLY | os.O_CREAT, 0o644))
        act.mkdir(folder + "/sub.lock", 0o755)
        act.rename(folder + "/f", folder + "/sub.lock/f")
        act.listdir(folder)
        act.stat(folder)
        act.open(folder, os.O_WRONLY)


@case(Dir("d", 0o777), people=(ROOT,), differs=[differs(HIDDEN, "*'../.lockfs'*", "tree: . mtime")])
def the_root_of_the_mount(act: Act) -> None:
    """.lockfs beside the case's own directory: the mount's control directory, or a name that is free."""
    act.note("listed", ".lockfs" in os.listdir(".."))
    act.may("../.lockfs", os.F_OK)
    act.mkdir("../.lockfs", 0o755)
    act.rmdir("../.lockfs")
    act.rename("d", "../.lockfs")
    act.rename("../.lockfs", "d")
    act.mknod("../.lockfs", 0o100644)
    act.unlink("../.lockfs")
