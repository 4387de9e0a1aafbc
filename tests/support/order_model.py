"""What the promises say about files that several processes write, rename and remove: a model to hold a mount against.

The model is told, in the order in which they were done, what each process did and how it ended. It raises `Broken` at
an outcome that the promises do not allow, and knows what everybody must see afterwards: the committed tree, each
process's own view, the open handles, and what must be among the orphans. Paths are relative, in folders of any depth;
there are no symbolic links. Each process is a family of its own.
"""

from __future__ import annotations

from typing import Any

from tests.support.order_names import Names
from tests.support.order_state import Broken, File, Folder, Handle, Place, Session, Step, Waiting


class Model(Names):
    """The state of one folder, and what may happen next."""

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
