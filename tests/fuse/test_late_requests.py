"""Requests that come late, in orders which a real kernel produces once in a hundred thousand operations."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from pyfuse3 import InodeT
from trio.testing import wait_all_tasks_blocked

from lockfs.core.arbiter import Granted
from lockfs.runtime.session import Session
from tests.fuse.played_kernel import Asker, PlayedKernel, played
from tests.support import programs

BEFORE = b"-" * 40
STRANGER = Asker(os.getpid())


CHILD = """
import sys, threading
over = [threading.Event() for _ in range(int(sys.argv[1]))]
threads = [threading.Thread(target=event.wait, daemon=True) for event in over]
for thread in threads:
    thread.start()
print(*(thread.native_id for thread in threads), flush=True)
for line in sys.stdin:
    over[int(line)].set()
    threads[int(line)].join()
    print("ended", flush=True)
"""


class Family:
    """Threads of one child process, as callers; this process is a stranger to them (F2: an ancestor)."""

    def __init__(self, count: int) -> None:
        self._child = programs.start(
            [sys.executable, "-c", CHILD, str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._child.stdin
        assert self._child.stdout
        self._to, self._from = self._child.stdin, self._child.stdout
        self.threads = [Asker(int(word)) for word in self._from.readline().split()]

    def end_thread(self, number: int) -> None:
        self._to.write(b"%d\n" % number)
        self._to.flush()
        assert self._from.readline() == b"ended\n"

    def end(self) -> None:
        self._to.close()
        self._from.close()
        programs.finish([self._child], 10.0)


@contextmanager
def family(count: int) -> Iterator[Family]:
    """A process with so many threads, ended at the end."""
    child = Family(count)
    try:
        yield child
    finally:
        child.end()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A backing directory with one file."""
    directory = tmp_path / "source"
    directory.mkdir()
    (directory / "f").write_bytes(BEFORE)
    return directory


async def _late_second_open(kernel: PlayedKernel, one: Asker, other: Asker, third: Asker | None) -> None:
    """`other` is between the two halves of its open when `one` closes; `third` comes right after that close."""
    await kernel.sent_round(other, b"f", os.O_RDWR)
    first = await kernel.open_to_write(one, b"f")
    late = await kernel.lookup(other, b"f")  # shows the session of `one`, of the same process
    await kernel.write(first, 0, b"1111")
    await kernel.close(first)

    async def write_third(asker: Asker) -> None:
        handle = await kernel.open_to_write(asker, b"f")
        await kernel.write(handle, 8, b"3333")
        await kernel.close(handle)

    async with trio.open_nursery() as nursery:
        if third is not None:
            nursery.start_soon(write_third, third)
            await wait_all_tasks_blocked()
        second = await kernel.open(other, late, os.O_RDWR)
        await kernel.write(second, 4, b"2222")
        await wait_all_tasks_blocked()
        await kernel.close(second)


@pytest.mark.parametrize("with_third", [False, True])
def test_W4_second_open_after_the_family_closed(source: Path, with_third: bool) -> None:
    """A thread is between the two halves of its open while another closes the session that it was shown."""

    async def play() -> None:
        async with played(source) as kernel:
            with family(3) as child:
                one, other, third = child.threads
                await _late_second_open(kernel, one, other, third if with_third else None)
            assert not kernel.filesystem.sessions.open

    trio.run(play)
    expected = b"11112222" + (b"3333" if with_third else b"----") + BEFORE[12:]
    assert (source / "f").read_bytes() == expected
    assert list((source / ".lockfs" / "orphans").iterdir()) == []


async def _first_writes(kernel: PlayedKernel, one: Asker, other: Asker) -> InodeT:
    """`one` has written and closed; what it wrote waits for `other`, who was shown the session. Its inode."""
    first = await kernel.open_to_write(one, b"f")
    late = await kernel.lookup(other, b"f")
    await kernel.write(first, 0, b"1111")
    await kernel.close(first)
    return late


def test_W3_the_expected_thread_is_gone(source: Path) -> None:
    """It was killed between the halves of its open: who looks at the path waits until that is noticed, no longer."""

    async def play() -> None:
        async with played(source) as kernel:
            with family(2) as child:
                one, other = child.threads
                await kernel.sent_round(other, b"f", os.O_RDWR)
                await _first_writes(kernel, one, other)
                child.end_thread(1)
                with trio.fail_after(5.0):
                    with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):  # the kernel looks once more
                        await kernel.open(STRANGER, await kernel.lookup(STRANGER, b"f"), os.O_RDONLY)
                    handle = await kernel.open(STRANGER, await kernel.lookup(STRANGER, b"f"), os.O_RDONLY)
                assert (await kernel.read(handle, 0, 100))[:4] == b"1111"
                await kernel.release(handle)
            assert not kernel.filesystem.sessions.open

    trio.run(play)
    assert (source / "f").read_bytes() == b"1111" + BEFORE[4:]


@pytest.mark.parametrize("who", ["family", "stranger"])
def test_Q2_lookups_go_on_while_a_thread_is_expected(source: Path, who: str) -> None:
    """The kernel lets the expected thread into the directory only when the lookup of the one before it is answered."""
    seen: list[bytes] = []

    async def read(kernel: PlayedKernel, asker: Asker, inode: InodeT) -> None:
        handle = await kernel.open(asker, inode, os.O_RDONLY)
        seen.append(await kernel.read(handle, 0, 8))
        await kernel.release(handle)

    async def play() -> None:
        async with played(source) as kernel:
            with family(3) as child:
                one, other, third = child.threads
                await kernel.sent_round(other, b"f", os.O_RDWR)
                late = await _first_writes(kernel, one, other)
                asker = STRANGER if who == "stranger" else third
                with trio.fail_after(2.0):
                    inode = await kernel.lookup(asker, b"f")
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(read, kernel, asker, inode)
                    await wait_all_tasks_blocked()
                    second = await kernel.open(other, late, os.O_RDWR)
                await kernel.write(second, 4, b"2222")
                await kernel.close(second)
            assert not kernel.filesystem.sessions.open

    trio.run(play)
    assert seen == [BEFORE[:8] if who == "stranger" else b"1111----"]
    assert (source / "f").read_bytes() == b"11112222" + BEFORE[8:]


def test_W1_the_next_writer_waits_for_the_expected_thread(source: Path) -> None:
    """The pen is not free while the family's session goes on with a thread that is expected."""
    done: list[str] = []

    async def stranger_writes(kernel: PlayedKernel) -> None:
        handle = await kernel.open_to_write(STRANGER, b"f")
        done.append("stranger")
        await kernel.write(handle, 2, b"####")
        await kernel.close(handle)

    async def play() -> None:
        async with played(source) as kernel:
            with family(2) as child:
                one, other = child.threads
                await kernel.sent_round(other, b"f", os.O_RDWR)
                first = await kernel.open_to_write(one, b"f")
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(stranger_writes, kernel)
                    await wait_all_tasks_blocked()
                    late = await kernel.lookup(other, b"f")
                    await kernel.write(first, 0, b"1111")
                    await kernel.close(first)
                    await wait_all_tasks_blocked()
                    second = await kernel.open(other, late, os.O_RDWR)
                    await kernel.write(second, 4, b"2222")
                    await wait_all_tasks_blocked()
                    done.append("family")
                    await kernel.close(second)

    trio.run(play)
    assert done == ["family", "stranger"]
    assert (source / "f").read_bytes() == b"11####22" + BEFORE[8:]


def test_Q1_pens_are_given_back_when_two_threads_are_expected(source: Path) -> None:
    """The first comes and closes before the second comes: the session lingers twice."""

    async def play() -> None:
        async with played(source) as kernel:
            with family(3) as child:
                one, other, third = child.threads
                await kernel.sent_round(other, b"f", os.O_RDWR)
                await kernel.sent_round(third, b"f", os.O_RDWR)
                first = await kernel.open_to_write(one, b"f")
                late = [await kernel.lookup(other, b"f"), await kernel.lookup(third, b"f")]
                await kernel.close(first)
                for thread, inode in zip((other, third), late, strict=True):
                    handle = await kernel.open(thread, inode, os.O_RDWR)
                    await kernel.write(handle, 4, b"2222")
                    await kernel.close(handle)
            assert not list(kernel.filesystem.state.arbiter.holds())
            assert not list(kernel.filesystem.state.slots)

    trio.run(play)
    assert (source / "f").read_bytes() == BEFORE[:4] + b"2222" + BEFORE[8:]


def test_W1_one_session_for_threads_that_waited_together(source: Path) -> None:
    """They get the pen in one moment, and go on in any order: whoever comes first begins, the others join."""

    async def write(kernel: PlayedKernel, thread: Asker, number: int, ready: trio.Event) -> None:
        handle = await kernel.open_to_write(thread, b"f")
        await kernel.write(handle, 4 * number, b"%d" % number * 4)
        await ready.wait()
        await kernel.close(handle)

    async def play() -> None:
        async with played(source) as kernel:
            state = kernel.filesystem.state
            acquire = state.acquire

            async def owner_goes_on_last(*args: Any, **options: Any) -> Granted:
                granted = await acquire(*args, **options)
                if not granted.joined:
                    await wait_all_tasks_blocked()
                return granted

            state.acquire = owner_goes_on_last  # type: ignore[method-assign]
            with family(6) as child, family(1) as others:
                held = await kernel.open_to_write(others.threads[0], b"f")
                ready = trio.Event()
                async with trio.open_nursery() as nursery:
                    for number, thread in enumerate(child.threads):
                        nursery.start_soon(write, kernel, thread, number, ready)
                    await wait_all_tasks_blocked()
                    await kernel.close(held)
                    await wait_all_tasks_blocked(0.05)  # the owner's own such wait is over before
                    assert len(kernel.filesystem.sessions.open) == 1
                    ready.set()

    trio.run(play)
    assert (source / "f").read_bytes() == b"000011112222333344445555" + BEFORE[24:]


def test_W1_truncate_after_the_family_closed(source: Path) -> None:
    """The same with truncate(2), which is sent round like an open."""

    async def play() -> None:
        async with played(source) as kernel:
            with family(2) as child:
                one, other = child.threads
                inode = await kernel.lookup(other, b"f")
                with pytest.raises(OSError, match="Stale"):
                    await kernel.truncate(other, inode, 8)
                late = await _first_writes(kernel, one, other)
                assert (source / "f").read_bytes() == BEFORE  # it goes on
                await kernel.truncate(other, late, 8)
            assert not kernel.filesystem.sessions.open

    trio.run(play)
    assert (source / "f").read_bytes() == b"1111----"


def test_W1_truncate_beside_an_open_editor(source: Path) -> None:
    """truncate(2) by one thread begins a session that another thread of the process joins: its writes count, too."""
    resized = trio.Event()

    async def play() -> None:
        async with played(source, durability="commit") as kernel:
            sync = kernel.filesystem.sessions.sync_before_commit

            async def slow_sync(session: Session) -> None:
                resized.set()
                await joined.wait()
                await sync(session)

            joined = trio.Event()
            kernel.filesystem.sessions.sync_before_commit = slow_sync  # type: ignore[method-assign]
            with family(2) as child:
                one, other = child.threads
                with pytest.raises(OSError, match="Stale"):
                    await kernel.truncate(one, await kernel.lookup(one, b"f"), 8)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(kernel.truncate, one, await kernel.lookup(one, b"f"), 8)
                    await resized.wait()
                    handle = await kernel.open_to_write(other, b"f")
                    joined.set()
                await kernel.write(handle, 0, b"1111")
                assert (source / "f").read_bytes() == BEFORE
                await kernel.close(handle)
            assert not kernel.filesystem.sessions.open

    trio.run(play)
    assert (source / "f").read_bytes() == b"1111----"


def test_N1_release_without_flush_publishes_nothing(source: Path) -> None:
    """The kernel releases an open whose process was killed before it got its descriptor: nobody wrote an empty file."""

    async def play() -> None:
        async with played(source) as kernel:
            with family(1) as child:
                handle = await kernel.open_to_write(child.threads[0], b"f", os.O_WRONLY | os.O_TRUNC)
                await kernel.release(handle)
            assert not kernel.filesystem.sessions.open

    trio.run(play)
    assert (source / "f").read_bytes() == BEFORE


def test_Q1_a_file_that_is_written_takes_the_place_of_the_one_to_open(source: Path) -> None:
    """It is renamed there between the two halves of a stranger's open: the stranger waits for its writer."""
    (source / "g").write_bytes(b"replaced")

    async def stranger_writes(kernel: PlayedKernel, inode: InodeT) -> None:
        handle = await kernel.open(STRANGER, inode, os.O_RDWR)
        await kernel.write(handle, 4, b"2222")
        await kernel.close(handle)

    async def play() -> None:
        async with played(source) as kernel:
            with family(1) as child:
                await kernel.sent_round(STRANGER, b"g", os.O_RDWR)
                late = await kernel.lookup(STRANGER, b"g")
                handle = await kernel.open_to_write(child.threads[0], b"f")
                await kernel.rename(child.threads[0], b"f", b"g")
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(stranger_writes, kernel, late)
                    await wait_all_tasks_blocked()
                    await kernel.write(handle, 0, b"1111")
                    await kernel.close(handle)
            assert not kernel.filesystem.sessions.open
            assert not list(kernel.filesystem.state.slots)

    trio.run(play)
    assert (source / "g").read_bytes() == b"11112222" + BEFORE[8:]
    assert not (source / "f").exists()


def test_Q1_open_of_a_file_that_lost_two_names_meanwhile(source: Path) -> None:
    """Walked to by a name that a commit took, while its other name was removed: the open is for what stands there."""
    (source / "link").hardlink_to(source / "f")

    async def play() -> None:
        async with played(source) as kernel:
            with family(1) as child:
                inode = await kernel.lookup(STRANGER, b"f")
                assert inode == await kernel.lookup(STRANGER, b"link")
                handle = await kernel.open_to_write(child.threads[0], b"f")
                await kernel.write(handle, 0, b"1111")
                await kernel.close(handle)
                await kernel.unlink(STRANGER, b"link")
                with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
                    await kernel.open(STRANGER, inode, os.O_RDWR)
                again = await kernel.open(STRANGER, await kernel.lookup(STRANGER, b"f"), os.O_RDWR)
                await kernel.write(again, 4, b"2222")
                await kernel.close(again)

    trio.run(play)
    assert (source / "f").read_bytes() == b"11112222" + BEFORE[8:]


def test_W1_the_next_open_is_not_taken_for_one_that_failed(source: Path) -> None:
    """The file was removed between the two halves of an open. What the thread opens next is another file."""
    (source / "log").write_bytes(b"one\n")

    async def play() -> None:
        async with played(source) as kernel:
            with family(1) as child:
                one = child.threads[0]
                await kernel.sent_round(one, b"f", os.O_RDWR)
                await kernel.unlink(STRANGER, b"f")
                with pytest.raises(FileNotFoundError):
                    await kernel.lookup(one, b"f")
                handle = await kernel.open_to_write(one, b"log", os.O_WRONLY | os.O_APPEND)
                await kernel.write(handle, 0, b"two\n")
                await kernel.close(handle)

    trio.run(play)
    assert (source / "log").read_bytes() == b"one\ntwo\n"
    assert not (source / "f").exists()


def test_A6_append_of_the_family_while_its_editor_closes(source: Path) -> None:
    """The append needs the editor's copy, which takes a while; the editor, who has changed nothing, closes."""

    async def play() -> None:
        async with played(source) as kernel:
            sessions = kernel.filesystem.sessions
            make_copy, copying, closed = sessions.make_copy, trio.Event(), trio.Event()

            async def slow_copy(session: Session, length: int | None = None) -> None:
                copying.set()
                await closed.wait()
                await make_copy(session, length)

            sessions.make_copy = slow_copy  # type: ignore[method-assign]
            with family(1) as child:
                one = child.threads[0]
                append = await kernel.open_to_write(one, b"f", os.O_WRONLY | os.O_APPEND)
                editor = await kernel.open_to_write(one, b"f")
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(kernel.write, append, 0, b"line\n")
                    await copying.wait()
                    await kernel.close(editor)
                    closed.set()
                await kernel.close(append)
            assert not sessions.open

    trio.run(play)
    assert (source / "f").read_bytes() == BEFORE + b"line\n"
