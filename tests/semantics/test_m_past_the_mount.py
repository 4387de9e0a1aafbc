"""M2: changes made in the backing directory past the mount are seen within the cache time, and break nothing."""

from __future__ import annotations

import mmap
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Mounter
from tests.support import programs
from tests.support.mounting import ROOT, lockfs_environment
from tests.support.targets import Place
from tests.support.waiting import wait_until
from tests.support.worker import Worker

NewWorker = Callable[..., Worker]


def seen(path: Path, content: bytes) -> None:
    wait_until(lambda: path.read_bytes() == content, what=f"{content[:20]!r} in {path.name}")


def in_place(path: Path, data: bytes, offset: int = 0) -> None:
    """Write into the file itself."""
    fd = os.open(path, os.O_WRONLY)
    os.pwrite(fd, data, offset)
    os.close(fd)


def test_M2_file_rewritten_in_place_with_the_same_size(mount: Place, worker: NewWorker) -> None:
    """Open, mapped and closed readers: no old page stays."""
    (mount.source / "f").write_bytes(b"a" * 10000)
    reader = worker()
    fd = reader.open(mount.mnt / "f", "r")
    assert reader.do("pread", fd, 10000, 0) == b"a" * 10000
    with (mount.mnt / "f").open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapping:
        assert mapping[9999] == ord("a")
        in_place(mount.source / "f", b"b" * 10000)
        wait_until(lambda: reader.do("pread", fd, 10000, 0) == b"b" * 10000, what="the new bytes by an open descriptor")
        seen(mount.mnt / "f", b"b" * 10000)
        wait_until(lambda: mapping[9999] == ord("b"), what="the new bytes in a mapping")


def test_M2_rewritten_with_the_same_size_and_time(mount: Place) -> None:
    """cp -p, rsync -t and archives put times back: whoever opens the file afterwards gets its bytes all the same."""
    file = mount.source / "f"
    for number in range(5):
        data = b"%d" % number * 5000
        before = file.stat() if number else None
        file.write_bytes(data) if before is None else in_place(file, data)
        if before is not None:
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert (mount.mnt / "f").read_bytes() == data


def test_M2_inode_number_used_again(mount: Place) -> None:
    """A new file with the number, the size and the time of one that was removed."""
    used_again = 0
    for number in range(20):
        one, data = mount.source / f"f{number}", b"%02d" % number * 4000
        one.write_bytes(data)
        os.utime(one, (1e9, 1e9))
        inode = one.stat().st_ino
        assert (mount.mnt / one.name).read_bytes() == data
        one.unlink()
        other, data = mount.source / f"g{number}", b"%02d" % (50 + number) * 4000
        other.write_bytes(data)
        os.utime(other, (1e9, 1e9))
        used_again += other.stat().st_ino == inode
        assert (mount.mnt / other.name).read_bytes() == data
        assert not (mount.mnt / one.name).exists() or (mount.mnt / one.name).read_bytes()
        wait_until(lambda path=mount.mnt / one.name: not path.exists(), what="the removal")  # type: ignore[misc]
    if not used_again:
        pytest.skip("this filesystem did not use a number again")


@pytest.mark.slow
def test_M2_truncated_grown_and_replaced_while_open(mount: Place, worker: NewWorker) -> None:
    file, path = mount.source / "f", mount.mnt / "f"
    file.write_bytes(b"0123456789" * 1000)
    reader = worker()
    fd = reader.open(path, "r")
    assert len(reader.do("pread", fd, 20000, 0)) == 10000
    os.truncate(file, 5)
    wait_until(lambda: reader.do("pread", fd, 20000, 0) == b"01234", what="the truncation")
    with file.open("ab") as grown:
        grown.write(b"x" * 9000)
    wait_until(lambda: reader.do("pread", fd, 20000, 0) == b"01234" + b"x" * 9000, what="the growth")
    (mount.source / "new").write_bytes(b"another file")
    (mount.source / "new").rename(file)
    seen(path, b"another file")
    assert reader.do("pread", fd, 20000, 0) == b"01234" + b"x" * 9000
    file.unlink()
    wait_until(lambda: not path.exists(), what="the removal")
    assert reader.do("pread", fd, 5, 0) == b"01234"


@pytest.mark.slow
def test_M2_kinds_swapped(mount: Place, tmp_path: Path) -> None:
    """Directory, file, symbolic link and FIFO take turns at a name, looked at all the while."""
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "secret").write_bytes(b"secret")
    (outside / "deep" / "f").write_bytes(b"secret")
    here, there = mount.source / "x", mount.mnt / "x"

    def as_directory() -> Callable[[], bool]:
        (here / "deep").mkdir(parents=True)
        (here / "deep" / "f").write_bytes(b"deep")
        return lambda: (there / "deep" / "f").read_bytes() == b"deep"

    def as_file() -> Callable[[], bool]:
        here.write_bytes(b"file")
        return lambda: there.read_bytes() == b"file"

    def as_link() -> Callable[[], bool]:
        here.symlink_to("nowhere")
        return lambda: os.readlink(there) == "nowhere" and not there.exists()

    def as_fifo() -> Callable[[], bool]:
        os.mkfifo(here)
        return there.is_fifo

    kinds = [as_directory, as_file, as_link, as_fifo]
    for make in [*kinds, *reversed(kinds), as_directory, as_link, as_file, as_fifo]:
        arrived = make()

        def there_now(arrived: Callable[[], bool] = arrived) -> bool:
            try:
                return arrived()
            except OSError:
                return False

        wait_until(there_now, what=make.__name__)
        programs.run("rm", "-rf", here)


def test_M2_directory_swapped_for_a_link_leads_nobody_out(mount: Place, worker: NewWorker, tmp_path: Path) -> None:
    """Whoever has the directory, or works in it, never reaches through the link that took its place."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_bytes(b"secret")
    (mount.source / "d").mkdir()
    (mount.source / "d" / "f").write_bytes(b"inside")
    inside = worker()
    inside.do("chdir", mount.mnt / "d")
    assert inside.read_file("f") == b"inside"
    (mount.source / "d").rename(mount.source / "e")
    (mount.source / "d").symlink_to(outside)
    for _ in range(20):
        assert inside.read_file("f") in (b"inside", b"changed")
        inside.write_file("f", b"changed")
        inside.do("chmod", "f", 0o640)
    wait_until(lambda: (mount.source / "e" / "f").read_bytes() == b"changed", what="the commit")
    assert (outside / "f").read_bytes() == b"secret"
    assert (outside / "f").stat().st_mode & 0o777 == 0o644
    assert os.listdir(outside) == ["f"]


def test_M2_file_swapped_for_a_link_changes_nothing_outside(
    mount_with: Mounter, worker: NewWorker, tmp_path: Path
) -> None:
    """The link leads out of the backing directory only; to whoever uses the mount it leads nowhere."""
    outside, path = tmp_path / "secret", tmp_path / "source" / "f"
    with mount_with(source=tmp_path / "source", mnt=tmp_path / "a" / "b" / "mnt") as mount:
        program = worker()
        outside.write_bytes(b"secret")
        outside.chmod(0o644)
        before = outside.stat()
        for number in range(30):
            path.write_bytes(b"inside")
            program.begin("stat", mount.mnt / "f").answer()
            path.unlink()
            path.symlink_to("../secret")
            # The kernel's idea of the name may be a second old: it goes on with the file that it knows.
            act = (("chmod", 0o600), ("truncate", 0), ("chown", 1, 1), ("open", "w"), ("open", "a"))[number % 5]
            if act[0] == "open":
                pending = program.begin_open(mount.mnt / "f", act[1])
                if pending.error() is None:
                    program.close(pending.result())
            else:
                program.begin(str(act[0]), mount.mnt / "f", *act[1:]).answer()
            path.unlink(missing_ok=True)
        after = outside.stat()
        assert outside.read_bytes() == b"secret"
        assert (after.st_mode, after.st_uid, after.st_mtime_ns) == (before.st_mode, before.st_uid, before.st_mtime_ns)


def test_M2_target_replaced_or_removed_while_a_session_is_open(mount: Place, worker: NewWorker) -> None:
    """The session's commit comes last, and wins."""
    for number, change in enumerate(
        (
            lambda file: file.unlink(),
            lambda file: (mount.source / "other").rename(file),
            lambda file: in_place(file, b"PAST"),
        )
    ):
        for mode in ("w", "r+"):
            name = f"f{number}{mode}"
            (mount.source / name).write_bytes(b"the old version")
            (mount.source / "other").write_bytes(b"other")
            writer = worker()
            fd = writer.open(mount.mnt / name, mode)
            change(mount.source / name)
            writer.write(fd, b"mine")
            writer.close(fd)
            content = (mount.mnt / name).read_bytes()
            assert content[:4] == b"mine"
            wait_until(lambda: (mount.source / name).read_bytes() == content, what="the commit")  # noqa: B023


def test_M2_directory_removed_or_moved_while_a_session_is_open(mount: Place, worker: NewWorker) -> None:
    for name in ("removed", "moved"):
        (mount.source / name).mkdir()
        writer = worker()
        fd = writer.open(mount.mnt / name / "f", "w")
        writer.write(fd, b"staged")
        if name == "removed":
            (mount.source / name).rmdir()
        else:
            (mount.source / name).rename(mount.source / "elsewhere")
        writer.begin("close", fd).answer()
    wait_until(lambda: (mount.source / "elsewhere" / "f").exists(), what="the commit in the moved directory")
    assert (mount.source / "elsewhere" / "f").read_bytes() == b"staged"
    wait_until(lambda: any(o.read_bytes() == b"staged" for o in mount.orphans()), what="the orphan of the removed one")


def test_M2_file_rotated_past_the_mount_while_appenders_have_it_open(mount: Place, worker: NewWorker) -> None:
    """logrotate in the backing directory: who has the old file open goes on there, new appenders get the new one."""
    (mount.source / "notes").write_bytes(b"")
    old, new = worker(), worker()
    fd = old.open(mount.mnt / "notes", "a")
    old.write(fd, b"one\n")
    (mount.source / "notes").rename(mount.source / "notes.1")
    (mount.source / "notes").write_bytes(b"")

    def appended() -> bool:
        new.do("run", ["sh", "-c", f"echo new >> {mount.mnt}/notes"], b"", [])
        return (mount.source / "notes").read_bytes() != b""

    wait_until(appended, what="an append to the new file")
    old.write(fd, b"two\n")
    assert b"two" not in (mount.source / "notes").read_bytes()
    (mount.source / "notes").unlink()

    def made() -> bool:
        new.do("run", ["sh", "-c", f"echo again >> {mount.mnt}/notes"], b"", [])
        return (mount.source / "notes").exists()

    again = new.open(mount.mnt / "notes", "a")
    (mount.source / "notes").unlink(missing_ok=True)
    wait_until(made, what="a new file")
    new.close(again)
    old.close(fd)
    wait_until(lambda: (mount.source / "notes.1").read_bytes().endswith(b"two\n"), what="the old appender's record")


def test_M2_directories_moved_into_each_other(mount: Place, worker: NewWorker) -> None:
    (mount.source / "a" / "b").mkdir(parents=True)
    inside = worker()
    inside.do("chdir", mount.mnt / "a" / "b")
    assert inside.do("listdir", ".") == []
    (mount.source / "a" / "b").rename(mount.source / "b")
    (mount.source / "a").rename(mount.source / "b" / "a")
    # The kernel itself answers ELOOP until it hears of b's new place; here from a listing.
    wait_until(lambda: sorted(os.listdir(mount.mnt)) == ["b"] and (mount.mnt / "b" / "a").is_dir(), what="the new tree")
    assert inside.do("listdir", "a") == []
    inside.write_file("a/f", b"x")
    wait_until(lambda: (mount.mnt / "b" / "a" / "f").exists(), what="the file")
    assert sorted(os.listdir(mount.mnt)) == ["b"]


@pytest.mark.slow
@pytest.mark.limit(240)
@pytest.mark.parametrize("seed", range(3))
def test_M2_random_changes_on_both_sides(mount: Place, seed: int) -> None:
    """Afterwards both sides show the same tree with the same bytes, and the daemon has logged no error."""
    storm = ROOT / "tests" / "support" / "storm.py"
    (mount.source / "tree").mkdir()
    command = ["python3", str(storm)]
    running = [
        programs.start([*command, str(side / "tree"), str(seed * 10 + number), "8"], env=lockfs_environment())
        for number, side in enumerate((mount.mnt, mount.source, mount.mnt, mount.source))
    ]
    programs.finish(running, limit_s=120)
    wait_until(lambda: mount.stats()["sessions"]["open"] == 0, what="the last commit")

    def tree(root: Path) -> dict[str, object]:
        listed: dict[str, object] = {}
        for path in root.rglob("*"):
            status = path.lstat()
            what: object = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
            listed[str(path.relative_to(root))] = (what, status.st_mode, status.st_nlink if what is None else 0)
        return listed

    def same() -> bool:
        try:
            return tree(mount.mnt / "tree") == tree(mount.source / "tree")
        except OSError:
            return False

    wait_until(same, 15.0, "the same tree on both sides")
    assert mount.stats()["errors"] == 0


def test_M2_hidden_directory_removed(mount_with: Mounter, worker: NewWorker) -> None:
    """`git clean -fdx` in the backing directory: what is being written is published all the same."""
    with mount_with() as mount:
        for name in ("f", "g"):
            (mount.mnt / name).write_bytes(b"old")
        (mount.mnt / "f").chmod(0o640)
        writer, editor = worker(), worker()
        fd, other = writer.open(mount.mnt / "f", "w"), editor.open(mount.mnt / "g", "r+")
        writer.write(fd, b"written before")
        shutil.rmtree(mount.source / ".lockfs")
        editor.do("pwrite", other, b"OLD", 0)
        writer.close(fd)
        editor.close(other)
        assert (mount.mnt / "f").read_bytes() == b"written before"
        assert (mount.mnt / "f").stat().st_mode & 0o777 == 0o640
        assert (mount.mnt / "g").read_bytes() == b"OLD"
        for number in range(30):
            (mount.mnt / f"new{number}").write_bytes(b"new")
            assert (mount.mnt / f"new{number}").read_bytes() == b"new"
        shutil.rmtree(mount.source / ".lockfs" / "staging")
        (mount.mnt / "f").write_bytes(b"again")
        assert (mount.mnt / "f").read_bytes() == b"again"
        writer.write(writer.open(mount.mnt / "f", "w"), b"half")
        writer.kill_and_wait()
        wait_until(lambda: any(o.read_bytes() == b"half" for o in mount.orphans()), what="the orphan")
