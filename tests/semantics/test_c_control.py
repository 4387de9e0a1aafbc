"""C1, C3: /.lockfs and the backing directory's .lockfs. M1, M2: more than one mount, changes past the mount."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Mounter
from tests.support import programs
from tests.support.mounting import Mount, lockfs
from tests.support.rename import RENAME_EXCHANGE, renameat2
from tests.support.targets import Place
from tests.support.waiting import wait_until
from tests.support.worker import Worker

NewWorker = Callable[..., Worker]

SCHEMA: dict[str, Any] = {
    "schema": int,
    "lockfs": str,
    "pid": int,
    "source": str,
    "mountpoint": str,
    "started_at": str,
    "uptime_s": float,
    "sessions": {"open": int, "commits": int, "aborts": int},
    "waits": {"count": int, "now": int, "longest_s": float, "median_s": float},
    "refusals": int,
    "timeouts": int,
    "interrupted": int,
    "deadlocks": int,
    "appends": {"records": int, "bytes": int, "open": int},
    "orphans": int,
    "errors": int,
    "contended": [{"path": str, "waits": int, "waited_s": float, "refusals": int}],
    "holders": [{"path": str, "pid": int, "command": str, "kind": str, "held_s": float, "waiting": int}],
    "waiters": [{"path": str, "pid": int, "command": str, "kind": str, "waited_s": float}],
}


def check_schema(value: Any, schema: Any, where: str = "stats") -> None:
    """Exactly these keys with these types; numbers of seconds may be whole."""
    if isinstance(schema, dict):
        assert isinstance(value, dict), where
        assert set(value) == set(schema), where
        for key, part in schema.items():
            check_schema(value[key], part, f"{where}.{key}")
    elif isinstance(schema, list):
        assert isinstance(value, list), where
        for item in value:
            check_schema(item, schema[0], f"{where}[]")
    else:
        types = (int, float) if schema is float else schema
        assert isinstance(value, types), f"{where} is {value!r}"
        assert not isinstance(value, bool), where


@pytest.fixture
def busy(mount: Place, worker: NewWorker) -> Place:
    """A mount with a holder, a waiter for it, an appender and a waiting append write."""
    holder, waiter, appender = worker(), worker(), worker()
    log = appender.open(mount.mnt / "rows", "a")
    appender.write(log, b"1\n2\n")
    for name in ("held", "rows"):
        holder.open(mount.mnt / name, "w")
    waiter.begin_open(mount.mnt / "held", "w")
    appender.begin("write", log, b"3\n")
    mount.wait_for_waiters(waiter.pid, appender.pid)
    return mount


def test_C1_stats_json_has_its_schema(busy: Place) -> None:
    stats = busy.stats()
    check_schema(stats, SCHEMA)
    assert stats["schema"] == 1
    assert stats["pid"] == busy.pid
    assert stats["source"] == str(busy.mount.source)
    assert stats["mountpoint"] == str(busy.root)
    assert datetime.fromisoformat(stats["started_at"]).tzinfo is not None
    assert stats["sessions"]["open"] == 2
    assert stats["waits"]["now"] == 2
    assert stats["appends"]["open"] == 1
    folder = busy.mnt.name
    assert {(held["path"], held["waiting"]) for held in stats["holders"]} == {
        (f"{folder}/held", 1),
        (f"{folder}/rows", 1),
    }
    assert {(one["path"], one["kind"]) for one in stats["waiters"]} == {
        (f"{folder}/held", "pen"),
        (f"{folder}/rows", "append"),
    }
    assert all(held["kind"] in ("replacer", "editor", "live", "truncate") for held in stats["holders"])
    assert all("python" in one["command"] for one in stats["holders"] + stats["waiters"])
    assert len(stats["contended"]) <= 10


def test_C1_stats_for_people_name_holders_and_waiters(busy: Place) -> None:
    text = (busy.root / ".lockfs" / "stats").read_text()
    for waiter in busy.stats()["waiters"]:
        assert str(waiter["pid"]) in text
        assert waiter["path"] in text


def test_C1_counts(mount_with: Mounter, worker: NewWorker) -> None:
    with mount_with() as mount:
        check_schema(mount.stats(), SCHEMA)
        one, two, three = worker(), worker(), worker()
        for _ in range(3):
            one.write_file(mount.mnt / "f", b"x")
        fd = one.open(mount.mnt / "f", "w")
        wait = two.begin_open(mount.mnt / "f", "w")
        mount.wait_for_waiters(two.pid)
        three.begin_open(mount.mnt / "f", "w")
        mount.wait_for_waiters(three.pid)
        three.kill_and_wait()
        wait_until(lambda: mount.stats()["waits"]["now"] == 1, what="the killed waiter's end")
        one.close(fd)
        two.close(wait.result())
        log = one.open(mount.mnt / "rows", "a")
        one.write(log, b"1\n2\n3\n")
        stats = mount.stats()
        assert stats["sessions"] == {"open": 0, "commits": 5, "aborts": 0}
        assert stats["waits"]["count"] == 2
        assert 0 < stats["waits"]["median_s"] <= stats["waits"]["longest_s"] < 20
        assert (stats["interrupted"], stats["refusals"], stats["timeouts"], stats["errors"]) == (1, 0, 0, 0)
        assert stats["appends"] == {"records": 3, "bytes": 6, "open": 1}
        assert [(one["path"], one["waits"]) for one in stats["contended"]] == [("f", 2)]


def test_C1_directory_is_hidden_and_reachable(mount_with: Mounter) -> None:
    with mount_with() as mount:
        (mount.mnt / "f").write_bytes(b"x")
        assert ".lockfs" not in os.listdir(mount.mnt)
        assert b".lockfs" not in programs.run("find", mount.mnt, "-mindepth", "1", "-printf", "%P\n").stdout
        assert {"stats", "stats.json"} <= set(os.listdir(mount.mnt / ".lockfs"))
        assert (mount.mnt / ".lockfs").is_dir()
        programs.run("grep", "-rq", "uptime_s", mount.mnt, status=1)
        json.loads(programs.run("cat", mount.mnt / ".lockfs" / "stats.json").stdout)
        assert len(programs.run("cat", mount.mnt / ".lockfs" / "stats").stdout) > 100


def test_C3_only_the_virtual_directory_is_there(mount: Place) -> None:
    behind = {path.name for path in (mount.mount.source / ".lockfs").iterdir()}
    assert {"staging", "orphans"} <= behind
    assert (mount.mount.source / ".lockfs").stat().st_mode & 0o777 == 0o700
    for name in behind:
        assert not (mount.root / ".lockfs" / name).exists(), name


def test_C3_cannot_be_changed_through_the_mount(mount: Place) -> None:
    control = mount.root / ".lockfs"
    mine = mount.mnt / "mine"
    mine.write_bytes(b"x")
    (mount.mnt / "dir").mkdir()
    refused: dict[str, Callable[[], object]] = {
        "mkdir": lambda: os.mkdir(control),
        "rmdir": lambda: os.rmdir(control),
        "rename away": lambda: os.rename(control, mount.mnt / "stolen"),
        "rename a directory over": lambda: os.rename(mount.mnt / "dir", control),
        "rename a file over": lambda: os.rename(mine, control),
        "exchange": lambda: renameat2(mount.mnt / "dir", control, RENAME_EXCHANGE),
        "symlink": lambda: os.symlink("x", control),
        "create a file": lambda: os.close(os.open(control, os.O_WRONLY | os.O_CREAT | os.O_EXCL)),
        "create inside": lambda: os.close(os.open(control / "new", os.O_WRONLY | os.O_CREAT)),
        "mkdir inside": lambda: os.mkdir(control / "new"),
        "rename into": lambda: os.rename(mine, control / "new"),
        "link into": lambda: os.link(mine, control / "new"),
        "link out of": lambda: os.link(control / "stats", mount.mnt / "stolen"),
        "rename out of": lambda: os.rename(control / "stats", mount.mnt / "stolen"),
        "unlink inside": lambda: os.unlink(control / "stats"),
        "write": lambda: os.close(os.open(control / "stats", os.O_WRONLY)),
        "truncate": lambda: os.truncate(control / "stats", 0),
        "append": lambda: os.close(os.open(control / "stats.json", os.O_WRONLY | os.O_APPEND)),
        "chmod": lambda: os.chmod(control, 0o777),
    }
    for what, action in refused.items():
        with pytest.raises(OSError) as caught:  # noqa: PT011 - which errno depends on the kernel's own checks
            action()
        assert caught.value.errno not in (errno.EIO, errno.ENOSYS), what
        assert caught.value.errno is not None, what
    assert mine.read_bytes() == b"x"
    assert mount.stats()["schema"] == 1


def test_C3_backup_and_cleanup_do_not_meet_it(mount_with: Mounter) -> None:
    with mount_with() as mount:
        (mount.mnt / "a").mkdir()
        (mount.mnt / "a" / "f").write_bytes(b"x")
        out = programs.run("tar", "-cf", "-", "-C", mount.mnt, ".").stdout
        names = programs.run("tar", "-tf", "-", data=out).stdout.split()
        assert sorted(names) == [b"./", b"./a/", b"./a/f"]
        programs.shell("rm -rf -- * .[!.]*", cwd=mount.mnt)
        assert os.listdir(mount.mnt) == []
        assert mount.stats()["schema"] == 1


def test_C1_reading_never_blocks(busy: Place, worker: NewWorker) -> None:
    reader = worker()
    for _ in range(20):
        assert reader.begin("read_file", busy.root / ".lockfs" / "stats.json").answer(5.0)["took_s"] < 1.0


def test_M1_second_mount_is_refused_and_names_the_first(mount_with: Mounter, tmp_path: Path) -> None:
    with mount_with() as first:
        (first.mnt / "f").write_bytes(b"x")
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        for foreground in ((), ("--foreground",)):
            done = lockfs("mount", *foreground, first.source, elsewhere)
            assert done.returncode != 0
            assert str(first.pid) in done.stderr
            assert str(first.mnt) in done.stderr
            assert "Traceback" not in done.stderr
            assert len(done.stderr.strip().splitlines()) <= 2
        assert os.listdir(elsewhere) == []
        assert (first.mnt / "f").read_bytes() == b"x"


def test_M2_changes_past_the_mount_are_seen_within_the_cache_time(mount_with: Mounter) -> None:
    with mount_with() as mount:
        for name in ("kept", "gone", "replaced"):
            (mount.mnt / name).write_bytes(b"old")
            assert (mount.mnt / name).read_bytes() == b"old"
        assert not (mount.mnt / "new").exists()
        (mount.source / "kept").write_bytes(b"changed past the mount")
        (mount.source / "gone").unlink()
        (mount.source / "new").write_bytes(b"new")
        (mount.source / "tmp").write_bytes(b"another inode")
        (mount.source / "tmp").rename(mount.source / "replaced")

        def seen() -> bool:
            return (
                (mount.mnt / "kept").read_bytes() == b"changed past the mount"
                and not (mount.mnt / "gone").exists()
                and (mount.mnt / "new").exists()
                and (mount.mnt / "replaced").read_bytes() == b"another inode"
            )

        wait_until(seen, 3.0, "the changes seen through the mount")
        assert sorted(os.listdir(mount.mnt)) == ["kept", "new", "replaced"]


def test_M2_directory_replaced_past_the_mount_is_not_fatal(mount_with: Mounter, worker: NewWorker) -> None:
    with mount_with() as mount:
        (mount.mnt / "d").mkdir()
        (mount.mnt / "d" / "f").write_bytes(b"1")
        writer = worker()
        fd = writer.open(mount.mnt / "d" / "f", "w")
        writer.write(fd, b"2")
        (mount.source / "d").rename(mount.source / "moved")
        (mount.source / "d").mkdir()
        writer.begin("close", fd).error()
        check_alive(mount)


def check_alive(mount: Mount) -> None:
    """The mount still does its work (N6)."""
    (mount.mnt / "alive").write_bytes(b"yes")
    assert (mount.mnt / "alive").read_bytes() == b"yes"
