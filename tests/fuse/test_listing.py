"""Replies to readdir, with the kernel played: what the kernel is told, and what a listing is while others go on."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pyfuse3
import pytest
import trio
from pyfuse3 import EntryAttributes, FileHandleT, ReaddirToken

from lockfs.fuse.listing import NameReply
from lockfs.runtime import directories
from tests.fuse.played_kernel import ROOT, Asker, PlayedKernel, played

DOTS = (b".", b"..")


@dataclass
class Reply:
    """A reply to readdir with room for so many entries: name, node number, how long the name may be kept, position."""

    room: int = 1000
    entries: list[tuple[bytes, int, float, int]] = field(default_factory=list)

    def add(self, name: bytes, entry: EntryAttributes, position: int) -> bool:
        if len(self.entries) == self.room:
            return False
        self.entries.append((name, int(entry.st_ino), entry.entry_timeout, position))
        return True

    @property
    def names(self) -> list[bytes]:
        return [name for name, *_ in self.entries if name not in DOTS]


@pytest.fixture(autouse=True)
def replies(monkeypatch: pytest.MonkeyPatch) -> None:
    def reply(token: ReaddirToken, name: bytes, entry: EntryAttributes, position: int) -> bool:
        return cast(Reply, token).add(name, entry, position)

    monkeypatch.setattr("lockfs.fuse.listing.readdir_reply", reply)
    monkeypatch.setattr(pyfuse3, "readdir_reply", reply)


def source_with(tmp_path: Path, *names: str) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    for name in names:
        (source / name).write_text("version 1")
    return source


async def opened(kernel: PlayedKernel) -> FileHandleT:
    return await kernel.operations.opendir(ROOT, Asker(os.getpid()).context)


async def read(kernel: PlayedKernel, handle: FileHandleT, start: int = 0, room: int = 1000) -> Reply:
    reply = Reply(room)
    await kernel.operations.readdir(handle, start, cast(Any, reply))
    return reply


def in_play(test: Any, source: Path) -> None:
    async def main() -> None:
        with trio.fail_after(30):
            async with played(source) as kernel:
                await test(kernel)

    trio.run(main)


def test_pyfuse3_lets_us_answer_names_only() -> None:
    """If this fails, listings still work, but slowly: see lockfs/fuse/listing.py."""
    assert NameReply().works


@pytest.mark.parametrize("names_only", [True, False])
def test_W3_a_listing_gives_the_kernel_no_name_of_a_file_to_keep(tmp_path: Path, names_only: bool) -> None:
    """The kernel may take a reply in late, after a writer's lookup: a name that it keeps would lead to the old version
    (W3). With names only there is no node at all, and so no reference to count."""

    async def test(kernel: PlayedKernel) -> None:
        kernel.operations._names.works = names_only
        (kernel.filesystem.state.settings.source / "folder").mkdir()
        nodes = len(kernel.filesystem.state.nodes)
        reply = await read(kernel, await opened(kernel))
        assert sorted(reply.names) == [b"f", b"folder", b"g"]
        for name, node_number, keep_s, _ in reply.entries:
            if name in (b"f", b"g"):
                assert keep_s == 0
            assert not (names_only and node_number)
        assert len(kernel.filesystem.state.nodes) == nodes + (0 if names_only else 3)

    in_play(test, source_with(tmp_path, "f", "g"))


@pytest.mark.parametrize("names_only", [True, False])
def test_positions_are_those_of_the_listing(tmp_path: Path, names_only: bool) -> None:
    async def test(kernel: PlayedKernel) -> None:
        kernel.operations._names.works = names_only
        handle = await opened(kernel)
        replies = [await read(kernel, handle)]
        everything = replies[0].entries
        assert len(everything) == 12
        for index, (*_, position) in enumerate(everything):
            reply = await read(kernel, handle, position, 4)
            replies.append(reply)
            assert [entry[0] for entry in reply.entries] == [entry[0] for entry in everything[index + 1 : index + 5]]
        given = Counter(node_number for reply in replies for name, node_number, *_ in reply.entries if name not in DOTS)
        for node_number, count in given.items():
            assert node_number == 0 or kernel.filesystem.state.nodes.get(node_number).nlookup == count
        for nonsense in (1, 7, 13, 1 << 40, -1, everything[-1][-1] + 1):
            await read(kernel, handle, nonsense)  # harmless
        await kernel.operations.releasedir(handle)

    in_play(test, source_with(tmp_path, *map(str, range(10))))


def test_W2_a_commit_during_a_listing_neither_repeats_nor_loses_the_file(tmp_path: Path) -> None:
    """A commit is a rename; on tmpfs and btrfs, for example, it puts the name at the directory's end."""
    writer = Asker(os.getpid())

    async def test(kernel: PlayedKernel) -> None:
        handle = await opened(kernel)
        first = await read(kernel, handle, 0, 6)
        names = [b"%d" % number for number in range(10)]
        for name in names:
            file = await kernel.open_to_write(writer, name, os.O_WRONLY | os.O_TRUNC)
            await kernel.write(file, 0, b"version 2")
            await kernel.close(file)
        second = await read(kernel, handle, first.entries[-1][-1])
        assert sorted(first.names + second.names) == names

    in_play(test, source_with(tmp_path, *map(str, range(10))))


def test_Q2_a_large_directory_is_read_beside_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a file that is committed meanwhile is listed once, wherever the filesystem puts its name."""
    monkeypatch.setattr(directories, "_IN_LOOP", 128)
    source = source_with(tmp_path, *map(str, range(100)))
    elsewhere = trio.Event()
    go_on = trio.Event()

    async def test(kernel: PlayedKernel) -> None:
        state = kernel.filesystem.state
        in_thread = state.in_thread

        async def slowly(function: Any, *arguments: Any) -> Any:
            if function is directories._read_all:
                elsewhere.set()
                await go_on.wait()
                part = await in_thread(function, *arguments)
                return part + directories._record(b"7", 1, 0o100000)  # as if it had come again at the end
            return await in_thread(function, *arguments)

        monkeypatch.setattr(state, "in_thread", slowly)
        handle = await opened(kernel)
        found: list[bytes] = []

        async def list_all() -> None:
            found.extend((await read(kernel, handle)).names)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(list_all)
            await elsewhere.wait()
            file = await kernel.open_to_write(Asker(os.getpid()), b"7", os.O_WRONLY | os.O_TRUNC)
            await kernel.write(file, 0, b"version 2")
            await kernel.close(file)
            go_on.set()
        assert sorted(found) == sorted(b"%d" % number for number in range(100))

    in_play(test, source)
