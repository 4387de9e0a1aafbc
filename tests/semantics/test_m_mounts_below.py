"""Mounts below the backing directory: sessions as everywhere, staged where rename(2) publishes them (W, C3, N2, N3)."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from lockfs.store.mountinfo import read_table
from tests.conftest import Mounter
from tests.support import programs
from tests.support.filesystems import bind, need_root, tmpfs, unmount
from tests.support.mounting import ROOT
from tests.support.waiting import stays, wait_until
from tests.support.worker import Worker

pytestmark = pytest.mark.slow

NewWorker = Callable[..., Worker]
Below = Callable[[Path], Iterator[Path]]


def refusal(action: Callable[[], object]) -> int | None:
    """The errno that an action fails with."""
    with pytest.raises(OSError, match="Errno") as refused:
        action()
    return refused.value.errno


def settles(path: Path, content: bytes) -> None:
    """A file in the backing directory gets there: W3 orders a commit with what comes through the mount only."""
    wait_until(lambda: path.exists() and path.read_bytes() == content, what=f"{content!r} in {path.name}")


@contextmanager
def bind_of_a_neighbour(at: Path) -> Iterator[Path]:
    """The same filesystem, and the same device number: rename(2) answers EXDEV all the same."""
    origin = at.parent.parent / f"{at.name}-origin"
    origin.mkdir(exist_ok=True)
    with bind(origin, at):
        yield at


KINDS = {"tmpfs": tmpfs, "bind": bind_of_a_neighbour}


@pytest.fixture(params=sorted(KINDS))
def below(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A source with a mount at sub."""
    source = tmp_path / "source"
    with KINDS[request.param](source / "sub"):
        yield source


def test_W2_sessions_below_a_mount_are_whole(below: Path, mount_with: Mounter, worker: NewWorker) -> None:
    with mount_with(source=below) as mount:
        path = mount.mnt / "sub" / "deep" / "f"
        path.parent.mkdir()
        path.write_bytes(b"old")
        writer, editor = worker(), worker()
        fd = writer.open(path, "w")
        writer.write(fd, b"half")
        assert path.read_bytes() == b"old"
        wait = editor.begin_open(path, "r+")
        mount.wait_for_waiters(editor.pid)
        writer.close(fd)
        assert path.read_bytes() == b"half"
        fd = wait.result()
        assert editor.read_all(fd) == b"half"
        editor.do("pwrite", fd, b"HA", 0)
        assert path.read_bytes() == b"half"
        editor.close(fd)
        assert path.read_bytes() == b"HAlf"
        settles(below / "sub" / "deep" / "f", b"HAlf")
        writer.write(writer.open(mount.mnt / "sub" / "new", "w"), b"half")
        assert not (below / "sub" / "new").exists()
        writer.kill_and_wait()
        wait_until(lambda: mount.stats()["sessions"]["open"] == 0, what="the session's end")
        assert not (mount.mnt / "sub" / "new").exists()
        kept = list((below / "sub" / ".lockfs" / "orphans").glob("*.data"))
        assert [orphan.read_bytes() for orphan in kept] == [b"half"]
        programs.shell("truncate -s 1 f; echo x >> f", path.parent)
        assert path.read_bytes() == b"Hx\n"


def test_C3_the_hidden_directory_below_is_hidden(below: Path, mount_with: Mounter) -> None:
    with mount_with(source=below) as mount:
        sub = mount.mnt / "sub"
        (sub / "f").write_bytes(b"x")
        assert (below / "sub" / ".lockfs" / "staging").is_dir()
        assert os.listdir(sub) == ["f"]
        assert programs.shell("find sub | sort", mount.mnt) == "sub\nsub/f\n"
        hidden = sub / ".lockfs"
        assert not hidden.exists()
        for action in (
            lambda: os.listdir(hidden),
            lambda: os.rmdir(hidden),
            lambda: os.rename(hidden, sub / "moved"),
            lambda: (hidden / "staging").stat(),
        ):
            with pytest.raises(FileNotFoundError):
                action()
        for change in (
            lambda: hidden.mkdir(),
            lambda: hidden.touch(),
            lambda: hidden.symlink_to("f"),
            lambda: os.link(sub / "f", hidden),
            lambda: os.rename(sub / "f", hidden),
        ):
            assert refusal(change) in (errno.EPERM, errno.EEXIST)
        assert os.listdir(sub) == ["f"]
        (sub / "d").mkdir()
        (sub / "d" / ".lockfs").mkdir()  # only the mount's root has one
        assert os.listdir(sub / "d") == [".lockfs"]


def test_rename_and_link_across_the_boundary_are_EXDEV(below: Path, mount_with: Mounter, worker: NewWorker) -> None:
    with mount_with(source=below) as mount:
        (mount.mnt / "a").write_bytes(b"a")
        (mount.mnt / "sub" / "b").write_bytes(b"b")
        for one, other in (("a", "sub/x"), ("sub/b", "x"), ("a", "sub/b")):
            for action in (os.rename, os.link):
                if action is os.link and other == "sub/b":
                    continue
                assert refusal(partial(action, mount.mnt / one, mount.mnt / other)) == errno.EXDEV
        writer = worker()
        fd = writer.open(mount.mnt / "new", "w")
        writer.write(fd, b"n")
        with pytest.raises(OSError, match="EXDEV"):
            writer.do("rename", mount.mnt / "new", mount.mnt / "sub" / "new")
        writer.close(fd)
        assert (mount.mnt / "new").read_bytes() == b"n"
        programs.shell("mv a sub/a && mv sub/b b && cat sub/a b", mount.mnt)


def test_a_mount_below_can_be_unmounted_when_nothing_is_open(below: Path, mount_with: Mounter) -> None:
    with mount_with(source=below) as mount:
        sub = mount.mnt / "sub"
        (sub / "deep").mkdir()
        (sub / "deep" / "f").write_bytes(b"one")
        (sub / "deep" / "f").write_bytes(b"two")
        programs.shell("echo x >> deep/f; echo y >> deep/log; find . > /dev/null", sub)
        wait_until(lambda: unmount(below / "sub"), 10.0, "the unmount")
        wait_until(lambda: os.listdir(sub) == [], what="the empty directory below")
        (sub / "f").write_bytes(b"on the root now")
        settles(below / "sub" / "f", b"on the root now")
        with tmpfs(below / "sub"):
            wait_until(lambda: os.listdir(sub) == [], what="the new mount")
            (sub / "g").write_bytes(b"on tmpfs")
            assert os.path.ismount(below / "sub")
            settles(below / "sub" / "g", b"on tmpfs")
        wait_until(lambda: os.listdir(sub) == ["f"], what="the old directory")


def test_a_mount_below_stays_while_somebody_writes(below: Path, mount_with: Mounter, worker: NewWorker) -> None:
    with mount_with(source=below) as mount:
        writer = worker()
        fd = writer.open(mount.mnt / "sub" / "f", "w")
        stays(lambda: not unmount(below / "sub"), 2.5, "a busy mount")
        writer.write(fd, b"whole")
        writer.close(fd)
        settles(below / "sub" / "f", b"whole")


def test_a_mount_below_that_is_torn_away_crashes_nothing(
    tmp_path: Path, mount_with: Mounter, worker: NewWorker
) -> None:
    source = tmp_path / "source"
    with tmpfs(source / "sub"), mount_with(source=source) as mount:
        writer, reader = worker(), worker()
        (mount.mnt / "sub" / "d").mkdir()
        (mount.mnt / "sub" / "d" / "f").write_bytes(b"old")
        fd = writer.open(mount.mnt / "sub" / "d" / "f", "w")
        got = reader.open(mount.mnt / "sub" / "d" / "f", "r")
        writer.write(fd, b"new")
        programs.run("umount", "-l", source / "sub")
        assert reader.read_all(got) == b"old"
        writer.close(fd)
        wait_until(lambda: os.listdir(mount.mnt / "sub") == [], what="the directory below")
        (mount.mnt / "sub" / "g").write_bytes(b"x")
        settles(source / "sub" / "g", b"x")


def test_N3_what_a_crash_left_below_is_swept(below: Path, mount_with: Mounter, worker: NewWorker) -> None:
    with mount_with(source=below) as mount:
        writer = worker()
        writer.write(writer.open(mount.mnt / "sub" / "f", "w"), b"half")
        mount.kill_daemon()
    with mount_with(source=below) as mount:
        orphans = below / "sub" / ".lockfs" / "orphans"
        wait_until(lambda: list(orphans.glob("*.data")), what="the sweep")
        assert next(orphans.glob("*.data")).read_bytes() == b"half"
        assert '"sub/f"' in next(orphans.glob("*.json")).read_text()
        assert "crashed daemon" in mount.log
        assert not (mount.mnt / "sub" / "f").exists()


def test_M1_area_of_another_daemon_is_left_alone(tmp_path: Path, mount_with: Mounter, worker: NewWorker) -> None:
    source, other = tmp_path / "source", tmp_path / "other"
    other.mkdir()
    with ExitStack() as stack:
        stack.enter_context(bind(other, source / "sub"))
        one = stack.enter_context(mount_with(source=source))
        two = stack.enter_context(mount_with(source=other, mnt=tmp_path / "mnt2"))
        writer = worker()
        fd = writer.open(two.mnt / "f", "w")
        writer.write(fd, b"by the other daemon")
        (one.mnt / "sub" / "g").write_bytes(b"in place")
        assert "written in place path=sub" in one.log
        writer.close(fd)
        settles(one.mnt / "sub" / "f", b"by the other daemon")
        assert two.orphans() == []


def test_read_only_mount_below(tmp_path: Path, mount_with: Mounter, worker: NewWorker) -> None:
    """Also where the same directory can be written to by another name."""
    source = tmp_path / "source"
    (source / "rw").mkdir(parents=True)
    (source / "rw" / "f").write_bytes(b"old")
    with bind(source / "rw", source / "ro", read_only=True), mount_with(source=source) as mount:
        for _ in range(2):
            assert (mount.mnt / "ro" / "f").read_bytes() == b"old"
            assert (mount.mnt / "rw" / "f").read_bytes() == b"old"
            for action in (
                lambda: (mount.mnt / "ro" / "f").write_bytes(b"new"),
                lambda: (mount.mnt / "ro" / "f").open("r+b").close(),
                lambda: (mount.mnt / "ro" / "f").open("ab").close(),
                lambda: os.truncate(mount.mnt / "ro" / "f", 1),
                lambda: (mount.mnt / "ro" / "f").chmod(0o600),
                lambda: (mount.mnt / "ro" / "g").write_bytes(b"new"),
                lambda: os.unlink(mount.mnt / "ro" / "f"),
            ):
                assert refusal(action) == errno.EROFS
        (mount.mnt / "rw" / "f").write_bytes(b"new")
        wait_until(lambda: (mount.mnt / "ro" / "f").read_bytes() == b"new", what="the new version there")
        assert "in place" not in mount.log


def test_single_file_mount_is_written_in_place(tmp_path: Path, mount_with: Mounter, worker: NewWorker) -> None:
    """Nothing can be renamed over a mountpoint: the pen, but no staging (D4)."""
    source = tmp_path / "source"
    source.mkdir()
    (tmp_path / "real").write_bytes(b"old")
    with bind(tmp_path / "real", source / "f"), mount_with(source=source) as mount:
        writer, other = worker(), worker()
        fd = writer.open(mount.mnt / "f", "w")
        writer.write(fd, b"new")
        wait = other.begin_open(mount.mnt / "f", "r+")
        mount.wait_for_waiters(other.pid)
        writer.close(fd)
        other.close(wait.result())
        programs.shell("echo more >> f; truncate -s 5 f", mount.mnt)
        settles(tmp_path / "real", b"newmo")
        assert os.path.ismount(source / "f") or (source / "f").stat().st_ino == (tmp_path / "real").stat().st_ino


def test_bind_mount_of_the_source_inside_itself(tmp_path: Path, mount_with: Mounter, worker: NewWorker) -> None:
    """The same directories, and the same hidden directory, under two mounts."""
    need_root()
    source = tmp_path / "source"
    (source / "a" / "b" / "self").mkdir(parents=True)
    (source / "a" / "f").write_bytes(b"old")
    with mount_with(source=source) as mount:
        assert (mount.mnt / "a" / "f").read_bytes() == b"old"
        assert os.listdir(mount.mnt / "a" / "b" / "self") == []
        with bind(source, source / "a" / "b" / "self"):
            again = mount.mnt / "a" / "b" / "self" / "a"
            wait_until(lambda: again.exists(), what="the mount")
            assert sorted(os.listdir(again.parent)) == ["a"]
            assert (again / "f").read_bytes() == b"old"
            one, two = worker(), worker()
            first = one.open(mount.mnt / "a" / "f", "w")
            second = two.open(again / "g", "w")
            one.write(first, b"one")
            two.write(second, b"two")
            one.close(first)
            two.close(second)
            settles(source / "a" / "f", b"one")
            settles(source / "a" / "g", b"two")
            wait_until(lambda: (again / "f").read_bytes() == b"one", what="the version by the other name")
            assert refusal(lambda: os.rename(again / "g", mount.mnt / "a" / "h")) == errno.EXDEV
            assert mount.orphans() == []


def test_programs_that_walk_and_count_see_one_tree(tmp_path: Path, mount_with: Mounter) -> None:
    """tmpfs numbers its files from 1, and so do others: two files may have one number, but not through the mount."""
    source = tmp_path / "source"
    with tmpfs(source), tmpfs(source / "sub"), mount_with(source=source) as mount:
        for base in (mount.mnt, mount.mnt / "sub"):
            for name in ("d", "e"):
                (base / name).mkdir()
            (base / "d" / "f").write_bytes(b"x")
            os.link(base / "d" / "f", base / "e" / "f")
        backing = [
            os.lstat(os.path.join(path, name)).st_ino for path, dirs, files in os.walk(source) for name in dirs + files
        ]
        assert len(set(backing)) < len(backing) - 2  # numbers are used twice
        out = programs.run("find", ".", "-xdev", "-printf", "%i %p\n", cwd=mount.mnt).stdout.decode()
        lines = [line.split(" ", 1) for line in out.splitlines()]
        by_number: dict[str, set[str]] = {}
        for number, path in lines:
            by_number.setdefault(number, set()).add(path)
        shared = sorted(paths for paths in map(sorted, by_number.values()) if len(paths) > 1)
        assert shared == [["./d/f", "./e/f"], ["./sub/d/f", "./sub/e/f"]]  # the hard links
        for file in (mount.mnt / "sub" / "d" / "f", mount.mnt / "d" / "f"):
            with os.scandir(file.parent) as entries:
                assert next(entries).inode() == file.stat().st_ino
        programs.shell("du -s . && tar cf ../copy.tar . && mkdir ../copy && tar xf ../copy.tar -C ../copy", mount.mnt)
        assert (mount.mnt.parent / "copy" / "sub" / "e" / "f").read_bytes() == b"x"


def fds_in_lost_mounts(pid: int) -> list[str]:
    """The daemon's open files in mounts that are not there any more."""
    there = {mount.mount_id for mount in read_table()}
    lost = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(fd)
            mount = int(Path(f"/proc/{pid}/fdinfo/{fd.name}").read_text().split("mnt_id:")[1].split()[0])
        except OSError:
            continue
        if target.startswith("/") and not target.startswith(("/dev/", "/memfd")) and mount not in there:
            lost.append(target)
    return lost


@pytest.mark.limit(240)
def test_mounts_come_and_go_in_a_storm(tmp_path: Path, mount_with: Mounter) -> None:
    """tmpfs and bind mounts over directories in which programs work: nothing crashes, nothing leaks."""
    need_root()
    source = tmp_path / "source"
    (source / "tree" / "d").mkdir(parents=True)
    (source / "bound").mkdir()
    storm = ROOT / "tests" / "support" / "storm.py"
    with mount_with(source=source) as mount:
        before = fds_in_lost_mounts(mount.pid)  # where tests run in a container
        running = [
            programs.start(["python3", str(storm), str(mount.mnt / "tree"), str(seed), "15"]) for seed in range(3)
        ]
        try:
            while any(process.poll() is None for process in running):
                (source / "tree" / "d").mkdir(exist_ok=True)
                for arguments in (("-t", "tmpfs", "tmpfs"), ("--bind", str(source / "bound"))):
                    if subprocess.run(["mount", *arguments, source / "tree" / "d"], check=False).returncode == 0:
                        programs.shell(f"mkdir -p {source}/tree/d/e; sleep 0.3")
                        programs.run("umount", "-l", source / "tree" / "d")
        finally:
            programs.finish(running)
        wait_until(lambda: mount.stats()["sessions"]["open"] == 0, what="the last commit")
        wait_until(lambda: fds_in_lost_mounts(mount.pid) == before, what="no descriptor left there")
        assert mount.stats()["errors"] == 0
        (mount.mnt / "tree" / "last").write_bytes(b"x")
        settles(source / "tree" / "last", b"x")
