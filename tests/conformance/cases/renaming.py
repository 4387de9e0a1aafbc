"""rename(2), renameat2(2)."""

from __future__ import annotations

import itertools
import os

from tests.conformance.acting import Act
from tests.conformance.case import ALL_RULES, case
from tests.conformance.entries import Dir, Entry, Fifo, File, Link, Node, Symlink
from tests.conformance.people import MEMBER, OTHER, OWNER, ROOT
from tests.support.rename import RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT

NAMES = ("x", "f", "d", "e", "full", "l", "ld", "away", "p", "s", "no")


def types(prefix: str) -> tuple[Entry, ...]:
    """One entry of each type."""
    return (
        File(f"{prefix}x", 0o666),
        File(f"{prefix}f", 0o600, content=b"another\n"),
        Dir(f"{prefix}d", 0o755),
        Dir(f"{prefix}e", 0o755),
        Dir(f"{prefix}full", 0o755),
        File(f"{prefix}full/in"),
        Symlink(f"{prefix}l", "x"),
        Symlink(f"{prefix}ld", "d"),
        Symlink(f"{prefix}away", "nowhere"),
        Fifo(f"{prefix}p"),
        Node(f"{prefix}s"),
    )


def everything_onto_everything(act: Act, flags: int) -> None:
    """Each attempt from the state that the one before left: what worked is put back where that is possible."""
    for old, new in itertools.product(NAMES, NAMES):
        act.renameat2(old, new, flags)
        if not os.path.lexists(old) and old != "no":
            act.rename(new, old)
            if new != "no" and not os.path.lexists(new):
                act.call("mend", _make, new)
    act.listdir(".")


def _make(name: str) -> None:
    if name in ("d", "e"):
        os.mkdir(name, 0o755)
    elif name in ("l", "ld", "away"):
        os.symlink("x", name)
    elif name == "p":
        os.mkfifo(name, 0o644)
    else:
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))


@case(*types(""), people=(ROOT, OWNER))
def every_type_onto_every_type(act: Act) -> None:
    """rename(2): EISDIR, ENOTDIR, ENOTEMPTY, ENOENT, EEXIST."""
    everything_onto_everything(act, 0)


@case(*types(""), people=(ROOT, OWNER))
def noreplace_every_type(act: Act) -> None:
    """RENAME_NOREPLACE: EEXIST on whatever stands there."""
    everything_onto_everything(act, RENAME_NOREPLACE)


@case(*types(""), people=(ROOT, OWNER))
def exchange_every_type(act: Act) -> None:
    """RENAME_EXCHANGE: any two types change places, both must be there."""
    everything_onto_everything(act, RENAME_EXCHANGE)


@case(File("x"), File("f"), Dir("d"), File("d/in"))
def exchanging_a_file_and_a_directory(act: Act) -> None:
    """RENAME_EXCHANGE across directories; times of both and of their parents."""
    with act.times("x", "f", "."):
        act.renameat2("x", "f", RENAME_EXCHANGE)
    act.renameat2("x", "d", RENAME_EXCHANGE)
    act.listdir(".")
    act.lstat("x")
    act.renameat2("x/in", "d", RENAME_EXCHANGE)
    act.renameat2("x", "x/in", RENAME_EXCHANGE)
    act.renameat2("x/in", "x", RENAME_EXCHANGE)


@case(File("{x}"), File("{y}"), each=ALL_RULES)
def rename_flags(act: Act) -> None:
    """renameat2(2): combinations of flags that are EINVAL; unknown ones."""
    for flags in (RENAME_NOREPLACE | RENAME_EXCHANGE, RENAME_EXCHANGE | RENAME_WHITEOUT, 8, 1 << 30):
        act.renameat2(act.x, act.y, flags)
    act.renameat2(act.x, "nowhere", RENAME_EXCHANGE)
    act.renameat2("nowhere", act.x, RENAME_EXCHANGE)
    act.renameat2(act.x, act.x, RENAME_EXCHANGE)
    act.renameat2(act.x, act.x, RENAME_NOREPLACE)
    act.renameat2(act.x, act.y, RENAME_NOREPLACE)
    act.renameat2(act.x, "new" + act.x, RENAME_NOREPLACE)


@case(Dir("d"), Dir("d/e"), File("d/e/f"), Dir("other"), Symlink("l", "d"))
def directories_into_themselves(act: Act) -> None:
    """rename(2) of a directory into itself (EINVAL), onto its parent (ENOTEMPTY), "." and ".." (EBUSY, EINVAL)."""
    for old, new in (
        ("d", "d/new"), ("d", "d/e"), ("d", "d/e/new"), ("d/e", "d"), ("d/e/f", "d"), ("d/e/f", "d/e"), ("d", "d"),
        (".", "new"), ("..", "new"), ("d", "."), ("d", ".."), ("d/.", "new"), ("d/..", "new"), ("d", "other/."),
        ("d", "other/.."), ("l", "d/l"), ("d", "l/new"), ("", "new"), ("d", ""), ("l/", "new"),
    ):  # fmt: skip
        act.rename(old, new)
    act.listdir(".")


@case(File("x"), Dir("d"), Symlink("l", "x"), Symlink("ld", "d"), Dir("e"))
def trailing_slashes(act: Act) -> None:
    """rename(2) with trailing slashes: directories may, files get ENOTDIR."""
    for old, new in (
        ("x/", "new"), ("x", "new/"), ("d/", "new"), ("new", "d/"), ("d/", "new/"), ("new/", "d/"), ("l/", "new"),
        ("l", "new/"), ("ld/", "new"), ("new", "ld/"), ("d", "e/"), ("x", "e/"), ("e/", "x"),
    ):  # fmt: skip
        act.rename(old, new)
        act.listdir(".")


@case(File("{x}", 0o600), File("{y}", 0o644, content=b"the other\n"), Dir("d", 0o777), each=ALL_RULES)
def replacing_a_file(act: Act) -> None:
    """rename(2) onto a file: its inode goes, times of the file (ctime) and of both parents, the moved inode stays."""
    moved, replaced = act.open(act.x, os.O_RDONLY), act.open(act.y, os.O_RDONLY)
    same = os.stat(act.x).st_ino
    with act.times(act.y, ".", "d"):
        act.rename(act.x, act.y)
    act.note("the same inode", os.stat(act.y).st_ino == same)
    act.stat(act.y)
    act.fstat(moved)
    act.fstat(replaced)
    act.read(replaced, 100)
    act.read(moved, 100)
    with act.times(act.y, ".", "d"):
        act.rename(act.y, "d/" + act.x)
    act.note("still", os.stat("d/" + act.x).st_ino == same)
    act.stat(act.y)


@case(Dir("d", 0o777), Dir("d/sub", 0o777), Dir("e", 0o777), File("d/sub/{x}"), each=ALL_RULES)
def moving_a_directory(act: Act) -> None:
    """A directory with what is in it, open files and a working directory goes to another parent; times and links."""
    fd = act.open("d/sub/" + act.x, os.O_RDONLY)
    folder = act.open("d/sub", os.O_RDONLY)
    with act.times("d/sub", "d", "e", "."):
        act.rename("d/sub", "e/moved")
    for path in ("d", "e", "e/moved"):
        act.stat(path)
    act.stat("d/sub")
    act.read(fd, 100)
    act.listdir(folder)
    act.close(act.openat(folder, "new" + act.x, os.O_WRONLY | os.O_CREAT, 0o644))
    act.fchdir(folder)
    act.stat("..")
    act.stat(act.x)
    act.call("where", lambda: os.path.basename(os.getcwd()))
    act.same_file("..", "../../e")


@case(Dir("d", 0o777), Dir("empty", 0o777), Dir("full", 0o777), File("full/f"), Dir("d/sub"))
def onto_directories(act: Act) -> None:
    """A directory replaces an empty one, not a full one; the replaced one's descriptor shows link count 0."""
    gone = act.open("empty", os.O_RDONLY)
    act.rename("d", "full")
    with act.times("."):
        act.rename("d", "empty")
    act.fstat(gone)
    act.listdir(gone)
    act.listdir("empty")
    act.listdir(".")


@case(File("{x}"), Link("{y}", "{x}"), each=ALL_RULES)
def two_names_of_one_file(act: Act) -> None:
    """rename(2) of one link onto another of the same file does nothing."""
    with act.times(act.x, "."):
        act.rename(act.x, act.y)
    act.stat(act.x)
    act.rename(act.x, act.x)
    act.renameat2(act.x, act.y, RENAME_EXCHANGE)
    act.renameat2(act.x, act.y, RENAME_NOREPLACE)
    act.stat(act.y)


@case(
    Dir("mine", 0o755, OTHER), File("mine/{x}", 0o644, OTHER), Dir("open", 0o777), File("open/{x}", 0o600),
    Dir("shut", 0o700), File("shut/{x}"), Dir("open/d", 0o755), Dir("open/d other", 0o755, OTHER), each=ALL_RULES,
)  # fmt: skip
def who_may_rename(act: Act) -> None:
    """rename(2) needs both directories, and the moved directory itself where it gets another parent (its "..")."""
    act.rename("open/" + act.x, "open/renamed" + act.x)
    act.rename("open/renamed" + act.x, "mine/" + act.x)
    act.rename("open/renamed" + act.x, "shut/" + act.x)
    act.rename("mine/" + act.x, "open/" + act.x)
    act.rename("shut/" + act.x, "open/" + act.x)
    act.rename("open/d", "open/d renamed")
    act.rename("open/d renamed", "up")
    act.rename("open/d other", "up other")
    act.renameat2("mine/" + act.x, "open/" + act.x, RENAME_EXCHANGE)


STICKY = (
    Dir("sticky", 0o1777, ROOT), File("sticky/{x}"), File("sticky/{y}", 0o666, OTHER), Dir("sticky/d"),
    Dir("sticky/d other", 0o777, OTHER), File("sticky/member", 0o666, MEMBER), Dir("free", 0o777),
    File("free/{x}", 0o666),
)  # fmt: skip


@case(*STICKY, each=ALL_RULES)
def renaming_in_sticky_directories(act: Act) -> None:
    """Both the moved and the replaced entry in a sticky directory must be one's own."""
    act.rename("free/" + act.x, "sticky/" + act.x)
    act.rename("free/" + act.x, "sticky/new")
    act.rename("sticky/" + act.x, "free/new")
    act.rename("sticky/" + act.y, "free/new2")
    act.renameat2("sticky/" + act.x, "sticky/" + act.y, RENAME_EXCHANGE)
    act.rename("sticky/d", "free/d")
    act.rename("sticky/d other", "sticky/d")
    act.rename("sticky/member", "sticky/mine")
    act.listdir("sticky")
    act.listdir("free")


@case(Dir("d", 0o777), File("d/{x}"), Dir("e", 0o777), each=ALL_RULES)
def renaming_by_descriptors(act: Act) -> None:
    """renameat(2) between directories that are open."""
    one, two = act.open("d", os.O_RDONLY), act.open("e", os.O_PATH)
    act.rename(act.x, act.y, src_dir_fd=one, dst_dir_fd=two)
    act.rename(act.y, act.x, src_dir_fd=two, dst_dir_fd=one)
    act.rename(act.x, act.x, src_dir_fd=one, dst_dir_fd=one)
    file = act.open("d/" + act.x, os.O_RDONLY)
    act.rename(act.x, act.y, src_dir_fd=file, dst_dir_fd=one)
    act.listdir(one)


@case(File("{x}", 0o666), Dir("d", 0o777), each=ALL_RULES)
def renamed_while_open_for_writing(act: Act) -> None:
    """What a writer goes on writing is in the file under its new name (W7)."""
    for flags in (os.O_RDWR | os.O_TRUNC, os.O_RDWR, os.O_RDWR | os.O_APPEND):
        fd = act.open(act.x, flags)
        act.write(fd, b"before\n")
        act.rename(act.x, "d/" + act.x)
        act.fstat(fd)
        act.stat(act.x)
        act.write(fd, b"after\n")
        act.fstat(fd)
        act.stat("d/" + act.x)
        act.close(fd)
        act.stat("d/" + act.x)
        act.rename("d/" + act.x, act.x)


@case(each=ALL_RULES)
def the_atomic_replacement(act: Act) -> None:
    """Write a temporary file, sync it, rename it over the old one: owner, mode, and number of the new one."""
    for content in (b"first\n", b"second, longer\n"):
        fd = act.open("temporary" + act.x, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        act.write(fd, content)
        act.fchmod(fd, 0o644)
        act.fsync(fd)
        act.close(fd)
        act.rename("temporary" + act.x, act.x)
        act.stat(act.x)
        fd = act.open(act.x, os.O_RDONLY)
        act.read(fd, 100)
        act.close(fd)


@case(File("{x}", 0o666), each=ALL_RULES)
def a_file_renamed_over_its_writer(act: Act) -> None:
    """The other order: rename while the temporary file is still open, then write on and close."""
    fd = act.open("temporary" + act.x, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    act.write(fd, b"one\n")
    act.rename("temporary" + act.x, act.x)
    act.stat(act.x)
    act.write(fd, b"two\n")
    act.fstat(fd)
    act.pread(fd, 100, 0)
    act.close(fd)
    act.stat(act.x)
    act.listdir(".")


@case(File("{x}", 0o666), File("{y}", 0o666, content=b"the other\n"), each=ALL_RULES)
def exchanged_while_open(act: Act) -> None:
    """RENAME_EXCHANGE of files that are being read and written: each descriptor stays with its file."""
    for flags in (os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_TRUNC, os.O_RDWR | os.O_APPEND):
        fd = act.open(act.x, flags)
        act.write(fd, b"before\n")
        act.renameat2(act.x, act.y, RENAME_EXCHANGE)
        act.write(fd, b"after\n")
        act.fstat(fd)
        act.stat(act.x)
        act.stat(act.y)
        act.close(fd)
        act.stat(act.x)
        act.stat(act.y)


@case(File("{x}", 0o666), Dir("d", 0o777), each=ALL_RULES, people=(ROOT, OWNER))
def whiteout(act: Act) -> None:
    """RENAME_WHITEOUT leaves a character device 0:0 at the old name."""
    with act.times("d", "."):
        act.renameat2(act.x, "d/" + act.x, RENAME_WHITEOUT)
    act.lstat(act.x)
    act.listdir(".")
    act.renameat2("d/" + act.x, "d/" + act.y, RENAME_WHITEOUT | RENAME_NOREPLACE)
    act.renameat2("d/" + act.y, act.x, RENAME_WHITEOUT)


@case(Dir("."), File("{x}"), Dir("d", 0o777), File("d/{x}", 0o666), each=ALL_RULES)
def renaming_without_permission(act: Act) -> None:
    """In and out of a directory that one may not write."""
    act.rename(act.x, act.y)
    act.rename(act.x, "d/new")
    act.rename("d/" + act.x, act.y)
    act.rename("d/" + act.x, "d/" + act.y)
    act.rename("d", "e")


@case(File("{x}"), people=(ROOT, OWNER), each=ALL_RULES)
def across_filesystems(act: Act) -> None:
    """rename(2) and link(2) to another filesystem: EXDEV."""
    act.rename(act.x, "/dev/shm/never-there")
    act.link(act.x, "/dev/shm/never-there")
    act.rename("/dev/null", "here")
    act.rename("/proc/self/status", "here")
