"""A1-A6: whole records from any number of appenders, visible at once, and none lost to a whole-file writer."""

from __future__ import annotations

import fcntl
import json
import os
import signal
from collections.abc import Callable

import pytest

from tests.support.targets import Place
from tests.support.waiting import stays, wait_until
from tests.support.worker import Worker

NewWorker = Callable[..., Worker]


def test_A1_appenders_do_not_wait_for_each_other(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    workers = [worker() for _ in range(5)]
    fds = [one.open(path, "a") for one in workers]
    for turn in range(3):
        for number, (one, fd) in enumerate(zip(workers, fds, strict=True)):
            one.write(fd, b"turn %d of %d\n" % (turn, number))
    assert path.read_bytes() == b"".join(b"turn %d of %d\n" % (t, n) for t in range(3) for n in range(5))
    for one, fd in zip(workers, fds, strict=True):
        one.close(fd)


def test_A2_record_in_pieces_is_not_torn(mount: Place, worker: NewWorker) -> None:
    """What a buffered program does: it cuts in the middle of its lines."""
    path = mount.mnt / "f"
    one, two = worker(), worker()
    a, b = one.open(path, "a"), two.open(path, "a")
    one.write(a, b"one: first half, ")
    two.write(b, b"two: line 1\ntwo: li")
    one.write(a, b"second half\none: ")
    two.write(b, b"ne 2\n")
    one.write(a, b"end\n")
    expected = b"two: line 1\none: first half, second half\ntwo: line 2\none: end\n"
    assert path.read_bytes() == expected


def test_A2_bytes_of_one_handle_keep_their_order(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    one = worker()
    fd = one.open(path, "a")
    text = b"".join(b"line %d %s\n" % (number, b"x" * (number * 7 % 300)) for number in range(500))
    for start in range(0, len(text), 137):
        one.write(fd, text[start : start + 137])
    one.close(fd)
    assert path.read_bytes() == text


def test_A3_tail_is_held_until_completed(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"0\n")
    one = worker()
    fd = one.open(path, "a")
    one.write(fd, b"1\n2")
    assert path.read_bytes() == b"0\n1\n"
    one.write(fd, b"\n")
    assert path.read_bytes() == b"0\n1\n2\n"
    one.close(fd)
    assert path.read_bytes() == b"0\n1\n2\n"


@pytest.mark.parametrize("how", ["close", "fsync", "fdatasync", "exit"])
def test_A3_tail_is_ended_by(mount: Place, worker: NewWorker, how: str) -> None:
    path = mount.mnt / "f"
    one = worker()
    fd = one.open(path, "a")
    one.write(fd, b"no newline")
    assert path.read_bytes() == b""
    if how == "exit":
        one.exit()
        wait_until(lambda: path.read_bytes() == b"no newline", what="the tail in the file")
    else:
        one.do(how, fd)
    assert path.read_bytes() == b"no newline"


def test_A3_record_with_NUL_is_binary_and_goes_out_at_once(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    one, two = worker(), worker()
    a, b = one.open(path, "a"), two.open(path, "a")
    one.write(a, b"tail")
    two.write(b, b"between\n")
    one.write(a, b"\x01\0\x02")
    assert path.read_bytes() == b"between\ntail\x01\0\x02"


def test_A3_record_longer_than_the_limit_is_written_as_it_comes(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    one = worker()
    fd = one.open(path, "a")
    for _ in range(40):
        one.write(fd, b"x" * 65536)
    assert path.stat().st_size > 1 << 20
    one.write(fd, b"\n")
    one.close(fd)
    assert path.read_bytes() == b"x" * (40 * 65536) + b"\n"


def test_A4_record_is_visible_at_once_to_an_open_reader(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"0\n")
    one, reader = worker(), worker()
    handle = reader.open(path, "r")
    assert reader.read_all(handle) == b"0\n"
    fd = one.open(path, "a")
    for number in range(1, 50):
        record = b"record %d\n" % number
        size = path.stat().st_size
        one.write(fd, record)
        assert reader.read_all(handle) == record
        assert reader.stat(path).st_size == reader.fstat(handle).st_size == size + len(record)
    one.close(fd)


def test_A4_record_is_visible_at_once_by_another_name(mount: Place, worker: NewWorker) -> None:
    path, other = mount.mnt / "f", mount.mnt / "other"
    path.write_bytes(b"old\n")
    appender = worker()
    fd = appender.open(path, "a")
    (mount.source / "other").hardlink_to(mount.source / "f")
    for size in (8, 12, 16):
        appender.write(fd, b"new\n")
        assert other.stat().st_size == size
    assert len(other.read_bytes()) == 16
    appender.close(fd)


def test_A4_position_and_size_of_the_append_handle(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"0123456789\n")
    one = worker()
    fd = one.open(path, "a+")
    one.write(fd, b"abc\n")
    assert one.fstat(fd).st_size == 15
    assert one.do("lseek", fd, 0, os.SEEK_END) == 15
    assert one.do("pread", fd, 100, 0) == b"0123456789\nabc\n"


def test_A5_killed_appender_leaves_whole_records(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    before = len(mount.orphans())
    one = worker()
    fd = one.open(path, "a")
    one.write(fd, b"whole\nthe held tail")
    one.kill_and_wait(signal.SIGKILL)
    wait_until(lambda: len(mount.orphans()) > before, what="the tail in the orphans")
    assert path.read_bytes() == b"whole\n"
    assert any(orphan.read_bytes() == b"the held tail" for orphan in mount.orphans())


@pytest.mark.parametrize("mode", ["w", "r+"])
def test_A6_open_appender_does_not_keep_a_writer_out(mount: Place, worker: NewWorker, mode: str) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"old 1\n")
    appender, writer = worker(), worker()
    log = appender.open(path, "a")
    appender.write(log, b"old 2\n")
    fd = writer.begin_open(path, mode).result(5.0)
    writer.write(fd, b"NEW 1\n")
    record = appender.begin("write", log, b"record\n")
    mount.wait_for_waiters(appender.pid)
    stays(lambda: not record.done, 0.2, "the append write waiting")
    assert path.read_bytes() == b"old 1\nold 2\n"
    writer.close(fd)
    assert record.result() == 7
    kept = b"" if mode == "w" else b"old 2\n"
    assert path.read_bytes() == b"NEW 1\n" + kept + b"record\n"
    appender.write(log, b"more\n")
    assert path.read_bytes() == b"NEW 1\n" + kept + b"record\nmore\n"


def test_A6_waiting_append_goes_to_the_old_version_after_an_abort(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"old\n")
    appender, writer = worker(), worker()
    log = appender.open(path, "a")
    fd = writer.open(path, "w")
    writer.write(fd, b"half of it")
    record = appender.begin("write", log, b"record\n")
    mount.wait_for_waiters(appender.pid)
    writer.kill_and_wait(signal.SIGKILL)
    record.result()
    assert path.read_bytes() == b"old\nrecord\n"


def test_A6_held_tail_of_an_appender_lands_in_the_new_version(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"old\n")
    appender, writer = worker(), worker()
    log = appender.open(path, "a")
    appender.write(log, b"first half, ")
    writer.write_file(path, b"new\n")
    assert path.read_bytes() == b"new\n"
    appender.write(log, b"second half\n")
    assert path.read_bytes() == b"new\nfirst half, second half\n"


@pytest.mark.parametrize("exists", [True, False])
def test_A6_new_append_open_waits_while_somebody_has_the_pen(mount: Place, worker: NewWorker, exists: bool) -> None:
    path = mount.mnt / "f"
    if exists:
        path.write_bytes(b"old\n")
    appender, writer = worker(), worker()
    fd = writer.open(path, "w")
    wait = appender.begin_open(path, "a")
    mount.wait_for_waiters(appender.pid)
    writer.write(fd, b"new\n")
    writer.close(fd)
    log = wait.result()
    appender.write(log, b"record\n")
    assert path.read_bytes() == b"new\nrecord\n"


def test_A6_append_and_write_handles_of_one_family_work_as_on_a_local_file(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"old\n")
    one = worker()
    log = one.open(path, "a")
    fd = one.open(path, "w")
    one.write(fd, b"12345\n")
    one.begin("write", log, b"appended\n").result(5.0)
    one.write(fd, b"ABC")
    assert one.read_file(path) == b"12345\nABCended\n"
    assert path.read_bytes() == b"old\n"
    later = one.open(path, "a")
    one.write(later, b"later\n")
    one.close(fd)
    one.close(log)
    one.close(later)
    assert path.read_bytes() == b"12345\nABCended\nlater\n"


def test_A6_append_handle_follows_a_rename_of_its_file(mount: Place, worker: NewWorker) -> None:
    """What logrotate's `create` does: the daemon goes on writing to the renamed file."""
    path, rotated = mount.mnt / "app.txt", mount.mnt / "app.txt.1"
    appender, other = worker(), worker()
    log = appender.open(path, "a")
    appender.write(log, b"1\n")
    other.do("rename", path, rotated)
    other.write_file(path, b"")
    appender.write(log, b"2\n")
    assert (rotated.read_bytes(), path.read_bytes()) == (b"1\n2\n", b"")


def test_A6_append_handle_of_an_unlinked_file_writes_nowhere_else(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "app.txt"
    appender, other = worker(), worker()
    log = appender.open(path, "a")
    appender.write(log, b"1\n")
    other.do("unlink", path)
    appender.write(log, b"2\n")
    assert not path.exists()
    other.write_file(path, b"new\n")
    assert path.read_bytes() == b"new\n"


def test_A6_copytruncate(mount: Place, worker: NewWorker) -> None:
    path, copy = mount.mnt / "app.txt", mount.mnt / "app.txt.1"
    appender, rotator = worker(), worker()
    log = appender.open(path, "a")
    appender.write(log, b"1\n")
    rotator.run("sh", "-c", 'cp "$0" "$1" && : > "$0"', path, copy)
    appender.write(log, b"2\n")
    rotator.run("truncate", "-s", "0", path)
    appender.write(log, b"3\n")
    assert (copy.read_bytes(), path.read_bytes()) == (b"1\n", b"3\n")


def test_A6_no_acknowledged_record_is_lost_to_commits(mount: Place, worker: NewWorker) -> None:
    """Records written after the last commit's open has returned are all in its version, in order, none twice."""
    path = mount.mnt / "f"
    path.write_bytes(b"")
    appender, writer = worker(), worker()
    log = appender.open(path, "a")
    sent = 0
    for version in range(30):
        pending = writer.begin_open(path, "w")
        burst = [appender.begin("write", log, b'{"n": %d}\n' % n) for n in range(sent, sent + 4)]
        fd = pending.result()
        opened_s = pending.answer()["at_s"]
        burst += [appender.begin("write", log, b'{"n": %d}\n' % n) for n in range(sent + 4, sent + 7)]
        writer.write(fd, b'{"version": %d}\n' % version)
        writer.close(fd)
        answers = [one.answer() for one in burst]
        sure = [n for n, got in enumerate(answers, sent) if got["at_s"] - got["took_s"] > opened_s]
        assert sure
        sent += len(burst)
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert lines[0] == {"version": version}
        numbers = [line["n"] for line in lines[1:]]
        assert numbers == list(range(sent - len(numbers), sent))
        assert set(sure) <= set(numbers), (sure, numbers)


def test_D2_flock_between_appenders(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    one, two = worker(), worker()
    a, b = one.open(path, "a"), two.open(path, "a")
    one.do("flock", a, fcntl.LOCK_EX)
    assert two.begin("flock", b, fcntl.LOCK_EX | fcntl.LOCK_NB).error() == "EAGAIN"
    wait = two.begin("flock", b, fcntl.LOCK_EX)
    one.write(a, b"under the lock\n")
    assert not wait.done
    one.do("flock", a, fcntl.LOCK_UN)
    wait.result()
    two.write(b, b"after it\n")
    assert path.read_bytes() == b"under the lock\nafter it\n"
