"""Paths: permissions along the way, links, lengths, odd names."""

from __future__ import annotations

import os

from tests.conformance.acting import Act
from tests.conformance.calls import AT_FDCWD
from tests.conformance.case import ALL_RULES, case, differs
from tests.conformance.entries import Dir, Entry, File, Symlink
from tests.conformance.named import COMMIT_IS_A_RENAME, LINKS_COUNT_TWICE
from tests.conformance.people import OTHER, OWNER, ROOT

FOLDER_MODES = (0o000, 0o111, 0o222, 0o333, 0o444, 0o555, 0o666, 0o777, 0o710, 0o740, 0o770, 0o601)


def folders() -> list[Entry]:
    found: list[Entry] = []
    for mode in FOLDER_MODES:
        name = f"d{mode:03o}"
        found += [
            Dir(name, mode),
            File(f"{name}/{{x}}", 0o666),
            Dir(f"{name}/sub", 0o777),
            File(f"{name}/sub/{{x}}", 0o666),
        ]
    return found


@case(*folders(), each=ALL_RULES)
def permissions_along_the_path(act: Act) -> None:
    """Search without read and read without search, on the last directory and on one before."""
    for mode in FOLDER_MODES:
        folder = f"d{mode:03o}"
        act.listdir(folder)
        act.stat(folder)
        for path in (f"{folder}/{act.x}", f"{folder}/sub/{act.x}", f"{folder}/nothing", f"{folder}/sub/.."):
            act.stat(path)
            act.close(act.open(path, os.O_RDONLY))
        act.close(act.open(f"{folder}/{act.x}", os.O_RDWR))
        act.chdir(folder)
        act.call("back", os.chdir, "..") if os.path.basename(os.getcwd()) == folder else None
        act.close(act.open(f"{folder}/new{act.x}", os.O_WRONLY | os.O_CREAT, 0o644))
        act.mkdir(f"{folder}/new d", 0o755)
        act.symlink("x", f"{folder}/new l")
        act.link(f"{folder}/sub/{act.x}", f"{folder}/linked{act.x}")
        act.rename(f"{folder}/new{act.x}", f"{folder}/renamed{act.x}")
        act.unlink(f"{folder}/{act.x}")
        act.readlink(f"{folder}/new l")
        act.chmod(f"{folder}/sub/{act.x}", 0o600)
        act.rmdir(f"{folder}/new d")


@case(Dir("a", 0o700), Dir("a/b", 0o777), File("a/b/x", 0o666), people=(OTHER,))
def a_descriptor_beyond_a_shut_directory(act: Act) -> None:
    """ ".." out of a shut directory needs search permission on it alone."""
    act.stat("a/b/../..")
    act.openat(AT_FDCWD, "a/b", os.O_PATH)


@case(
    Symlink("loop", "loop"), Symlink("a", "b"), Symlink("b", "a"), Dir("d"), File("d/x"), Symlink("d/up", ".."),
    *[Symlink(f"c{number}", f"c{number + 1}") for number in range(45)], File("c45"), Symlink("self", "."),
    differs=[differs(COMMIT_IS_A_RENAME, "tree: . mtime", "tree: d mtime", people=(ROOT, OWNER))],
)  # fmt: skip
def loops_of_links(act: Act) -> None:
    """ELOOP for links that never end, and for more than 40 in a path."""
    for path in ("loop", "a", "a/x", "loop/x", "c0", "c4", "c25", "c26", "c40", "d/up/d/up/d/x", "self/self/self/d/x"):
        act.stat(path)
        act.lstat(path)
        act.close(act.open(path, os.O_RDONLY))
        act.close(act.open(path, os.O_WRONLY | os.O_CREAT, 0o644))
        act.truncate(path, 8)
        act.chmod(path, 0o644)
    act.stat("self/" * 40 + "d/x")
    act.stat("self/" * 41 + "d/x")
    act.stat("c5")
    act.close(act.open("c5", os.O_RDONLY))


@case(
    *[Symlink(f"c{number}", f"c{number + 1}") for number in range(30)],
    File("c30"),
    people=(ROOT, OWNER),
    differs=[differs(LINKS_COUNT_TWICE, "open('c9', 1)")],
)
def writing_through_many_links(act: Act) -> None:
    """Opening for writing through 20 links, and through 21."""
    act.close(act.open("c10", os.O_WRONLY))
    act.open("c9", os.O_WRONLY)


LONG = "n" * 255


@case(File(LONG), Dir("d" * 255), people=(ROOT, OTHER))
def names_of_255_bytes(act: Act) -> None:
    """Names of 255 bytes work with every call; 256 get ENAMETOOLONG from every call."""
    for name in (
        "m" * 255,
        "m" * 256,
        "\u00e9" * 127,
        "\u00e9" * 128,
        "d" * 255 + "/" + "m" * 255,
        "d" * 255 + "/" + "m" * 256,
    ):
        fd = act.open(name, os.O_RDWR | os.O_CREAT, 0o644)
        act.write(fd, b"text\n")
        act.close(fd)
        act.stat(name)
        act.chmod(name, 0o600)
        act.truncate(name, 2)
        act.link(name, name[:-1] + "l")
        act.rename(name, name[:-1] + "r")
        act.unlink(name[:-1] + "r")
        act.mkdir(name, 0o755)
        act.rmdir(name)
        act.symlink("x", name)
        act.readlink(name)
        act.unlink(name)
        act.mkfifo(name, 0o644)
        act.utime(name)
        act.unlink(name)
        act.mknod(name, 0o100644)
        act.chown(name, -1, -1)
        act.may(name, os.R_OK)
    act.rename(LONG, "o" * 255)
    act.rename("o" * 255, "o" * 256)
    act.listdir(".")


@case(people=(ROOT, OTHER))
def paths_of_4095_bytes(act: Act) -> None:
    """PATH_MAX: 4095 bytes work, 4096 get ENAMETOOLONG; a directory deeper than that, step by step."""
    part = "p" * 249 + "/"
    act.call("make", lambda: os.makedirs(part * 12))
    for length in (4094, 4095, 4096):
        path = ("./" * 3000)[: length - 1] + "f"
        path = path if path[-2] != "." else path[:-2] + "/f"
        act.close(act.open(path, os.O_WRONLY | os.O_CREAT, 0o644))
        act.stat(path)
        act.mkdir(path + "d", 0o755)
    for _ in range(20):
        act.mkdir("deep" * 60, 0o755)
        act.call("go there", os.chdir, "deep" * 60)
    act.close(act.open("bottom", os.O_WRONLY | os.O_CREAT, 0o644))
    act.stat("bottom")
    act.rename("bottom", "ground")
    act.listdir(".")
    act.unlink("ground")
    for _ in range(20):  # the comparison of the trees could not go there
        act.call("go back", os.chdir, "..")
        act.rmdir("deep" * 60)


ODD = (
    b"with\nnewline", b" ", b"\x01\x02", b"-rf", b"caf\xe9", b"\xff\xfe\xfd", b"a\\b", b"*?[]", b"'\"`$(x)",
    b"\xe2\x80\xae", b"trailing ", b"...", b".hidden", b"..x", b"~", b"#x#", b"name:with:colons", b"\x7f",
    b"n,o=p", b"%s%n",
)  # fmt: skip


@case(Dir(b"dir \xe9\n", 0o777), people=(ROOT, OTHER))
def odd_names(act: Act) -> None:
    """Any byte but NUL and "/" may be in a name: made, listed, renamed, linked, read, removed."""
    for folder in (b".", b"dir \xe9\n"):
        for name in ODD:
            path = folder + b"/" + name
            fd = act.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
            act.write(fd, name)
            act.close(fd)
            act.stat(path)
            act.rename(path, path + b"+")
            act.link(path + b"+", path)
            act.symlink(name, path + b"@")
            act.readlink(path + b"@")
        act.listdir(folder)
        act.entries(folder)
        for name in ODD[::2]:
            act.unlink(folder + b"/" + name)
            act.unlink(folder + b"/" + name + b"@")
        act.listdir(folder)


@case(File("x"), Dir("d"), Dir("d/e"), File("d/e/f"))
def dots_and_slashes(act: Act) -> None:
    """ ".", "..", doubled slashes, files used as directories."""
    for path in (
        ".", "..", "d/..", "d/e/../../x", "d//e///f", "./././x", "x/..", "x/.", "d/e/f/..", "d/nothing/..", "/../../..",
        "//", "d/.", "d/./e/.", "", "x/", "d/e/f/", "nothing/", "nothing/x", "x/y/z",
    ):  # fmt: skip
        act.call(f"what is {path}", lambda path=path: oct(os.stat(path).st_mode & 0o170000))
        act.close(act.open(path, os.O_PATH))
        act.close(act.open(path, os.O_WRONLY))
        act.may(path, os.F_OK)
        act.chdir(path + "/never")


@case(File("{x}", 0o666), Dir("d", 0o777), each=ALL_RULES, people=(ROOT, OTHER))
def case_matters(act: Act) -> None:
    """Names that differ in case only are different files."""
    act.stat(act.x.upper())
    act.close(act.open(act.x.upper(), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
    act.mkdir("D", 0o755)
    act.listdir(".")


@case(Dir("d", 0o777), File("d/{x}", 0o666), each=ALL_RULES, people=(ROOT, OTHER))
def negative_names_come_to_life(act: Act) -> None:
    """A name that was just looked for in vain is there at once when it is made, by every call that makes one."""
    for number, make in enumerate((
        lambda name: act.close(act.open(name, os.O_WRONLY | os.O_CREAT, 0o644)),
        lambda name: act.mkdir(name, 0o755),
        lambda name: act.symlink("d", name),
        lambda name: act.link("d/" + act.x, name),
        lambda name: act.mknod(name, 0o100644),
        lambda name: act.rename("d/" + act.x, name),
    )):  # fmt: skip
        name = f"n{number}{act.x}"
        act.stat(name)
        make(name)
        act.stat(name)
        act.unlink(name)
        act.stat(name)
