"""The state of the files that several processes write, rename and remove, as the promises have it: see order_model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Step = tuple[Any, ...]
"""(name, arguments...), see `Model.apply`."""


class Broken(AssertionError):
    """An outcome that the promises do not allow."""


@dataclass(eq=False)
class File:
    """One version of a file: what an inode is."""

    data: bytes = b""


@dataclass(eq=False)
class Folder:
    """A directory; it stays itself when it is renamed."""

    entries: dict[str, File | Folder] = field(default_factory=dict)


Place = tuple[Folder, str]


@dataclass(eq=False)
class Session:
    """A writer's private version."""

    owner: int
    place: Place | None
    """None: it has lost its name, nothing will be published."""
    file: File
    new: bool
    changed: bool
    handles: int = 0
    replaced: bool = False


@dataclass(eq=False)
class Handle:
    """An open descriptor of one process: of a session, an appender's, or a reader's (`file`)."""

    session: Session | None = None
    file: File | None = None
    place: Place | None = None
    """Of an appender, until its file loses the name."""
    position: int = 0
    append: bool = False


@dataclass(eq=False)
class Waiting:
    """A step of a process that has begun and not ended; its entry may be renamed meanwhile."""

    step: Step
    place: Place | None
    waited: bool = False
    """It had to wait; a rename waits only so long, and may have given up before what it waited for ended (Q7)."""


class State:
    """What there is in one folder, and who has what open."""

    def __init__(self, *, refuse: bool = False) -> None:
        self.root = Folder()
        self.sessions: list[Session] = []
        self.handles: dict[tuple[int, str], Handle] = {}
        self.waiting: dict[int, Waiting] = {}
        self.orphans: list[bytes] = []
        self.reasons: set[str] = set()
        """Promises that make the outcome differ from a plain directory's, as far as they came into play."""
        self._refuse = refuse

    # --- the tree --------------------------------------------------------------------------------------------------

    def place(self, path: str) -> Place | str:
        """The entry that a path leads to, or the errno that the walk ends with."""
        *parents, name = path.split("/")
        folder = self.root
        for part in parents:
            entry = folder.entries.get(part)
            if not isinstance(entry, Folder):
                return "ENOTDIR" if entry is not None else "ENOENT"
            folder = entry
        return folder, name

    def entry(self, place: Place) -> File | Folder | None:
        """What is committed there."""
        return place[0].entries.get(place[1])

    def tree(self) -> dict[str, bytes | None]:
        """Every committed path with its content (None: a directory)."""
        found: dict[str, bytes | None] = {}

        def walk(folder: Folder, prefix: str) -> None:
            for name, entry in folder.entries.items():
                found[prefix + name] = entry.data if isinstance(entry, File) else None
                if isinstance(entry, Folder):
                    walk(entry, f"{prefix}{name}/")

        walk(self.root, "")
        return found

    def session_at(self, place: Place) -> Session | None:
        """The open session that will commit into an entry."""
        return next((s for s in self.sessions if s.place == place), None)

    def seen_by(self, who: int, place: Place) -> File | Folder | None:
        """What a process sees at an entry: its own session's file, else what is committed (F2, W2)."""
        session = self.session_at(place)
        if session is not None and session.owner == who:
            return session.file
        if session is not None:
            self.reasons.add("W2 others see the committed version")
        return self.entry(place)

    def names_seen_by(self, who: int, folder: Folder) -> set[str]:
        """What listing shows a process."""
        pending = {s.place[1] for s in self.sessions if s.place is not None and s.place[0] is folder and s.owner == who}
        return set(folder.entries) | pending

    def _others_session(self, who: int, place: Place) -> Session | None:
        session = self.session_at(place)
        return session if session is not None and session.owner != who else None

    def _busy_inside(self, folder: Folder) -> bool:
        return any(s.place is not None and s.place[0] is folder for s in self.sessions)

    def _expect(self, waiting: Waiting, error: str | None, *allowed: str | None) -> bool:
        """Whether the step succeeded; raises `Broken` if it ended otherwise than allowed."""
        if error not in allowed:
            raise Broken(f"{waiting.step}: {error or 'success'}, allowed: {[a or 'success' for a in allowed]}")
        return error is None

    def _lost_name(self, place: Place) -> None:
        """Appenders stay with the file that had the name."""
        for handle in self.handles.values():
            if handle.place == place:
                handle.place = None

    def _commit(self, place: Place, file: File) -> None:
        """A new version stands; appenders go on in it (A6)."""
        place[0].entries[place[1]] = file
        for handle in self.handles.values():
            if handle.place == place:
                handle.file = file

    def _go_along(self, moves: dict[Place, Place]) -> None:
        """Sessions, appenders and those who wait follow their file (W7)."""
        for one in self._followers():
            if one.place is not None:
                one.place = next((new for old, new in moves.items() if old == one.place), one.place)

    def _followers(self) -> Iterator[Session | Handle | Waiting]:
        yield from self.sessions
        yield from self.handles.values()
        yield from self.waiting.values()
