"""What the promises say about making, removing, linking and renaming files that are being written: see order_model."""

from __future__ import annotations

from typing import Any

from tests.support.order_state import File, Folder, Place, State, Waiting


class Names(State):
    """The steps that change names."""

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
