"""From chunks to whole records (A2, A3)."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockfs.core.records import Feed, RecordAssembler

TEXT = st.binary(max_size=60).map(lambda raw: bytes(b"ab\n\n"[byte % 4] for byte in raw))


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    at = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[a:b] for a, b in pairwise(at)]


def test_A2_holds_back_what_is_not_a_whole_record() -> None:
    records = RecordAssembler(100)
    assert records.feed(b"one") == Feed(b"", 0, False)
    assert records.feed(b" row") == Feed(b"", 0, False)
    assert records.tail == b"one row"
    assert records.feed(b"\ntwo\nthr") == Feed(b"one row\ntwo\n", 2, False)
    assert records.tail == b"thr"
    assert records.feed(b"") == Feed(b"", 0, False)


def test_A2_whole_records_pass_without_a_copy() -> None:
    data = b"one\ntwo\n"
    out, count, _ = RecordAssembler(100).feed(data)
    assert out is data
    assert count == 2


def test_A3_end_gives_the_tail_once() -> None:
    records = RecordAssembler(100)
    records.feed(b"half")
    assert records.end() == b"half"
    assert records.end() == b""
    assert records.tail == b""


def test_A3_binary_is_not_split_and_goes_after_the_tail() -> None:
    records = RecordAssembler(4)
    records.feed(b"ab")
    assert records.feed(b"x\ny\0zzzzzz") == Feed(b"abx\ny\0zzzzzz", 1, False)
    assert records.tail == b""


@pytest.mark.parametrize("start", [b"", b"whole\n"])
def test_A3_too_long_a_record_streams_until_its_newline_and_says_so_once(start: bytes) -> None:
    records = RecordAssembler(4)
    assert records.feed(start + b"abcd").overflow is False
    assert records.feed(b"e") == Feed(b"abcde", 0, True)
    assert records.feed(b"fghijk") == Feed(b"fghijk", 0, False)
    assert records.feed(b"l\nab") == Feed(b"l\n", 1, False)
    assert records.tail == b"ab"
    assert records.feed(b"c\nabcdef") == Feed(b"abc\nabcdef", 1, True)
    assert records.end() == b""
    assert records.feed(b"new") == Feed(b"", 0, False)


@given(
    st.lists(st.tuples(TEXT, st.lists(st.integers(0, 1000), max_size=12)), min_size=1, max_size=4),
    st.lists(st.integers(0, 3), max_size=60),
)
def test_A2_any_chunking_of_several_handles_gives_whole_records(
    streams: list[tuple[bytes, list[int]]], turns: list[int]
) -> None:
    """Each stream is cut anywhere, and the handles take turns in any order."""
    handles = [RecordAssembler(1000) for _ in streams]
    chunks = [cut(stream, places) for stream, places in streams]
    written: list[tuple[int, bytes]] = []
    order = [turn % len(streams) for turn in turns] + [n for n, some in enumerate(chunks) for _ in some]
    for n in order:
        if chunks[n]:
            out, count, overflow = handles[n].feed(chunks[n].pop(0))
            assert out == b"" or out.endswith(b"\n")
            assert count == out.count(b"\n")
            assert not overflow
            written.append((n, out))
    for n, (stream, _) in enumerate(streams):
        assert b"".join(out for m, out in written if m == n) + handles[n].end() == stream


@given(st.binary(max_size=80), st.lists(st.integers(0, 1000), max_size=12), st.integers(0, 10), st.integers(0, 12))
def test_A3_nothing_is_lost_or_held_over_the_limit(stream: bytes, places: list[int], limit: int, sync: int) -> None:
    records = RecordAssembler(limit)
    out = b""
    for n, chunk in enumerate(cut(stream, places)):
        out += records.feed(chunk).out
        assert len(records.tail) <= limit
        assert b"\n" not in records.tail
        assert b"\0" not in records.tail
        assert out + records.tail == stream[: len(out) + len(records.tail)]
        if n == sync:
            out += records.end()
    assert out + records.end() == stream


def test_A2_many_small_chunks_are_not_quadratic() -> None:
    records = RecordAssembler(1 << 20)
    began = time.process_time()
    for _ in range(1 << 19):
        records.feed(b"ab")
    assert len(records.feed(b"\n").out) == (1 << 20) + 1
    assert time.process_time() - began < 10  # quadratic copying would be 256 GiB
