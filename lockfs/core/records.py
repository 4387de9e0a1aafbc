"""From chunks to whole records: what an append handle may write now, and what it holds back (A2, A3)."""

from __future__ import annotations

from typing import NamedTuple


class Feed(NamedTuple):
    """What follows from one chunk."""

    out: bytes
    """What must be written now, as ONE write. Empty: nothing."""
    records: int
    """How many records end in `out`."""
    overflow: bool
    """This chunk overran the limit of one record; said once for each such record."""


class RecordAssembler:
    """Cuts the stream of one append handle into writes that end where a record ends.

    A record is everything up to and including a newline. All that went in comes out, in order: the `out` of
    each feed and what `end` returns, put together, are the chunks put together.
    """

    def __init__(self, limit: int) -> None:
        """`limit`: at most so many bytes of an unfinished record are held; what is longer goes out as it
        comes.
        """
        if limit < 0:
            raise ValueError("a negative limit")
        self._limit = limit
        self._held: list[bytes] = []
        self._size = 0
        self._streaming = False  # the unfinished record overran the limit, and its beginning is written

    @property
    def tail(self) -> bytes:
        """The bytes held back: the beginning of an unfinished record."""
        if len(self._held) > 1:
            self._held = [b"".join(self._held)]
        return self._held[0] if self._held else b""

    def feed(self, data: bytes) -> Feed:
        """Take the bytes of one write(2).

        One with a NUL byte is binary: it is one record together with the tail before it, and is never split.
        """
        if b"\0" in data:
            return Feed(self._take(data), 1, False)
        cut = data.rfind(b"\n") + 1
        if cut == len(data) and cut:
            return Feed(self._take(data), data.count(b"\n"), False)
        if not cut:
            return self._feed_unfinished(data)
        records = data.count(b"\n")
        if len(data) - cut > self._limit:
            out = self._take(data)
            self._streaming = True
            return Feed(out, records, True)
        out = self._take(data[:cut])
        self._hold(data[cut:])
        return Feed(out, records, False)

    def end(self) -> bytes:
        """fsync or close end a record: the held tail, as it is, to be written as one write (A3)."""
        return self._take(b"")

    def _feed_unfinished(self, data: bytes) -> Feed:
        if self._streaming:
            return Feed(data, 0, False)
        if self._size + len(data) <= self._limit:
            self._hold(data)
            return Feed(b"", 0, False)
        out = self._take(data)
        self._streaming = True
        return Feed(out, 0, True)

    def _hold(self, data: bytes) -> None:
        if data:
            self._held.append(data)
            self._size += len(data)

    def _take(self, data: bytes) -> bytes:
        """The tail and `data`; `data` itself, not copied, when no tail is held. The record ends here."""
        self._streaming = False
        if not self._held:
            return data
        self._held.append(data)
        out = b"".join(self._held)
        self._held = []
        self._size = 0
        return out
