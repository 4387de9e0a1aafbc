"""utimensat(2), and which calls change which times."""

from __future__ import annotations

import os

from tests.conformance.acting import Act
from tests.conformance.calls import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, UTIME_NOW, UTIME_OMIT
from tests.conformance.case import ALL_RULES, PROTECTED, case, differs
from tests.conformance.entries import Dir, Fifo, File, Symlink
from tests.conformance.named import COMMIT_IS_A_RENAME, NEW_FILE_APPEARS_AT_COMMIT
from tests.conformance.people import OWNER, ROOT

NOW, OMIT = (0, UTIME_NOW), (0, UTIME_OMIT)
FIXED = (1_234_567_890, 123_456_789)


def exact(act: Act, path: str | int) -> None:
    """The times that the case has set, as they are kept."""
    act.call(f"times of {path if isinstance(path, str) else 'fd'}", _exact, path)


def _exact(path: str | int) -> list[str]:
    status = os.fstat(path) if isinstance(path, int) else os.lstat(path)
    started_ns = 1_790_000_000 * 10**9
    ended_ns = 2_140_000_000 * 10**9
    both = (status.st_atime_ns, status.st_mtime_ns)
    return ["natural" if started_ns < time < ended_ns else str(time) for time in both]


@case(File("{x}"), Dir("d"), Fifo("p"), Symlink("l", "{x}"), each=ALL_RULES, people=(ROOT, OWNER))
def times_of_all_ages(act: Act) -> None:
    """Nanoseconds, times before 1970, in 2038, 2106 and 2446 and beyond: kept, or cut, as the filesystem does."""
    for path in (act.x, "d", "p", "l"):
        for seconds in (0, -1, -(2**31), 2**31 - 1, 2**31, 2**32 - 1, 2**32, 15_032_385_535, 2**34, -(2**33), 2**40):
            act.utimensat(AT_FDCWD, path, (seconds, 1), (seconds, 999_999_999), AT_SYMLINK_NOFOLLOW)
            exact(act, path)
        act.utimensat(AT_FDCWD, path, FIXED, FIXED, AT_SYMLINK_NOFOLLOW)
        exact(act, path)


@case(File("{x}"), File("w{x}", 0o666), Dir("d"), Symlink("l", "{x}"), each=ALL_RULES)
def who_may_set_times(act: Act) -> None:
    """utimensat(2): the owner sets any, who may write sets both to now, everyone else EACCES or EPERM."""
    for path in (act.x, "w" + act.x, "d", "l", "nowhere"):
        for atime, mtime in (
            (FIXED, FIXED),
            (NOW, NOW),
            (OMIT, OMIT),
            (NOW, OMIT),
            (OMIT, NOW),
            (FIXED, OMIT),
            (OMIT, FIXED),
        ):
            with act.times(path, "."):
                act.utimensat(AT_FDCWD, path, atime, mtime)
        act.utime_null(path)


@case(File("{x}"), Symlink("l", "{x}"), Symlink("away", "no"), each=ALL_RULES)
def utimensat_omit(act: Act) -> None:
    """UTIME_OMIT leaves one time as it is, UTIME_NOW takes the clock's."""
    act.utimensat(AT_FDCWD, act.x, FIXED, OMIT)
    exact(act, act.x)
    act.utimensat(AT_FDCWD, act.x, OMIT, (FIXED[0] + 1, 7))
    exact(act, act.x)
    act.utimensat(AT_FDCWD, act.x, NOW, (5, 6))
    exact(act, act.x)
    act.utimensat(AT_FDCWD, act.x, (7, 8), NOW)
    exact(act, act.x)
    act.utimensat(AT_FDCWD, "l", FIXED, FIXED)
    act.utimensat(AT_FDCWD, "away", FIXED, FIXED)
    act.utimensat(AT_FDCWD, "away", FIXED, FIXED, AT_SYMLINK_NOFOLLOW)
    exact(act, "away")
    exact(act, "l")
    for nanoseconds in (-1, 10**9, 1 << 30):
        act.utimensat(AT_FDCWD, act.x, (1, nanoseconds), (1, 1))
    act.utimensat(AT_FDCWD, act.x, FIXED, FIXED, 0x8000)


@case(File("{x}", 0o644), each=ALL_RULES)
def futimens(act: Act) -> None:
    """futimens(3) on readers, writers and appenders; AT_EMPTY_PATH; it survives the close."""
    for flags in (os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND):
        fd = act.open(act.x, flags)
        act.futimens(fd, FIXED, (FIXED[0], 1))
        exact(act, fd)
        exact(act, act.x)
        act.close(fd)
        exact(act, act.x)
        act.utimensat(AT_FDCWD, act.x, (10**9, 0), (10**9, 0))
    fd = act.open(act.x, os.O_PATH)
    act.utimensat(fd, "", FIXED, FIXED, AT_EMPTY_PATH)
    act.futimens(fd, FIXED, FIXED)
    exact(act, act.x)


@case(
    File("{x}", 0o666),
    each=ALL_RULES,
    differs=[differs(COMMIT_IS_A_RENAME, "tree: . mtime", rules=[PROTECTED])],
)
def times_set_while_writing(act: Act) -> None:
    """Times set by path or descriptor in the middle of writing, and a write after that."""
    fd = act.open(act.x, os.O_RDWR)
    act.write(fd, b"text\n")
    act.utimensat(AT_FDCWD, act.x, FIXED, FIXED)
    exact(act, fd)
    act.close(fd)
    exact(act, act.x)
    fd = act.open(act.x, os.O_RDWR | os.O_TRUNC)
    act.write(fd, b"text\n")
    act.futimens(fd, FIXED, FIXED)
    exact(act, act.x)
    with act.times(fd):
        act.write(fd, b"more\n")
    act.futimens(fd, OMIT, FIXED)
    act.close(fd)
    exact(act, act.x)


@case(
    File("{x}", 0o666),
    each=ALL_RULES,
    differs=[differs(COMMIT_IS_A_RENAME, "tree: . mtime", "times #8 'x'", rules=[PROTECTED])],
)
def writes_change_times(act: Act) -> None:
    """open, read, write, truncate, close: which times of the file change, and whether the parent's do."""
    with act.times(act.x, "."):
        fd = act.open(act.x, os.O_RDWR)
    with act.times(fd):
        act.write(fd, b"text\n")
    with act.times(fd):
        act.write(fd, b"")
    with act.times(fd):
        act.ftruncate(fd, 3)
    with act.times(fd):
        act.ftruncate(fd, 3)
    with act.times(fd):
        act.pwrite(fd, b"x", 100)
    with act.times(fd):
        act.fsync(fd)
        act.lseek(fd, 0, os.SEEK_SET)
    with act.times(act.x):
        act.close(fd)


@case(
    File("{x}", 0o666),
    File("empty{x}", 0o666, content=b""),
    each=ALL_RULES,
    differs=[differs(COMMIT_IS_A_RENAME, "tree: . mtime", rules=[PROTECTED])],
)
def opening_to_write_changes_nothing(act: Act) -> None:
    """An open for writing without O_TRUNC, and its close, change no time; O_TRUNC does, also of an empty file."""
    for path in (act.x, "empty" + act.x):
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND, os.O_RDWR | os.O_CREAT):
            with act.times(path, "."):
                act.close(act.open(path, flags, 0o644))
        with act.times(path):
            act.close(act.open(path, os.O_WRONLY | os.O_TRUNC))


@case(Dir("d"), File("{x}", 0o666), Symlink("l", "{x}"), each=ALL_RULES)
def looking_changes_nothing(act: Act) -> None:
    """stat, access, readlink of a link's own times, open of a directory, listing: only atime may change."""
    with act.times(act.x, "."):
        act.stat(act.x)
        act.may(act.x, os.R_OK)
        act.statx(AT_FDCWD, act.x, 0, 0x7FF)
        act.close(act.open(act.x, os.O_RDONLY))
        act.close(act.open(act.x, os.O_PATH))
    with act.times("d"):
        act.close(act.open("d", os.O_RDONLY))
        act.stat("d/nothing")


@case(File("{x}", 0o666), each=ALL_RULES, people=(OWNER,))
def reading_changes_atime(act: Act) -> None:
    """relatime: the first read after a change sets atime, the next does not."""
    with act.times(act.x):
        fd = act.open(act.x, os.O_RDONLY)
        act.read(fd, 100)
        act.close(fd)
    with act.times(act.x):
        fd = act.open(act.x, os.O_RDONLY)
        act.read(fd, 100)
        act.close(fd)


@case(Dir("d"), File("d/{x}"), Dir("e"), people=(ROOT, OWNER))
def names_change_directories(act: Act) -> None:
    """Which times of parents, and of the thing itself, each call on names changes."""
    for name, call in (
        ("mkdir", lambda: act.mkdir("d/sub", 0o755)),
        ("symlink", lambda: act.symlink("x", "d/l")),
        ("mkfifo", lambda: act.mkfifo("d/p", 0o644)),
        ("mknod", lambda: act.mknod("d/n", 0o100644)),
        ("link", lambda: act.link("d/x", "d/x2")),
        ("rename", lambda: act.rename("d/x2", "d/x3")),
        ("rename out", lambda: act.rename("d/x3", "e/x3")),
        ("rename the directory", lambda: act.rename("d/sub", "e/sub")),
        ("unlink", lambda: act.unlink("d/l")),
        ("rmdir", lambda: act.rmdir("e/sub")),
        ("failed mkdir", lambda: act.mkdir("d/x", 0o755)),
        ("failed unlink", lambda: act.unlink("d/none")),
        ("failed rename", lambda: act.rename("d/none", "d/x")),
        ("chmod in it", lambda: act.chmod("d/x", 0o600)),
    ):
        act.note(name, None)
        with act.times("d", "e", "d/x", "."):
            call()


@case(
    Dir("d", 0o777),
    each=(PROTECTED,),
    differs=[differs(NEW_FILE_APPEARS_AT_COMMIT, "times 'd'", "times #2 'd'", "stat('d')* mtime")],
)
def a_new_file_changes_its_directory_when_it_is_closed(act: Act) -> None:
    """Not before that; and from then on at once, also where the directory was looked at meanwhile."""
    with act.times("d"):
        fd = act.open("d/" + act.x, os.O_WRONLY | os.O_CREAT, 0o644)
    with act.times("d"):
        act.stat("d")
        act.write(fd, b"text")
        act.stat("d")
        act.close(fd)


@case(Dir("d", 0o777), each=ALL_RULES)
def a_new_file_changes_its_directory(act: Act) -> None:
    """Making a file changes the parent's mtime and ctime, by the close at the latest; its own are the present."""
    with act.times("d"):
        act.close(act.open("d/" + act.x, os.O_WRONLY | os.O_CREAT, 0o644))
    status = os.stat("d/" + act.x)
    act.note("all at once", max(status.st_atime_ns, status.st_mtime_ns) <= status.st_ctime_ns)
    with act.times("d", "d/" + act.x):
        act.close(act.open("d/" + act.x, os.O_RDONLY | os.O_CREAT, 0o644))
