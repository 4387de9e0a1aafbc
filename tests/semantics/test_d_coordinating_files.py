"""D1-D4: files that coordinate by themselves, locks, and files that people watch."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import programs
from tests.support.targets import Place
from tests.support.waiting import wait_until
from tests.support.worker import Worker

NewWorker = Callable[..., Worker]

INSERTS = """
import sqlite3, sys
path, me, rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
db = sqlite3.connect(path, timeout=30, isolation_level=None)
db.execute(f"PRAGMA journal_mode={sys.argv[4]}")
for row in range(rows):
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO t VALUES (?, ?, ?)", (me, row, "x" * 500))
    db.execute("UPDATE total SET n = n + 1")
    db.execute("COMMIT")
db.close()
"""


@pytest.mark.parametrize("journal", ["wal", "delete", "truncate"])
@pytest.mark.parametrize("name", ["app.db", "state.bin"])
def test_D1_sqlite_with_four_processes(mount: Place, journal: str, name: str) -> None:
    """By its name, and where the name says nothing by its header."""
    path, rows = mount.mnt / name, 25
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA journal_mode={journal}")
    db.execute("CREATE TABLE t (writer, row, pad)")
    db.execute("CREATE TABLE total (n)")
    db.execute("INSERT INTO total VALUES (0)")
    db.commit()
    db.close()
    programs.finish(
        [programs.start([sys.executable, "-c", INSERTS, path, str(me), str(rows), journal]) for me in range(4)],
        60.0,
    )
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    if journal == "wal":  # the other modes are a connection's own, and not kept in the file
        assert db.execute("PRAGMA journal_mode").fetchone() == (journal,)
    assert db.execute("SELECT count(*), count(DISTINCT writer * 1000 + row) FROM t").fetchone() == (100, 100)
    assert db.execute("SELECT n FROM total").fetchone() == (100,)
    db.close()


def test_D1_sqlite_killed_in_a_transaction_rolls_back(mount: Place) -> None:
    path = mount.mnt / "app.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE t (n)")
    db.execute("INSERT INTO t VALUES (1)")
    db.commit()
    db.close()
    script = (
        "import sqlite3, sys, time\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None); db.execute('PRAGMA cache_size=1')\n"
        "db.execute('BEGIN'); [db.execute('INSERT INTO t VALUES (?)', ('x' * 1000,)) for _ in range(2000)]\n"
        "print('in', flush=True); time.sleep(60)\n"
    )
    process = programs.start([sys.executable, "-c", script, path], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"in\n"
    programs.end_group(process)
    db = sqlite3.connect(path)
    assert db.execute("SELECT * FROM t").fetchall() == [(1,)]
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()


@pytest.mark.limit(110)
def test_D3_git_commit_clone_gc_fsck(mount: Place, tmp_path: Path) -> None:
    programs.need("git")
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@example.com",
        "GIT_COMMITTER_NAME": "c",
        "GIT_COMMITTER_EMAIL": "c@example.com",
    }

    def git(*arguments: str, at: Path) -> str:
        return programs.run("git", *arguments, cwd=at, env=environment).stdout.decode()

    repo = mount.mnt / "repo"
    repo.mkdir()
    git("init", "-q", "-b", "main", at=repo)
    for version in range(3):
        for number in range(20):
            (repo / f"file{number}.txt").write_text(f"version {version} of {number}\n" * 50)
        git("add", "-A", at=repo)
        git("commit", "-q", "-m", f"version {version}", at=repo)
    git("checkout", "-q", "-b", "side", "HEAD~1", at=repo)
    (repo / "side.txt").write_text("side\n")
    git("add", "-A", at=repo)
    git("commit", "-q", "-m", "side", at=repo)
    git("checkout", "-q", "main", at=repo)
    git("merge", "-q", "--no-edit", "side", at=repo)
    git("gc", "-q", "--prune=now", at=repo)
    git("clone", "-q", "--no-local", str(repo), str(mount.mnt / "clone"), at=mount.mnt)
    for place in (repo, mount.mnt / "clone"):
        git("fsck", "--full", "--strict", at=place)
        assert git("status", "--porcelain", at=place) == ""
        assert len(git("log", "--oneline", at=place).splitlines()) == 5
    programs.run("diff", "-r", "--exclude=.git", repo, mount.mnt / "clone")


def test_D1_git_index_lock_of_two_processes(mount: Place, worker: NewWorker) -> None:
    """git's own protocol: O_EXCL index.lock, write, close, rename; the second is refused at once."""
    (mount.mnt / ".git").mkdir()
    lock, index = mount.mnt / ".git" / "index.lock", mount.mnt / ".git" / "index"
    one, two = worker(), worker()
    fd = one.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    assert two.begin_open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL).error(5.0) == "EEXIST"
    one.write(fd, b"index")
    one.close(fd)
    one.do("rename", lock, index)
    assert index.read_bytes() == b"index"
    two.close(two.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL))


@pytest.mark.parametrize("name", ["x.lock", "run.pid", "app.sqlite", "data.mdb", ".git/config"])
def test_D1_shared_files_are_passed_through(mount: Place, worker: NewWorker, name: str) -> None:
    """Two processes hold the file open for writing, neither waits, and each sees what the other wrote at once."""
    path = mount.mnt / name
    path.parent.mkdir(exist_ok=True)
    one, two = worker(), worker()
    a = one.begin_open(path, "rw").result(5.0)
    b = two.begin_open(path, "rw").result(5.0)
    one.write(a, b"one")
    assert two.do("pread", b, 10, 0) == b"one"
    two.do("pwrite", b, b"TWO!", 0)
    assert one.do("pread", a, 10, 0) == b"TWO!"
    assert one.fstat(a).st_size == 4
    assert path.read_bytes() == b"TWO!"
    two.do("ftruncate", b, 1)
    assert one.fstat(a).st_size == 1


PAIRS = [
    ("two readers", "data", "r", "r"),
    ("two appenders", "data", "a", "a"),
    ("lock file", "x.lock", "rw", "rw"),
    ("live file and its reader", "x.log", "w", "r"),
]


@pytest.mark.parametrize(("name", "one_mode", "two_mode"), [pair[1:] for pair in PAIRS], ids=[p[0] for p in PAIRS])
def test_D2_flock_excludes(mount: Place, worker: NewWorker, name: str, one_mode: str, two_mode: str) -> None:
    path = mount.mnt / name
    path.write_bytes(b"x\n")
    one, two = worker(), worker()
    a, b = one.open(path, one_mode), two.open(path, two_mode)
    one.do("flock", a, fcntl.LOCK_EX)
    assert two.begin("flock", b, fcntl.LOCK_EX | fcntl.LOCK_NB).error() == "EAGAIN"
    wait = two.begin("flock", b, fcntl.LOCK_EX)
    assert not wait.done
    one.kill_and_wait(signal.SIGKILL)
    wait.result()


@pytest.mark.parametrize(("name", "mode"), [("x.lock", "rw"), ("data", "a+"), ("app.db", "rw")])
def test_D2_fcntl_locks_exclude(mount: Place, worker: NewWorker, name: str, mode: str) -> None:
    path = mount.mnt / name
    path.write_bytes(b"0123456789\n")
    one, two = worker(), worker()
    a, b = one.open(path, mode), two.open(path, mode)
    one.do("lockf", a, fcntl.LOCK_EX, 5, 0)
    assert two.begin("lockf", b, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 0).error() in ("EAGAIN", "EACCES")
    two.do("lockf", b, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 5)  # another range
    wait = two.begin("lockf", b, fcntl.LOCK_EX, 5, 0)
    one.do("lockf", a, fcntl.LOCK_UN, 5, 0)
    wait.result()
    again = one.begin("lockf", a, fcntl.LOCK_EX, 5, 0)
    two.close(b)
    again.result()


def test_D2_flock_program_with_timeout(mount: Place, worker: NewWorker) -> None:
    programs.need("flock")
    path = mount.mnt / "job.lock"
    holder = programs.start(
        ["flock", path, "sh", "-c", "echo held; read line"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        programs.run("flock", "-w", "0.2", "-E", "7", path, "true", status=7)
        programs.run("flock", "-n", "-E", "8", path, "true", status=8)
    finally:
        holder.stdin.close()
        programs.finish([holder], ok=False)
    programs.run("flock", "-w", "5", path, "true")


@pytest.mark.parametrize("lock", ["counter.lock", "counter"])
def test_D2_flock_makes_read_modify_write_exact(mount: Place, lock: str) -> None:
    """The counter is rewritten by name under a lock; the lock may be a file of its own or the counter itself."""
    programs.need("flock")
    (mount.mnt / "counter").write_text("0\n")
    script = (
        'for i in 1 2 3 4 5; do ( flock 9; read n < "$0"; echo $((n + 1)) > "$0.new"; mv "$0.new" "$0" ) 9< "$1"; done'
    )
    if lock == "counter":  # mv would replace what is locked
        script = 'for i in 1 2 3 4 5; do ( flock 9; read n < "$0"; echo $((n + 1)) > "$0" ) 9< "$1.l"; done'
        (mount.mnt / "counter.l").touch()
    (mount.mnt / lock).touch()
    shells = [programs.start(["sh", "-c", script, mount.mnt / "counter", mount.mnt / lock]) for _ in range(4)]
    programs.finish(shells)
    assert (mount.mnt / "counter").read_text() == "20\n"


def test_D4_live_file_is_visible_while_it_is_written(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "server.log"
    writer, reader = worker(), worker()
    fd = writer.open(path, "w")
    handle = None
    for number in range(5):
        writer.write(fd, b"line %d\n" % number)
        expected = b"".join(b"line %d\n" % n for n in range(number + 1))
        assert reader.read_file(path) == expected
        assert reader.stat(path).st_size == len(expected)
        if handle is None:
            handle = reader.open(path, "r")
        assert reader.read_all(handle) == (expected if number == 0 else b"line %d\n" % number)
    writer.kill_and_wait(signal.SIGKILL)
    assert path.read_bytes() == b"line 0\nline 1\nline 2\nline 3\nline 4\n"


@pytest.mark.parametrize("exists", [True, False])
def test_D4_live_file_has_one_writer(mount: Place, worker: NewWorker, exists: bool) -> None:
    path = mount.mnt / "server.out"
    if exists:
        path.write_bytes(b"old\n")
    one, two = worker(), worker()
    fd = one.open(path, "w")
    one.write(fd, b"one\n")
    wait = two.begin_open(path, "w")
    mount.wait_for_waiters(two.pid)
    assert path.read_bytes() == b"one\n"
    one.close(fd)
    mine = wait.result()
    two.write(mine, b"two\n")
    assert path.read_bytes() == b"two\n"
    two.close(mine)


def test_D4_tail_f_of_a_shells_log(mount: Place) -> None:
    path = mount.mnt / "nohup.out"
    process = programs.start(
        ["sh", "-c", '{ echo one; read go; echo two; read go; } > "$0"', path], stdin=subprocess.PIPE
    )
    assert process.stdin is not None
    try:
        wait_until(lambda: path.exists() and path.read_bytes() == b"one\n", what="the first line")
        process.stdin.write(b"\n")
        process.stdin.flush()
        wait_until(lambda: path.read_bytes() == b"one\ntwo\n", what="the second line")
    finally:
        process.stdin.close()
        programs.finish([process], ok=False)


def test_D1_shared_appends_go_to_the_end_that_is(mount: Place) -> None:
    """Also to one that moved past the mount meanwhile, of which the kernel knows nothing (M2)."""
    path, behind = mount.mnt / "x.lock", mount.source / "x.lock"
    with path.open("ab", buffering=0) as log, path.open("ab", buffering=0) as other:
        for number in range(3):
            log.write(b"through %d\n" % number)
            with behind.open("ab") as file:
                file.write(b"past %d\n" % number)
            other.write(b"other %d\n" % number)
    expected = b"".join(b"through %d\npast %d\nother %d\n" % (n, n, n) for n in range(3))
    assert behind.read_bytes() == expected
    assert path.read_bytes() == expected
