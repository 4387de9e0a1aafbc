"""inotify(7): which events come, in which order."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.conformance import raw
from tests.conformance.acting import Act
from tests.conformance.case import ALL_RULES, LIVE, PROTECTED, case, differs
from tests.conformance.named import APPENDERS_INODE, WATCHES_STAY_BEHIND
from tests.conformance.people import OTHER, ROOT

BOTH = (ROOT, OTHER)
NAMES = [
    "ACCESS", "MODIFY", "ATTRIB", "CLOSE_WRITE", "CLOSE_NOWRITE", "OPEN",
    "MOVED_FROM", "MOVED_TO", "CREATE", "DELETE", "DELETE_SELF", "MOVE_SELF",
]  # fmt: skip
APPEND = os.O_WRONLY | os.O_APPEND


class Watch:
    """A watch of all events on one path."""

    def __init__(self, path: str) -> None:
        self.fd = raw.call("inotify_init1", os.O_NONBLOCK)
        raw.call("inotify_add_watch", self.fd, os.fsencode(path), 0xFFF)

    def events(self) -> str:
        """What came since, in order."""
        found: list[str] = []
        while True:
            try:
                data = os.read(self.fd, 1 << 16)
            except BlockingIOError:
                return " ".join(found)
            at = 0
            while at < len(data):
                _, mask, _, length = struct.unpack_from("iIII", data, at)
                name = data[at + 16 : at + 16 + length].rstrip(b"\0").decode()
                words = [word for bit, word in enumerate(NAMES) if mask >> bit & 1]
                words += ["DIRECTORY"] if mask & 1 << 30 else []
                words += ["IGNORED"] if mask & 1 << 15 else []
                found.append("|".join([*words, name] if name else words))
                at += 16 + length


def written(act: Act, watch: Watch, path: str, label: str, flags: int) -> None:
    """One writer, looked at after each of its calls."""
    fd = os.open(path, flags, 0o644)
    act.call(f"{label}, opened", watch.events)
    os.write(fd, b"abc\n")
    act.call(f"{label}, written", watch.events)
    os.close(fd)
    act.call(f"{label}, closed", watch.events)


def open_and_unlink(path: str) -> None:
    """A file that goes while it is open."""
    fd = os.open(path, os.O_RDWR)
    os.unlink(path)
    os.close(fd)


def make_and_rename(path: str) -> None:
    """How editors save."""
    raw.write_file("w/new")
    os.rename("w/new", path)


@case(each=ALL_RULES, people=BOTH)
def watching_a_directory(act: Act) -> None:
    """Everything that happens to a file, from its creation to its end, as its directory's watch tells it."""
    os.mkdir("w")
    path = f"w/{act.x}"
    watch = Watch("w")
    for label, flags in (
        ("create", os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        ("replace", os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        ("edit", os.O_RDWR),
        ("append", APPEND),
    ):
        written(act, watch, path, label, flags)
    actions: list[tuple[str, Callable[[], object]]] = [
        ("read", Path(path).read_bytes),
        ("truncate", partial(os.truncate, path, 2)),
        ("chmod", partial(os.chmod, path, 0o600)),
        ("utime", partial(os.utime, path)),
        ("rename", partial(os.rename, path, "w/other")),
        ("link", partial(os.link, "w/other", path)),
        ("rename to another link", partial(os.rename, "w/other", path)),
        ("unlink", partial(os.unlink, "w/other")),
        ("unlink", partial(os.unlink, path)),
        ("mkdir", partial(os.mkdir, "w/d")),
        ("rmdir", partial(os.rmdir, "w/d")),
        ("symlink", partial(os.symlink, "x", "w/s")),
        ("mkfifo", partial(os.mkfifo, "w/f")),
        ("create empty", lambda: os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))),
        ("unlink while open", partial(open_and_unlink, path)),
        ("replace by a rename", partial(make_and_rename, path)),
        ("move out", partial(os.rename, path, "outside")),
        ("move in", partial(os.rename, "outside", path)),
    ]
    for label, action in actions:
        action()
        act.call(label, watch.events)


@case(
    each=ALL_RULES,
    people=BOTH,
    differs=[
        differs(WATCHES_STAY_BEHIND, "edit, *", "replace, *", "chmod*", "unlink*", rules=[PROTECTED]),
        differs(APPENDERS_INODE, "append, *", rules=[PROTECTED, LIVE]),
    ],
)
def watching_a_file(act: Act) -> None:
    """The same for a watch on the file itself."""
    raw.write_file(act.x)
    watch = Watch(act.x)
    Path(act.x).read_bytes()
    act.call("read", watch.events)
    written(act, watch, act.x, "append", APPEND)
    written(act, watch, act.x, "edit", os.O_RDWR)
    written(act, watch, act.x, "replace", os.O_WRONLY | os.O_TRUNC)
    os.chmod(act.x, 0o600)
    act.call("chmod", watch.events)
    os.unlink(act.x)
    act.call("unlink", watch.events)
