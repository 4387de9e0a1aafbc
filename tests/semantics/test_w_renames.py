"""W7 (its plain part) and W8: names change, vanish and are claimed while sessions are open."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest

from tests.support import programs
from tests.support.rename import RENAME_EXCHANGE, RENAME_NOREPLACE, renameat2
from tests.support.targets import Place
from tests.support.waiting import wait_until
from tests.support.worker import Worker

NewWorker = Callable[..., Worker]


@pytest.mark.parametrize("who", ["writer", "stranger"])
@pytest.mark.parametrize("mode", ["w", "r+"])
def test_W7_session_follows_a_rename(mount: Place, worker: NewWorker, mode: str, who: str) -> None:
    old, new = mount.mnt / "old", mount.mnt / "new"
    old.write_bytes(b"version 1")
    writer, stranger = worker(), worker()
    fd = writer.open(old, mode)
    writer.write(fd, b"VERSION")
    (writer if who == "writer" else stranger).do("rename", old, new)
    assert not old.exists()
    assert new.read_bytes() == b"version 1"
    writer.write(fd, b" 2")
    writer.close(fd)
    assert os.listdir(mount.mnt) == ["new"]
    assert new.read_bytes() == b"VERSION 2"


def test_W7_session_follows_a_rename_of_its_directory(mount: Place, worker: NewWorker) -> None:
    (mount.mnt / "a").mkdir()
    (mount.mnt / "a" / "f").write_bytes(b"1")
    writer, stranger = worker(), worker()
    fd = writer.open(mount.mnt / "a" / "f", "w")
    writer.write(fd, b"2")
    stranger.do("rename", mount.mnt / "a", mount.mnt / "b")
    writer.close(fd)
    assert os.listdir(mount.mnt) == ["b"]
    assert (mount.mnt / "b" / "f").read_bytes() == b"2"


def test_W7_temporary_file_renamed_into_place_before_its_close(mount: Place, worker: NewWorker) -> None:
    final = mount.mnt / "final"
    final.write_bytes(b"old")
    writer = worker()
    fd = writer.open(mount.mnt / "final.tmp", "x")
    writer.write(fd, b"new ")
    writer.do("rename", mount.mnt / "final.tmp", final)
    writer.write(fd, b"content")
    writer.close(fd)
    assert os.listdir(mount.mnt) == ["final"]
    assert final.read_bytes() == b"new content"


def test_W7_unlink_by_a_stranger_takes_the_old_version_and_commit_creates_it_anew(
    mount: Place, worker: NewWorker
) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"old")
    writer, stranger = worker(), worker()
    fd = writer.open(path, "w")
    writer.write(fd, b"new")
    stranger.do("unlink", path)
    assert not path.exists()
    writer.close(fd)
    assert path.read_bytes() == b"new"


def test_W7_unlink_by_the_writer_itself_is_an_unlinked_open_file(mount: Place, worker: NewWorker) -> None:
    """What a temporary file does: create, unlink, use, close; it must not come back."""
    path = mount.mnt / "f"
    writer = worker()
    fd = writer.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    writer.do("unlink", path)
    assert writer.write(fd, b"scratch") == 7
    assert writer.do("pread", fd, 10, 0) == b"scratch"
    assert writer.fstat(fd).st_nlink == 0
    writer.close(fd)
    assert os.listdir(mount.mnt) == []


@pytest.mark.parametrize("exists", [True, False])
def test_W7_rmdir_of_a_directory_that_a_session_commits_into(mount: Place, worker: NewWorker, exists: bool) -> None:
    folder = mount.mnt / "d"
    folder.mkdir()
    if exists:
        (folder / "f").write_bytes(b"old")
    writer, stranger = worker(), worker()
    fd = writer.open(folder / "f", "w")
    writer.write(fd, b"new")
    if exists:
        stranger.do("unlink", folder / "f")
    assert stranger.begin("rmdir", folder).error() == "ENOTEMPTY"
    writer.close(fd)
    assert (folder / "f").read_bytes() == b"new"


def test_W7_a_writer_whose_file_a_stranger_removed_has_it_all_the_same(mount: Place, worker: NewWorker) -> None:
    """It lists its file, may change its mode, and nobody takes the name that it will commit to (F2, W5, W8)."""
    path, other = mount.mnt / "f", mount.mnt / "other"
    path.write_bytes(b"old")
    other.write_bytes(b"other")
    writer, stranger = worker(), worker()
    fd = writer.open(path, "r+")
    writer.write(fd, b"new")
    stranger.do("unlink", path)
    assert sorted(writer.do("listdir", mount.mnt)) == ["f", "other"]
    assert stranger.do("listdir", mount.mnt) == ["other"]
    for command in (("mkdir", path), ("symlink", "x", path), ("link", other, path), ("renameat2", other, path, 1)):
        assert stranger.begin(*command).error() == "EEXIST", command
    writer.do("fchmod", fd, 0o640)
    writer.close(fd)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("turned", [False, True])
def test_W7_session_follows_an_exchange(mount: Place, worker: NewWorker, turned: bool) -> None:
    one, other = mount.mnt / "one", mount.mnt / "other"
    one.write_bytes(b"one 1")
    other.write_bytes(b"other 1")
    writer, stranger = worker(), worker()
    fd = writer.open(one, "w")
    writer.write(fd, b"one 2")
    stranger.do("renameat2", *((other, one) if turned else (one, other)), RENAME_EXCHANGE)
    assert (one.read_bytes(), other.read_bytes()) == (b"other 1", b"one 1")
    writer.close(fd)
    assert (one.read_bytes(), other.read_bytes()) == (b"other 1", b"one 2")


@pytest.mark.parametrize("command", ["open", "truncate"])
def test_W3_what_a_waiter_writes_after_a_rename_over_its_file_is_seen(
    mount: Place, worker: NewWorker, command: str
) -> None:
    """The kernel moves the entry that it has cached, and would show the renamed file for a second more."""
    path, other = mount.mnt / "f", mount.mnt / "other"
    path.write_bytes(b"old")
    other.write_bytes(b"other")
    holder, waiter = worker(), worker()
    holder.open(path, "w")
    pending = waiter.begin_open(path, "w") if command == "open" else waiter.begin("truncate", path, 3)
    mount.wait_for_waiters(waiter.pid)
    holder.do("rename", other, path)
    if command == "open":
        fd = pending.result()
        waiter.write(fd, b"new")
        waiter.close(fd)
    else:
        pending.result()
    assert path.read_bytes() == (b"new" if command == "open" else b"oth")


def test_W7_rename_of_one_link_over_another_does_nothing(mount: Place, worker: NewWorker) -> None:
    """As rename(2) says, and whoever writes one of them goes on."""
    one, other = mount.mnt / "one", mount.mnt / "other"
    one.write_bytes(b"old")
    other.hardlink_to(one)
    writer, stranger = worker(), worker()
    fd = writer.open(other, "w")
    writer.write(fd, b"new")
    stranger.do("rename", one, other)
    writer.do("rename", other, one)
    writer.close(fd)
    assert (one.read_bytes(), other.read_bytes()) == (b"old", b"new")


def test_W8_exclusive_create_has_one_winner_at_once(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "claim.dat"
    workers = [worker() for _ in range(20)]
    pendings = [one.begin_open(path, "x") for one in workers]
    errors = [pending.error(5.0) for pending in pendings]
    assert errors.count(None) == 1, errors
    assert errors.count("EEXIST") == 19, errors
    winner = workers[errors.index(None)]
    winner.write(pendings[errors.index(None)].result(), b"winner")
    assert winner.exit() == 0
    assert path.read_bytes() == b"winner"


def test_W8_uncommitted_file_is_in_the_way_at_once(mount: Place, worker: NewWorker) -> None:
    """Whatever claims a name meets EEXIST while the winner still writes, and never waits."""
    path, other = mount.mnt / "claim.dat", mount.mnt / "other"
    other.write_bytes(b"other")
    winner, loser = worker(), worker()
    fd = winner.open(path, "x")
    for command in (
        ("open", path, os.O_WRONLY | os.O_CREAT | os.O_EXCL),
        ("mkdir", path),
        ("symlink", "x", path),
        ("link", other, path),
        ("mkfifo", path),
    ):
        answer = loser.begin(*command).answer(5.0)
        assert errno.errorcode.get(answer.get("errno", 0)) == "EEXIST", command
        assert answer["took_s"] < 1.0, command
    with pytest.raises(FileExistsError):
        renameat2(other, path, RENAME_NOREPLACE)
    winner.close(fd)
    assert other.read_bytes() == b"other"


def test_W8_claim_by_rename_has_one_winner(mount: Place, worker: NewWorker) -> None:
    (mount.mnt / "job").write_bytes(b"work")
    workers = [worker() for _ in range(10)]
    pendings = [one.begin("rename", mount.mnt / "job", mount.mnt / f"job.{i}") for i, one in enumerate(workers)]
    errors = [pending.error(5.0) for pending in pendings]
    assert (errors.count(None), errors.count("ENOENT")) == (1, 9), errors


def test_W8_mkdir_as_a_lock(mount: Place, worker: NewWorker) -> None:
    workers = [worker() for _ in range(10)]
    pendings = [one.begin("mkdir", mount.mnt / "lock.d") for one in workers]
    errors = [pending.error(5.0) for pending in pendings]
    assert (errors.count(None), errors.count("EEXIST")) == (1, 9), errors


def test_W8_noclobber_of_twenty_shells(mount: Place) -> None:
    path = mount.mnt / "claim"
    script = 'set -o noclobber; if { echo "$1" > "$0"; } 2> /dev/null; then exit 0; else exit 9; fi'
    shells = [programs.start(["sh", "-c", script, path, str(number)]) for number in range(20)]
    statuses = programs.finish(shells, ok=False)
    assert statuses.count(0) == 1, statuses
    assert path.read_text() == f"{statuses.index(0)}\n"


def test_W8_lock_file_protocol_lets_everybody_through_once(mount: Place, worker: NewWorker) -> None:
    """O_EXCL create, work, unlink: the classic lock file, with a counter inside."""
    script = r"""
        for _ in 1 2 3 4 5; do
            until mkdir "$0/l" 2> /dev/null; do sleep 0.01; done
            read n < "$0/counter"; echo $((n + 1)) > "$0/counter"
            rmdir "$0/l"
        done
    """
    (mount.mnt / "counter").write_text("0\n")
    programs.finish([programs.start(["sh", "-c", script, mount.mnt]) for _ in range(4)])
    wait_until(lambda: (mount.mnt / "counter").read_text() == "20\n", 1.0, "twenty increments")
