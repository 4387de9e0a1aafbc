"""What the promises say about files that several processes write, rename and remove: a model to hold a mount against.

The model is told, in the order in which they were done, what each process did and how it ended. It raises `Broken` at
an outcome that the promises do not allow, and knows what everybody must see afterwards: the committed tree, each
process's own view, the open handles, and what must be among the orphans. Paths are relative, in folders of any depth;
there are no symbolic links. Each process is a family of its own.
"""

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


class Model:
    """The state of one folder, and what may happen next."""

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

    # --- steps -----------------------------------------------------------------------------------------------------

    def begin(self, who: int, step: Step) -> None:
        """A process begins a step: from here on a rename takes the entry that it waits for along."""
        path = step[2] if step[0] == "open" else step[1] if step[0] == "truncate" else None
        place = self.place(path) if path is not None else None
        self.waiting[who] = Waiting(step, place if isinstance(place, tuple) else None)

    def apply(self, who: int, error: str | None, value: Any) -> None:
        """The step of `who` ended: with an errno's name, or with a value."""
        waiting = self.waiting.pop(who)
        name, *arguments = waiting.step
        getattr(self, f"_{name}")(who, waiting, error, value, *arguments)

    def _expect(self, waiting: Waiting, error: str | None, *allowed: str | None) -> bool:
        """Whether the step succeeded; raises `Broken` if it ended otherwise than allowed."""
        if error not in allowed:
            raise Broken(f"{waiting.step}: {error or 'success'}, allowed: {[a or 'success' for a in allowed]}")
        return error is None

    # Opening

    def _open(self, who: int, waiting: Waiting, error: str | None, _fd: Any, key: str, path: str, mode: str) -> None:
        if waiting.place is None:
            walk = self.place(path)
            self._expect(waiting, error, walk if isinstance(walk, str) else "EBUSY")
            return
        place = waiting.place
        other = self._others_session(who, place)
        seen = self.seen_by(who, place)
        own = self.session_at(place) if other is None else None
        if mode == "r":
            if self._expect(waiting, error, "ENOENT" if seen is None else None):
                self.handles[who, key] = Handle(session=own, file=seen if isinstance(seen, File) else None)
            return
        if mode == "x":
            taken = seen is not None or other is not None
            if other is not None:
                self.reasons.add("W8 a pending name is taken")
            if self._expect(waiting, error, "EEXIST" if taken else None):
                self._new_session(who, key, place, None)
            return
        if isinstance(seen, Folder):
            self._expect(waiting, error, "EISDIR")
        elif mode == "r+" and seen is None:
            self._expect(waiting, error, "ENOENT")
        elif other is not None:
            self.reasons.add("Q1 refused")
            self._expect(waiting, error, *(["EBUSY"] if self._refuse else []), *self._deadlock(who))
        elif self._expect(waiting, error, None) and mode == "a":
            self._open_to_append(who, key, place, own)
        elif error is None and own is not None:
            own.handles += 1
            if mode == "w":
                own.file.data, own.changed = b"", True
            self.handles[who, key] = Handle(session=own)
        elif error is None:
            self._new_session(who, key, place, mode)

    def _deadlock(self, who: int) -> list[str]:
        holders = {s.owner for s in self.sessions if s.place is not None and s.owner != who}
        return ["EDEADLK"] if any(other in self.waiting for other in holders) else []

    def _new_session(self, who: int, key: str, place: Place, mode: str | None) -> None:
        base = self.entry(place)
        keeps = mode == "r+" and isinstance(base, File)
        data = base.data if keeps and isinstance(base, File) else b""
        session = Session(who, place, File(data), new=base is None, changed=not keeps, handles=1)
        self.sessions.append(session)
        self.handles[who, key] = Handle(session=session)
        self.reasons.add("W2 what is written is seen at the close")
        self.reasons.add("W5 a commit breaks hard links")

    def _open_to_append(self, who: int, key: str, place: Place, own: Session | None) -> None:
        if own is not None:
            own.handles += 1
            self.handles[who, key] = Handle(session=own, append=True)
            return
        if self.entry(place) is None:
            place[0].entries[place[1]] = File()
        file = self.entry(place)
        assert isinstance(file, File)
        self.handles[who, key] = Handle(file=file, place=place, append=True)

    # Through a handle

    def _write(self, who: int, waiting: Waiting, error: str | None, _count: Any, key: str, data: bytes) -> None:
        handle = self.handles.get((who, key))
        if not self._expect(waiting, error, None if handle is not None else "EBADF"):
            return
        assert handle is not None
        session = handle.session
        if handle.place is not None:
            if self._others_session(who, handle.place) is not None:
                raise Broken(f"{waiting.step}: an append while somebody else has the pen (A6)")
            session = self.session_at(handle.place)
        if session is None:
            assert handle.file is not None
            handle.file.data += data
            return
        start = len(session.file.data) if handle.append else handle.position
        old = session.file.data.ljust(start, b"\0")
        session.file.data = old[:start] + data + old[start + len(data) :]
        handle.position = start + len(data)
        session.changed = True

    def _read(self, who: int, waiting: Waiting, error: str | None, value: Any, key: str) -> None:
        handle = self.handles.get((who, key))
        folder = handle is not None and handle.file is None and handle.session is None
        if self._expect(waiting, error, "EISDIR" if folder else None if handle is not None else "EBADF"):
            assert handle is not None
            self.check_reader(handle, value)

    @staticmethod
    def check_reader(handle: Handle, data: bytes) -> None:
        """What a reader's handle reads, from the start to the end, is the version that it opened."""
        expected = handle.session.file.data if handle.session is not None else handle.file.data if handle.file else b""
        if data != expected:
            raise Broken(f"a reader's version changed under it: {data!r}, opened: {expected!r} (W2)")

    def _fchmod(self, who: int, waiting: Waiting, error: str | None, _value: Any, key: str, _mode: int) -> None:
        self._expect(waiting, error, None if (who, key) in self.handles else "EBADF")

    def _close(self, who: int, waiting: Waiting, error: str | None, _value: Any, key: str) -> None:
        handle = self.handles.pop((who, key), None)
        if self._expect(waiting, error, None if handle is not None else "EBADF"):
            assert handle is not None
            self._closed(handle, killed=False)

    def _closed(self, handle: Handle, *, killed: bool) -> None:
        session = handle.session
        if session is None or handle.file is session.file:
            return  # a reader's
        session.handles -= 1
        if session.handles == 0:
            self.sessions.remove(session)
            self._end(session, killed)

    def _end(self, session: Session, killed: bool) -> None:
        if not session.changed:
            return
        if killed or session.replaced:
            self.reasons.add("N1 a killed writer publishes nothing" if killed else "W7 the writer replaced it itself")
            if session.file.data:
                self.orphans.append(session.file.data)
            return
        if session.place is None:
            return
        folder, name = session.place
        if isinstance(folder.entries.get(name), Folder):
            raise AssertionError("the model let a directory come where a session commits")
        if name not in folder.entries:
            self.reasons.add("W7 the commit creates the file anew")
        self._commit(session.place, session.file)

    def _exit(self, who: int, _waiting: Waiting, _error: str | None, _value: Any) -> None:
        self._gone(who, killed=False)

    def _kill(self, who: int, _waiting: Waiting, _error: str | None, _value: Any) -> None:
        self._gone(who, killed=True)

    def _gone(self, who: int, *, killed: bool) -> None:
        for owner, key in [pair for pair in self.handles if pair[0] == who]:
            self._closed(self.handles.pop((owner, key)), killed=killed)

    # Names

    def _truncate(self, who: int, waiting: Waiting, error: str | None, _v: Any, path: str, size: int) -> None:
        place = waiting.place
        if place is None:
            walk = self.place(path)
            self._expect(waiting, error, walk if isinstance(walk, str) else "ENOENT")
            return
        seen = self.seen_by(who, place)
        if self._others_session(who, place) is not None and seen is not None:
            self.reasons.add("Q1 refused")
            self._expect(waiting, error, *(["EBUSY"] if self._refuse else []))
        elif self._expect(waiting, error, "ENOENT" if seen is None else None):
            assert isinstance(seen, File)
            cut = seen.data[:size].ljust(size, b"\0")
            own = self.session_at(place)
            if own is not None:
                own.file.data, own.changed = cut, True
            else:
                self.reasons.add("W5 a commit breaks hard links")
                self._commit(place, File(cut))

    def _unlink(self, who: int, waiting: Waiting, error: str | None, _value: Any, path: str) -> None:
        place = self.place(path)
        if isinstance(place, str):
            self._expect(waiting, error, place)
            return
        seen = self.seen_by(who, place)
        expected = "ENOENT" if seen is None else "EISDIR" if isinstance(seen, Folder) else None
        if self._expect(waiting, error, expected):
            own = self.session_at(place)
            if own is not None and own.owner == who:
                own.place = None
            place[0].entries.pop(place[1], None)
            self._lost_name(place)

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

    def _mkdir(self, who: int, waiting: Waiting, error: str | None, _value: Any, path: str) -> None:
        place = self._free(who, waiting, error, path)
        if place is not None:
            place[0].entries[place[1]] = Folder()

    def _free(self, who: int, waiting: Waiting, error: str | None, path: str) -> Place | None:
        """The place of a new entry, if it was to be made and was (W8)."""
        place = self.place(path)
        if isinstance(place, str):
            self._expect(waiting, error, place)
            return None
        if self.session_at(place) is not None and self.entry(place) is None:
            self.reasons.add("W8 a pending name is taken")
        taken = self.entry(place) is not None or self.session_at(place) is not None
        return place if self._expect(waiting, error, "EEXIST" if taken else None) else None

    def _rmdir(self, who: int, waiting: Waiting, error: str | None, _value: Any, path: str) -> None:
        place = self.place(path)
        if isinstance(place, str):
            self._expect(waiting, error, place)
            return
        seen = self.seen_by(who, place)
        if isinstance(seen, Folder):
            if self._busy_inside(seen) and not seen.entries:
                self.reasons.add("W7 a session will commit into it")
            full = bool(seen.entries) or self._busy_inside(seen)
            if self._expect(waiting, error, "ENOTEMPTY" if full else None):
                del place[0].entries[place[1]]
        else:
            self._expect(waiting, error, "ENOENT" if seen is None else "ENOTDIR")

    def _link(self, who: int, waiting: Waiting, error: str | None, _value: Any, old: str, new: str) -> None:
        source, target = self.place(old), self.place(new)
        if isinstance(source, str) or isinstance(target, str):
            self._expect(waiting, error, source if isinstance(source, str) else str(target))
            return
        seen = self.seen_by(who, source)
        if seen is None:
            self._expect(waiting, error, "ENOENT")
        elif self.entry(target) is None and self.session_at(target) is None:
            if self._expect(waiting, error, None if isinstance(seen, File) else "EPERM"):
                own = self.session_at(source)
                unchanged = own is not None and own.file is seen and not own.changed
                target[0].entries[target[1]] = (self.entry(source) or seen) if unchanged else seen
        else:
            self._free(who, waiting, error, new)

    # Renaming

    def _rename(self, who: int, waiting: Waiting, error: str | None, _v: Any, old: str, new: str, how: str) -> None:
        source, target = self.place(old), self.place(new)
        if isinstance(source, str) or isinstance(target, str):
            self._expect(waiting, error, source if isinstance(source, str) else str(target))
            return
        moved, there = self.seen_by(who, source), self.seen_by(who, target)
        busy = self._others_session(who, target) is not None
        if moved is None:
            self._expect(waiting, error, "ENOENT")
        elif how == "exchange":
            self._exchange(waiting, error, source, target)
        elif how == "noreplace":
            if busy and there is None:
                self.reasons.add("W8 a pending name is taken")
            if self._expect(waiting, error, "EEXIST" if there is not None or busy else None):
                self._move(who, source, target)
        elif source == target or self._same_file(source, target) or (moved is there and isinstance(moved, File)):
            self._expect(waiting, error, None)
        elif self._refusal(moved, there, target) is not None:
            allowed = ["EBUSY"] if busy or waiting.waited else []
            self._expect(waiting, error, self._refusal(moved, there, target), *allowed)
        elif error == "EBUSY" and any(one.place == target and one.waited for one in self.waiting.values()):
            self.reasons.add("Q7 two queues cannot be joined")
        elif busy or (waiting.waited and error):
            self.reasons.add("Q7 no rename over what somebody writes")
            self._expect(waiting, error, "EBUSY")
        elif self._expect(waiting, error, None):
            self._move(who, source, target)

    def _same_file(self, source: Place, target: Place) -> bool:
        """Two names of one file: rename(2) does nothing."""
        return isinstance(self.entry(source), File) and self.entry(source) is self.entry(target)

    def _refusal(self, moved: File | Folder, there: File | Folder | None, target: Place) -> str | None:
        if isinstance(moved, Folder):
            if self._is_inside(target[0], moved):
                return "EINVAL"
            if isinstance(there, File):
                return "ENOTDIR"
            if isinstance(there, Folder) and there is not moved and (there.entries or self._busy_inside(there)):
                if not there.entries:
                    self.reasons.add("W7 a session will commit into it")
                return "ENOTEMPTY"
        elif isinstance(there, Folder):
            return "EISDIR"
        return None

    def _is_inside(self, folder: Folder, outer: Folder) -> bool:
        return folder is outer or any(
            self._is_inside(folder, entry) for entry in outer.entries.values() if isinstance(entry, Folder)
        )

    def _move(self, who: int, source: Place, target: Place) -> None:
        replaced = self.session_at(target)
        if replaced is not None:
            replaced.place, replaced.replaced = None, True
        self._lost_name(target)
        moved = source[0].entries.pop(source[1], None)
        if moved is not None:
            target[0].entries[target[1]] = moved
        self._go_along({source: target})

    def _exchange(self, waiting: Waiting, error: str | None, source: Place, target: Place) -> None:
        moved, there = self.entry(source), self.entry(target)
        if moved is None:
            self.reasons.add("W2 what is written is seen at the close")
            self._expect(waiting, error, "EINVAL", "ENOENT")
        elif self._expect(waiting, error, "ENOENT" if there is None else None) and moved is not there:
            assert there is not None
            source[0].entries[source[1]], target[0].entries[target[1]] = there, moved
            self._go_along({source: target, target: source})

    def _go_along(self, moves: dict[Place, Place]) -> None:
        """Sessions, appenders and those who wait follow their file (W7)."""
        for one in self._followers():
            if one.place is not None:
                one.place = next((new for old, new in moves.items() if old == one.place), one.place)

    def _followers(self) -> Iterator[Session | Handle | Waiting]:
        yield from self.sessions
        yield from self.handles.values()
        yield from self.waiting.values()

    # Looking

    def _look(self, who: int, waiting: Waiting, error: str | None, value: Any, path: str) -> None:
        """Open, read and close by path: one's own view (F2)."""
        place = self.place(path)
        if isinstance(place, str):
            self._expect(waiting, error, place)
            return
        seen = self.seen_by(who, place)
        if self._expect(waiting, error, "ENOENT" if seen is None else "EISDIR" if isinstance(seen, Folder) else None):
            assert isinstance(seen, File)
            if value != seen.data:
                raise Broken(f"{waiting.step}: {value!r}, must be {seen.data!r} (W2, F2)")

    def _list(self, who: int, waiting: Waiting, error: str | None, value: Any, path: str) -> None:
        place = self.place(path) if path else None
        folder = self.root if place is None else self.entry(place) if isinstance(place, tuple) else None
        if isinstance(folder, Folder) and self._expect(waiting, error, None):
            if sorted(value) != sorted(self.names_seen_by(who, folder)):
                raise Broken(f"{waiting.step}: {sorted(value)}, must be {sorted(self.names_seen_by(who, folder))}")
        elif not isinstance(folder, Folder):
            self._expect(waiting, error, "ENOENT", "ENOTDIR")
