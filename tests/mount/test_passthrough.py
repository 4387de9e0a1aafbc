"""Everything a Linux program does in a directory, done on a mount: what must be as on the backing filesystem."""

from __future__ import annotations

import os
import signal
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import programs
from tests.support.rename import RENAME_EXCHANGE, RENAME_NOREPLACE, renameat2
from tests.support.targets import Place
from tests.support.worker import Worker

NewWorker = Callable[..., Worker]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="device nodes need root")


def test_names_that_are_not_utf8_or_long(mount: Place) -> None:
    root = os.fsencode(mount.mnt)
    names = [b"caf\xe9", b"\xff\xfe", b"new\nline", b"a b", b"-", "ü".encode() * 127, b"n" * 255, b"\x01"]
    for name in names:
        with open(os.path.join(root, name), "wb") as file:
            file.write(name)
    assert sorted(os.listdir(root)) == sorted(names)
    for name in names:
        with open(os.path.join(root, name), "rb") as file:
            assert file.read() == name
    for action in (os.stat, os.mkdir, os.unlink, lambda path: os.open(path, os.O_WRONLY | os.O_CREAT)):
        with pytest.raises(OSError, match="File name too long"):
            action(os.path.join(root, b"n" * 256))


def test_hard_links_share_an_inode(mount: Place) -> None:
    one, two = mount.mnt / "one", mount.mnt / "two"
    one.write_bytes(b"x")
    os.link(one, two)
    assert one.stat().st_ino == two.stat().st_ino
    assert one.stat().st_nlink == two.stat().st_nlink == 2
    assert os.path.samefile(one, two)
    two.chmod(0o600)
    assert one.stat().st_mode & 0o777 == 0o600
    with one.open("ab") as file:
        file.write(b"appended\n")
    assert two.read_bytes() == b"xappended\n"
    one.unlink()
    assert two.stat().st_nlink == 1


def test_inode_numbers_agree_between_stat_and_listing(mount: Place) -> None:
    for name in "abc":
        (mount.mnt / name).write_bytes(b"x")
    with os.scandir(mount.mnt) as entries:
        for entry in entries:
            assert entry.inode() == entry.stat().st_ino == os.stat(entry.path).st_ino


def test_symbolic_links(mount: Place) -> None:
    (mount.mnt / "file").write_bytes(b"content")
    try:
        (mount.source / "longest").symlink_to("x" * 4095)
        longest = 4095
        (mount.source / "longest").unlink()
    except OSError:
        longest = 1023  # xfs
    for target in ("file", "../" + mount.mnt.name + "/file", str(mount.mnt / "file"), "nowhere", "x" * longest):
        link = mount.mnt / "link"
        link.symlink_to(target)
        assert os.readlink(link) == target
        assert link.is_symlink()
        if target.endswith("file"):
            assert link.read_bytes() == b"content"
        link.unlink()
    (mount.mnt / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="Too many levels"):
        (mount.mnt / "loop").read_bytes()
    # A write through a link changes the file, not the link.
    (mount.mnt / "link").symlink_to("file")
    (mount.mnt / "link").write_bytes(b"through the link")
    assert (mount.mnt / "link").is_symlink()
    assert (mount.mnt / "file").read_bytes() == b"through the link"


def test_fifo_between_two_processes(mount: Place, worker: NewWorker) -> None:
    fifo = mount.mnt / "fifo"
    os.mkfifo(fifo, 0o640)
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    reader, writer = worker(), worker()
    reading = reader.begin_open(fifo, "r")
    fd = writer.open(fifo, os.O_WRONLY)
    writer.write(fd, b"through the pipe")
    writer.close(fd)
    assert reader.read_all(reading.result()) == b"through the pipe"


def test_unix_socket(mount: Place) -> None:
    path = mount.root / "s"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(path))
        server.listen(1)
        client.connect(str(path))
        connection, _ = server.accept()
        with connection:
            client.sendall(b"hello")
            assert connection.recv(10) == b"hello"
    assert stat.S_ISSOCK(path.stat().st_mode)
    path.unlink()


@needs_root
def test_device_nodes(mount: Place) -> None:
    os.mknod(mount.mnt / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    found = (mount.mnt / "null").stat()
    assert stat.S_ISCHR(found.st_mode)
    assert found.st_rdev == os.makedev(1, 3)


def test_rename_with_flags(mount: Place) -> None:
    one, two = mount.mnt / "one", mount.mnt / "two"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    with pytest.raises(FileExistsError):
        renameat2(one, two, RENAME_NOREPLACE)
    renameat2(one, two, RENAME_EXCHANGE)
    assert (one.read_bytes(), two.read_bytes()) == (b"2", b"1")
    renameat2(one, mount.mnt / "three", RENAME_NOREPLACE)
    assert sorted(os.listdir(mount.mnt)) == ["three", "two"]
    with pytest.raises(FileNotFoundError):
        renameat2(one, two, RENAME_EXCHANGE)
    (mount.mnt / "d").mkdir()
    renameat2(two, mount.mnt / "d", RENAME_EXCHANGE)
    assert two.is_dir()
    assert (mount.mnt / "d").read_bytes() == b"1"


def test_deep_directories(mount: Place) -> None:
    path = mount.mnt
    for number in range(60):
        path = path / f"level{number}"
        path.mkdir()
    (path / "f").write_bytes(b"deep")
    assert (path / "f").read_bytes() == b"deep"
    (mount.mnt / "level0").rename(mount.mnt / "moved")
    moved = Path(str(path).replace("level0/", "moved/", 1))
    assert (moved / "f").read_bytes() == b"deep"
    programs.run("rm", "-r", mount.mnt / "moved")


def test_working_directory_survives_a_rename(mount: Place, worker: NewWorker) -> None:
    (mount.mnt / "d").mkdir()
    one = worker()
    one.do("chdir", mount.mnt / "d")
    (mount.mnt / "d").rename(mount.mnt / "e")
    one.write_file("f", b"relative")
    assert one.do("getcwd") == str(mount.mnt / "e")
    assert (mount.mnt / "e" / "f").read_bytes() == b"relative"
    one.do("chdir", "/")


def test_times_in_nanoseconds(mount: Place) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"x")
    (mount.mnt / "l").symlink_to("f")
    for target, follow in ((path, True), (mount.mnt, True), (mount.mnt / "l", False)):
        os.utime(target, ns=(1_111_111_111_222_333_444, 999_999_999_888_777_666), follow_symlinks=follow)
        found = os.stat(target, follow_symlinks=follow)
        assert (found.st_atime_ns, found.st_mtime_ns) == (1_111_111_111_222_333_444, 999_999_999_888_777_666)
    os.utime(path, ns=(-5, -1_000_000_000))
    assert path.stat().st_mtime_ns == -1_000_000_000
    programs.run("touch", "-a", "-d", "2001-02-03 04:05:06 UTC", path)
    assert path.stat().st_atime == 981173106
    assert path.stat().st_mtime_ns == -1_000_000_000


def test_sparse_file(mount: Place) -> None:
    path = mount.mnt / "sparse"
    with path.open("wb") as file:
        file.seek(1 << 30)
        file.write(b"end")
    assert path.stat().st_size == (1 << 30) + 3
    assert path.stat().st_blocks * 512 < 1 << 20
    with path.open("rb") as file:
        assert file.read(4096) == b"\0" * 4096
        file.seek(1 << 30)
        assert file.read() == b"end"
    os.truncate(path, (1 << 31) + 5)
    assert path.stat().st_size == (1 << 31) + 5
    assert path.stat().st_blocks * 512 < 1 << 20
    with path.open("r+b") as editor:  # what an editor keeps stays sparse
        editor.write(b"start")
    assert path.stat().st_blocks * 512 < 2 << 20


def test_statfs_is_that_of_the_backing_filesystem(mount: Place) -> None:
    here, behind = os.statvfs(mount.mnt), os.statvfs(mount.source)
    for field in ("f_bsize", "f_frsize", "f_blocks", "f_files", "f_namemax"):
        assert getattr(here, field) == getattr(behind, field), field
    assert here.f_bavail > 0


def test_fsync_of_files_and_directories(mount: Place) -> None:
    fd = os.open(mount.mnt / "f", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"x")
    os.fsync(fd)
    os.fdatasync(fd)
    os.close(fd)
    for flags in (os.O_RDONLY, os.O_RDONLY | os.O_DIRECTORY):
        fd = os.open(mount.mnt, flags)
        os.fsync(fd)
        os.close(fd)
    fd = os.open(mount.mnt / "f", os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    programs.run("sync", "-f", mount.mnt / "f")


def test_unlinked_open_file_and_directory(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"still here")
    reader, other = worker(), worker()
    fd = reader.open(path, "r")
    other.do("unlink", path)
    assert os.listdir(mount.mnt) == []
    assert reader.read_all(fd) == b"still here"
    assert reader.fstat(fd).st_nlink == 0
    (mount.mnt / "d").mkdir()
    folder = reader.open(mount.mnt / "d", os.O_RDONLY | os.O_DIRECTORY)
    other.do("rmdir", mount.mnt / "d")
    assert reader.do("listdir", folder) == []
    assert reader.fstat(folder).st_nlink == 0


def test_replaced_open_file(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"first")
    reader = worker()
    fd = reader.open(path, "r")
    (mount.mnt / "new").write_bytes(b"second")
    (mount.mnt / "new").rename(path)
    assert reader.read_all(fd) == b"first"
    assert path.read_bytes() == b"second"


@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_listing_while_others_create_and_remove(mount: Place, count: int) -> None:
    """Entries that are there all the time are listed exactly once, whatever else comes and goes."""
    for number in range(count):
        os.close(os.open(mount.source / f"stays{number}", os.O_WRONLY | os.O_CREAT))
    script = """
        i=0
        while [ ! -e "$0/../stop" ]; do
            i=$((i + 1)); : > "$0/churn$1-$i"; mv "$0/churn$1-$i" "$0/moved$1-$i"; rm "$0/moved$1-$i"
        done
    """
    stays = {f"stays{number}" for number in range(count)}
    stop = mount.mnt / ".." / "stop"
    churn = [programs.start(["sh", "-c", script, mount.mnt, str(me)]) for me in range(2)]
    try:
        for _ in range(5):
            names = os.listdir(mount.mnt)
            listed = [name for name in names if name.startswith("stays")]
            assert len(listed) == len(set(listed))
            assert set(listed) == stays
            assert len(os.listdir(mount.mnt)) < count + 10
    finally:
        stop.touch()
        programs.finish(churn)
        stop.unlink()
    assert set(os.listdir(mount.mnt)) == stays


def test_removing_while_listing(mount: Place) -> None:
    """`rm -r` reads a directory and removes what it has read."""
    for number in range(1500):
        (mount.source / f"f{number}").touch()
    with os.scandir(mount.mnt) as entries:
        for entry in entries:
            os.unlink(entry.path)
    assert os.listdir(mount.mnt) == []


def test_seeking_in_a_directory(mount: Place) -> None:
    programs.need("perl")
    for number in range(300):
        (mount.mnt / f"f{number}").touch()
    script = """
        opendir(my $d, $ARGV[0]) or die; my @a = map { scalar readdir $d } 1 .. 50; my $at = telldir $d;
        my @b = readdir $d; seekdir $d, $at; my @c = readdir $d; rewinddir $d; my @all = readdir $d;
        die "seekdir" unless "@b" eq "@c"; die "rewinddir" unless "@all" eq "@a @b"; print scalar @all;
    """
    assert programs.run("perl", "-e", script, mount.mnt).stdout == b"302"


def test_threads_of_one_process(mount: Place) -> None:
    """Threads are one writer: they join each other's sessions, and never wait for one another."""
    path = mount.mnt / "f"
    path.write_bytes(b"-" * 400)
    faults: list[BaseException] = []

    def write(number: int) -> None:
        try:
            fd = os.open(path, os.O_RDWR)
            os.pwrite(fd, b"%d" % number * 50, number * 50)
            os.close(fd)
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20.0)
    assert not faults
    assert path.read_bytes() == b"".join(b"%d" % number * 50 for number in range(8))


def test_open_through_proc_self_fd(mount: Place, worker: NewWorker) -> None:
    """A magic link has no name to walk (fuse-facts): no error, no hang, and the bytes arrive."""
    path = mount.mnt / "f"
    path.write_bytes(b"0123456789")
    one = worker()
    read = one.open(path, "r")
    again = one.begin_open(f"/proc/self/fd/{read}", "r").result(5.0)
    assert one.read_all(again) == b"0123456789"
    write = one.begin_open(f"/proc/self/fd/{read}", "r+").result(5.0)
    one.do("pwrite", write, b"ABC", 0)
    one.close(write)
    assert path.read_bytes() == b"ABC3456789"
    fd = one.open(path, "w")
    other = one.begin_open(f"/proc/self/fd/{fd}", "w").result(5.0)
    one.write(other, b"in the session")
    one.close(fd)
    one.close(other)
    assert path.read_bytes() == b"in the session"


def test_dev_stdout_of_a_redirected_shell(mount: Place) -> None:
    programs.run("sh", "-c", '{ echo one; echo two > /dev/stdout; } > "$0"', mount.mnt / "f")
    assert (mount.mnt / "f").read_bytes().endswith(b"two\n")
    programs.run(
        "sh", "-c", 'echo one > "$0"; { echo two; tee -a /dev/stderr < /dev/null; } >> "$0" 2>&1', mount.mnt / "g"
    )
    assert (mount.mnt / "g").read_bytes() == b"one\ntwo\n"


def test_killed_reader_leaves_nothing(mount: Place, worker: NewWorker) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"x" * 100_000)
    reader = worker()
    reader.do("read", reader.open(path, "r"), 10)
    reader.kill_and_wait(signal.SIGKILL)
    path.write_bytes(b"y")
    assert path.read_bytes() == b"y"
