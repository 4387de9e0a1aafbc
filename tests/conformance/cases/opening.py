"""open(2), openat(2), openat2(2), creat(2): which flags, on what, by whom."""

from __future__ import annotations

import os
import stat

from tests.conformance.acting import Act
from tests.conformance.calls import AT_FDCWD
from tests.conformance.case import ALL_RULES, PROTECTED, case, differs
from tests.conformance.entries import Dir, Fifo, File, Node, Symlink
from tests.conformance.named import COMMIT_IS_A_RENAME, NO_TMPFILE
from tests.conformance.people import OTHER, OWNER, ROOT, STAFF

ACCESSES = (os.O_RDONLY, os.O_WRONLY, os.O_RDWR)
O_TMPFILE = os.O_TMPFILE
MODES = (0o000, 0o111, 0o222, 0o444, 0o600, 0o060, 0o006, 0o640, 0o664, 0o755)


@case(*[File(f"m{mode:03o}{{x}}", mode) for mode in MODES], each=ALL_RULES)
def who_may_open(act: Act) -> None:
    """Read, write and both, on files of all modes, by owner, group and others."""
    for mode in MODES:
        for flags in ACCESSES:
            act.close(act.open(f"m{mode:03o}{act.x}", flags))


@case(
    *[File(f"m{mode:03o}{{x}}", mode) for mode in MODES],
    each=ALL_RULES,
    differs=[differs(COMMIT_IS_A_RENAME, "tree: . mtime", rules=[PROTECTED])],
)
def who_may_truncate_by_open(act: Act) -> None:
    """O_TRUNC needs the write permission, also with O_RDONLY; O_APPEND, too."""
    for mode in MODES:
        for flags in (os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND):
            act.close(act.open(f"m{mode:03o}{act.x}", flags))


@case(File("{x}", 0o666), Dir("d", 0o777), each=ALL_RULES)
def flags_that_are_kept(act: Act) -> None:
    """F_GETFL after open: the access mode and the flags of the description."""
    flags = (0, os.O_APPEND, os.O_NONBLOCK, os.O_SYNC, os.O_DSYNC, os.O_NOCTTY, os.O_CLOEXEC, os.O_NOFOLLOW)
    for access in ACCESSES:
        for flag in flags:
            fd = act.open_raw(act.x, access | flag)
            act.getfl(fd)
            act.get_inheritable(fd)
            act.close(fd)
    for flag in (os.O_DIRECTORY, os.O_PATH, os.O_PATH | os.O_DIRECTORY, 0):
        fd = act.open_raw("d", flag)
        act.getfl(fd)
        act.close(fd)


@case(File("{x}", 0o666), Dir("d", 0o777), each=ALL_RULES)
def access_mode_three(act: Act) -> None:
    """O_WRONLY | O_RDWR: a descriptor for ioctl only, which needs read and write permission (open(2))."""
    for path, extra in ((act.x, 0), (act.x, os.O_CREAT), ("new" + act.x, os.O_CREAT), ("d", 0), ("nowhere", 0)):
        fd = act.open_raw(path, 3 | extra, 0o644)
        act.getfl(fd)
        act.read(fd, 10)
        act.write(fd, b"x")
        act.fstat(fd)
        act.ftruncate(fd, 0)
        act.close(fd)


@case(File("{x}", 0o444), File("w{x}", 0o222), each=ALL_RULES)
def access_mode_three_needs_both(act: Act) -> None:
    """Access mode 3 on a file that is only readable or only writable."""
    for path in (act.x, "w" + act.x):
        act.close(act.open_raw(path, 3))


@case(
    File("{x}", 0o666),
    Dir("d", 0o777),
    Symlink("l", "{x}"),
    Symlink("ld", "d"),
    Symlink("away", "nowhere"),
    each=ALL_RULES,
)
def creating_flags(act: Act) -> None:
    """O_CREAT, alone and with O_EXCL, on what is there and what is not, through links, and read-only."""
    for path in (act.x, "d", "l", "ld", "new" + act.x, "d/new" + act.x, "no/where", act.x + "/below", "away", "."):
        for access in ACCESSES:
            for flags in (os.O_CREAT | os.O_EXCL, os.O_CREAT):
                act.close(act.open(path, access | flags, 0o644))
        act.unlink(path) if path.startswith(("new", "d/")) else None


@case(
    File("{x}", 0o666), Dir("d", 0o777), Fifo("p", 0o666), Symlink("l", "{x}"), Symlink("ld", "d"),
    Symlink("away", "n"), Node("s", 0o666), each=ALL_RULES,
)  # fmt: skip
def directory_nofollow_path(act: Act) -> None:
    """O_DIRECTORY, O_NOFOLLOW, O_PATH in all combinations on every type, with and without a trailing slash."""
    for path in (act.x, "d", "l", "ld", "away", "nowhere", "p", "s"):
        for name in (path, path + "/", path + "/."):
            for flags in (os.O_DIRECTORY, os.O_NOFOLLOW, os.O_DIRECTORY | os.O_NOFOLLOW):
                for more in (0, os.O_PATH):
                    act.close(act.open(name, os.O_RDONLY | os.O_NONBLOCK | flags | more))
            act.close(act.open(name, os.O_PATH))


@case(File("{x}", 0o666), Dir("d", 0o777), Symlink("l", "{x}"), Symlink("ld", "d"), each=ALL_RULES)
def creating_with_directory_flags(act: Act) -> None:
    """O_CREAT with O_DIRECTORY (EINVAL since Linux 6.4), O_NOFOLLOW, O_PATH, trailing slashes."""
    for path in (act.x, "d", "l", "ld", "new" + act.x):
        for name in (path, path + "/"):
            for flags in (os.O_DIRECTORY, os.O_NOFOLLOW, os.O_PATH, os.O_EXCL | os.O_NOFOLLOW):
                act.close(act.open(name, os.O_RDWR | os.O_CREAT | flags, 0o644))
    for flags in (os.O_EXCL, os.O_EXCL | os.O_TRUNC, os.O_TRUNC | os.O_DIRECTORY, os.O_TRUNC | os.O_PATH):
        act.close(act.open(act.x, os.O_RDONLY | flags))
        act.close(act.open("d", os.O_RDONLY | flags))


@case(File("{x}", 0o666), Dir("d", 0o777), each=ALL_RULES)
def path_descriptors(act: Act) -> None:
    """O_PATH: fstat, fchdir and the at-calls work, the rest gets EBADF."""
    fd = act.open(act.x, os.O_PATH)
    act.fstat(fd)
    act.read(fd, 1)
    act.write(fd, b"x")
    act.fchmod(fd, 0o600)
    act.fchown(fd, -1, -1)
    act.ftruncate(fd, 0)
    act.fsync(fd)
    directory = act.open("d", os.O_PATH)
    act.close(act.openat(directory, "new" + act.x, os.O_WRONLY | os.O_CREAT, 0o644))
    act.fchdir(directory)
    act.listdir(".")
    act.openat(fd, "x", os.O_RDONLY)


@case(File("{x}", 0o666), Dir("d", 0o777), each=ALL_RULES)
def openat_from_directories(act: Act) -> None:
    """openat(2): relative to a directory, to AT_FDCWD, to a file (ENOTDIR), no descriptor (EBADF); ""."""
    directory = act.open("d", os.O_RDONLY | os.O_DIRECTORY)
    file = act.open(act.x, os.O_RDONLY)
    for base in (directory, AT_FDCWD, file, 987, -1):
        act.note("base", "directory" if base == directory else "file" if base == file else base)
        for path in ("../" + act.x, "a" + act.x, ""):
            act.close(act.openat(base, path, os.O_RDWR | os.O_CREAT, 0o644))


@case(File("{x}", 0o644), File("mine{x}", 0o644, OTHER), each=ALL_RULES)
def noatime(act: Act) -> None:
    """O_NOATIME is for the owner and root."""
    for path in (act.x, "mine" + act.x, "new" + act.x):
        for flags in (os.O_RDONLY, os.O_RDWR | os.O_CREAT):
            act.close(act.open(path, flags | os.O_NOATIME, 0o644))


@case(Dir("d", 0o777), File("{x}", 0o666), each=ALL_RULES)
def tmpfile_elsewhere(act: Act) -> None:
    """O_TMPFILE where it cannot be: no directory, read-only access, a directory that is not there."""
    for path, access in (("d", os.O_RDONLY), (act.x, os.O_RDWR), ("nowhere", os.O_RDWR)):
        act.close(act.open(path, O_TMPFILE | access, 0o600))


@case(Dir("d", 0o777), each=(PROTECTED,), differs=[differs(NO_TMPFILE, "open('d', *", "the course of the calls")])
def tmpfile(act: Act) -> None:
    """O_TMPFILE: programs fall back to a name of their own (open(2))."""
    act.fstat(act.open("d", O_TMPFILE | os.O_RDWR, 0o600))


@case(File("{x}", 0o666), Dir("d", 0o777), Dir("shut", 0o700), each=ALL_RULES)
def new_files(act: Act) -> None:
    """Owner, group, mode less the umask of a new file; setuid and sticky bits of the mode; where one may not."""
    for umask in (0o000, 0o022, 0o077, 0o777):
        act.umask(umask)
        for mode in (0o666, 0o777, 0o7777, 0, 0o4755, 0o2755, 0o1644):
            name = f"new{umask:o}-{mode:o}{act.x}"
            fd = act.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
            act.fstat(fd)
            act.write(fd, b"new\n")
            act.close(fd)
            act.stat(name)
    act.open("shut/new" + act.x, os.O_RDWR | os.O_CREAT, 0o666)
    act.creat("shut/new2" + act.x, 0o666)
    fd = act.creat("by creat" + act.x, 0o666)
    act.getfl(fd)
    act.write(fd, b"x\n")


@case(Dir("sgid", 0o2777, gid=STAFF), Dir("plain", 0o777, gid=STAFF), each=ALL_RULES)
def new_files_in_setgid_directories(act: Act) -> None:
    """The group comes from a setgid directory; S_ISGID with group execute goes where the maker is not of the group."""
    for folder in ("sgid", "plain"):
        for mode in (0o644, 0o2644, 0o2755, 0o6755, 0o2666):
            act.umask(0)
            name = f"{folder}/{mode:o}{act.x}"
            act.close(act.open(name, os.O_RDWR | os.O_CREAT, mode))
            act.stat(name)
            act.mkdir(name + "d", mode)
            act.mknod(name + "n", stat.S_IFREG | mode)
            act.mkfifo(name + "p", mode)
            act.symlink("x", name + "l")


@case(Dir("."), each=ALL_RULES)
def new_files_without_permission(act: Act) -> None:
    """In a directory that one may not write."""
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR | os.O_EXCL, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND):
        act.close(act.open("new" + act.x, flags | os.O_CREAT, 0o644))
        act.unlink("new" + act.x)


@case(File("{x}", 0o444), Dir("d", 0o555), each=ALL_RULES)
def new_file_without_its_own_permission(act: Act) -> None:
    """A file made with mode 0 or 0444 is open for writing to its maker, once."""
    for mode in (0, 0o444):
        fd = act.open(f"new{mode:o}{act.x}", os.O_RDWR | os.O_CREAT, mode)
        act.write(fd, b"text\n")
        act.pread(fd, 10, 0)
        act.close(fd)
        act.close(act.open(f"new{mode:o}{act.x}", os.O_RDWR))
        act.close(act.open(f"new{mode:o}{act.x}", os.O_RDONLY))
    act.open("d/new" + act.x, os.O_RDWR | os.O_CREAT, 0o644)


@case(Dir("d", 0o777), Fifo("p", 0o666), Node("s", 0o666), File("{x}", 0o666))
def opening_what_is_no_file(act: Act) -> None:
    """Directories for writing (EISDIR), sockets (ENXIO), FIFOs that nobody reads (ENXIO)."""
    for access in (*ACCESSES, os.O_RDONLY | os.O_TRUNC, os.O_RDWR | os.O_CREAT, os.O_WRONLY | os.O_APPEND):
        act.close(act.open("d", access))
        act.close(act.open("s", access))
        act.close(act.open("p", access | os.O_NONBLOCK))


@case(
    Node("null", 0o666, kind=stat.S_IFCHR, device=os.makedev(1, 3)),
    Node("block", 0o666, kind=stat.S_IFBLK, device=os.makedev(250, 77)),
    people=(ROOT, OTHER),
)
def devices(act: Act) -> None:
    """A device behind the mount; the tests' mount allows devices where its backing filesystem does."""
    for path in ("null", "block"):
        act.stat(path)
    fd = act.open("null", os.O_RDWR)
    act.write(fd, b"gone")
    act.read(fd, 10)
    act.open("block", os.O_RDONLY)


@case(Dir("d", 0o777), File("d/{x}", 0o666), Symlink("d/l", "{x}"), Symlink("d/up", "../x"), Symlink("d/abs", "/etc"))
def openat2_resolve(act: Act) -> None:
    """openat2(2): RESOLVE_BENEATH, IN_ROOT, NO_SYMLINKS, NO_XDEV, NO_MAGICLINKS, CACHED; unknown flags and modes."""
    no_xdev, no_magic, no_links, beneath, in_root, cached = 1, 2, 4, 8, 16, 32
    for resolve in (0, no_xdev, no_magic, no_links, beneath, in_root):
        for path in ("d/" + act.x, "d/l", "d/up", "d/abs", "../", "/"):
            act.close(act.openat2(path, os.O_RDONLY, 0, resolve))
    act.openat2(act.x, os.O_RDONLY, 0o644)
    act.openat2("d/" + act.x, os.O_RDONLY, 0, 1 << 20)
    act.openat2("d/" + act.x, os.O_RDONLY | 1 << 40, 0)
    act.openat2("new" + act.x, os.O_RDWR | os.O_CREAT, 0o10644)
    act.openat2("new" + act.x, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644, cached)
    act.close(act.openat2("new" + act.x, os.O_RDWR | os.O_CREAT, 0o644, beneath))


@case(File("{x}", 0o666), each=ALL_RULES, people=(ROOT, OWNER, OTHER))
def magic_links(act: Act) -> None:
    """Opening /proc/self/fd/N again, for reading, writing, with O_TRUNC, and of a file without a name."""
    fd = act.open(act.x, os.O_RDONLY)
    again = act.call("open again", os.open, f"/proc/self/fd/{fd}", os.O_RDONLY)
    act.call("read", os.read, again, 100)
    path_fd = act.open(act.x, os.O_PATH)
    again = act.call("open a path descriptor", lambda: os.close(os.open(f"/proc/self/fd/{path_fd}", os.O_RDONLY)))
    act.unlink(act.x)
    act.call("open without a name", lambda: os.close(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)))
    act.call("open to write", lambda: os.close(os.open(f"/proc/self/fd/{fd}", os.O_RDWR)))
    act.call("open what is gone", lambda: os.close(os.open(f"/proc/self/fd/{path_fd}", os.O_RDONLY)))
