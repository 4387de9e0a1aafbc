"""The staging area: publish, keep, sweep; copies; appends that are whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lockfs.core.errors import LockfsError
from lockfs.store import labels
from lockfs.store.entries import RENAME_EXCHANGE, RENAME_NOREPLACE, names_in, rename
from lockfs.store.journal import Journal, Writer
from lockfs.store.layout import Layout, open_layout
from lockfs.store.orphans import Note, Orphans
from lockfs.store.staging import Staging, append_all, copy_content


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    made = open_layout(str(tmp_path), "/mnt/somewhere")
    yield made
    made.close()


def test_C3_hidden_directory_is_private(layout: Layout, tmp_path: Path) -> None:
    assert (tmp_path / ".lockfs").stat().st_mode & 0o777 == 0o700


def test_M1_second_daemon_is_refused_and_told_who_is_first(layout: Layout, tmp_path: Path) -> None:
    with pytest.raises(LockfsError, match=rf"/mnt/somewhere by pid {os.getpid()} since 20"):
        open_layout(str(tmp_path), "/mnt/elsewhere")


def test_M1_directory_is_free_again_after_close(tmp_path: Path) -> None:
    open_layout(str(tmp_path), "/a").close()
    open_layout(str(tmp_path), "/b").close()


def test_layout_says_what_to_do_about_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / ".lockfs").write_text("not a directory")
    with pytest.raises(LockfsError, match="must be a directory that you may write to"):
        open_layout(str(tmp_path), "/a")


def test_W3_publish_replaces_and_keeps_the_inode_number(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old")
    staging = Staging(layout.staging_fd)
    staged = staging.take()
    os.write(staged.fd, b"new")
    staging.publish(staged, layout.root_fd, b"f")
    assert (tmp_path / "f").read_text() == "new"
    assert (tmp_path / "f").stat().st_ino == staged.ino
    assert staging.names() == []
    os.close(staged.fd)


def test_staged_files_are_used_again_and_the_pool_is_emptied(layout: Layout) -> None:
    staging = Staging(layout.staging_fd)
    first = staging.take()
    staging.give_back(first)
    assert staging.take() is first
    staging.give_back(first)
    staging.close()
    assert staging.names() == []


@pytest.mark.parametrize("length", [None, 0, 1, 5_000_000, 9_000_000])
def test_W4_copy_keeps_content_and_holes(tmp_path: Path, length: int | None) -> None:
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.write(b"head")
        file.seek(4_000_000)
        file.write(os.urandom(5000))
        file.truncate(9_000_000)
    with source.open("rb") as old, (tmp_path / "target").open("wb+") as new:
        copy_content(old.fileno(), new.fileno(), length)
        new.seek(0)
        assert new.read() == source.read_bytes()[:length]
        assert os.fstat(new.fileno()).st_blocks <= os.fstat(old.fileno()).st_blocks


def test_N4_append_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    fd = os.open(path, os.O_RDWR | os.O_APPEND)
    real, calls = os.write, 0

    def short_then_full(target: int, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            return real(target, bytes(data)[:2])
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "write", short_then_full)
    with pytest.raises(OSError, match="full"):
        append_all(fd, b"two\n")
    monkeypatch.undo()
    os.close(fd)
    assert path.read_bytes() == b"one\n"


def test_N2_orphan_has_its_bytes_and_a_note(layout: Layout, tmp_path: Path) -> None:
    staging, orphans = Staging(layout.staging_fd), Orphans(layout.orphans_fd, layout.staging_fd)
    staged = staging.take()
    os.write(staged.fd, b"half")
    ident = orphans.keep_staged(staged.name, Note(Writer("a/\udcff", 7, "sh -c x"), "killed"))
    os.close(staged.fd)
    folder = tmp_path / ".lockfs" / "orphans"
    assert (folder / f"{ident}.data").read_bytes() == b"half"
    note = json.loads((folder / f"{ident}.json").read_text())
    assert (note["path"], note["pid"], note["reason"], note["size"]) == ("a/\udcff", 7, "killed", 4)


def test_N3_sweep_keeps_bytes_with_their_path_and_drops_empty_files(layout: Layout, tmp_path: Path) -> None:
    journal, staging = Journal(layout.hidden_fd), Staging(layout.staging_fd)
    full, empty = staging.take(), staging.take()
    os.write(full.fd, b"half")
    journal.begin(full.name, Writer("dir/f", 9, "vi"))
    os.close(full.fd)
    os.close(empty.fd)
    journal.close()

    after = Journal(layout.hidden_fd)
    orphans = Orphans(layout.orphans_fd, layout.staging_fd)
    (ident,) = orphans.sweep(after.recorded())
    after.clear()
    assert json.loads((tmp_path / ".lockfs" / "orphans" / f"{ident}.json").read_text())["path"] == "dir/f"
    assert staging.names() == []
    assert after.recorded() == {}
    after.close()


def test_names_are_those_of_now(tmp_path: Path) -> None:
    """Not those at the time when the directory was opened (btrfs)."""
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    (tmp_path / "made later").touch()
    assert names_in(fd) == [b"made later"]
    (tmp_path / "made later").unlink()
    (tmp_path / "made last").touch()
    assert names_in(fd) == [b"made last"]
    os.close(fd)


def test_journal_passes_over_a_half_written_line(layout: Layout, tmp_path: Path) -> None:
    journal = Journal(layout.hidden_fd)
    journal.begin(b"1-1", Writer("f", 1, ""))
    journal.close()
    with (tmp_path / ".lockfs" / "sessions.jsonl").open("ab") as file:
        file.write(b'{"staged": "1-2", "pa')
    again = Journal(layout.hidden_fd)
    assert list(again.recorded()) == ["1-1"]
    again.close()


def test_journal_is_bounded_and_keeps_open_sessions(layout: Layout, tmp_path: Path) -> None:
    journal = Journal(layout.hidden_fd)
    journal.begin(b"stays", Writer("x" * 200, 1, ""))
    for number in range(6000):
        journal.begin(b"%d" % number, Writer("y" * 200, 1, ""))
        journal.end(b"%d" % number)
    assert (tmp_path / ".lockfs" / "sessions.jsonl").stat().st_size < 2 << 20
    assert "stays" in journal.recorded()
    journal.close()


def test_journal_is_seldom_rewritten_however_many_sessions_are_open(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program may open as many files as its limits allow, and none may cost more than the one before (Q2)."""
    written: list[int] = []
    real_write, real_pwrite = os.write, os.pwrite

    def write(fd: int, data: bytes) -> int:
        written.append(len(data))
        return real_write(fd, data)

    def pwrite(fd: int, data: bytes, offset: int) -> int:
        written.append(len(data))
        return real_pwrite(fd, data, offset)

    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(os, "pwrite", pwrite)
    journal = Journal(layout.hidden_fd)
    for number in range(3000):
        journal.begin(b"%d" % number, Writer("y" * 2000, 1, ""))
    monkeypatch.undo()
    assert sum(written) < 5 * (tmp_path / ".lockfs" / "sessions.jsonl").stat().st_size
    journal.close()

    after = Journal(layout.hidden_fd)
    assert len(after.recorded()) == 3000
    after.close()


def test_N4_a_full_disk_does_not_keep_sessions_from_beginning(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """`> big` must work on a full disk; the sessions that are not recorded leave the others' lines whole."""
    room = [30]

    def write(fd: int, data: bytes) -> int:
        if room and room[0] == 0:
            raise OSError(errno.ENOSPC, "full")
        cut = min(len(data), room.pop()) if room else len(data)
        room.extend([0] if cut < len(data) else [])
        return real_write(fd, data[:cut])

    real_write = os.write
    monkeypatch.setattr(os, "write", write)
    journal = Journal(layout.hidden_fd)
    journal.begin(b"cut", Writer("f", 1, ""))
    journal.begin(b"lost", Writer("f", 1, ""))
    room.clear()
    journal.begin(b"whole", Writer("f", 1, ""))
    monkeypatch.undo()
    assert list(journal.recorded()) == ["whole"]
    journal.close()


def test_labels_let_a_test_put_in_a_fault(layout: Layout, tmp_path: Path) -> None:
    staging = Staging(layout.staging_fd)
    staged = staging.take()

    def fault(label: str) -> None:
        if label == "commit.rename":
            raise OSError(errno.EIO, "injected")

    labels.listen(fault)
    try:
        with pytest.raises(OSError, match="injected"):
            staging.publish(staged, layout.root_fd, b"f")
    finally:
        labels.listen(None)
    assert not (tmp_path / "f").exists()
    staging.drop(staged)


def test_rename_flags(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    with pytest.raises(FileExistsError):
        rename(layout.root_fd, b"a", layout.root_fd, b"b", RENAME_NOREPLACE)
    rename(layout.root_fd, b"a", layout.root_fd, b"b", RENAME_EXCHANGE)
    assert (tmp_path / "a").read_text() == "b"
