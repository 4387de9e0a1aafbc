"""W5: a commit keeps extended attributes and ACLs; new files inherit what their directory says."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import programs
from tests.support.acls import ACCESS, DEFAULT, acl, attributes, why_not
from tests.support.targets import Place
from tests.support.worker import Worker

NewWorker = Callable[..., Worker]
READER = acl(0o640, users={12345: 4}, groups={23456: 6})
SHARED = acl(0o750, users={12345: 7}, groups={23456: 5})
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and other owners need root")


def need_xattrs(directory: Path) -> None:
    """Skip, with the reason, where the filesystem has none."""
    reason = why_not(directory)
    if reason is not None:
        pytest.skip(reason)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def furnish(path: Path) -> dict[str, bytes]:
    """A file with all that a commit is to keep; its attributes."""
    path.write_bytes(b"old content\n")
    os.setxattr(path, "user.plain", b"text")
    os.setxattr(path, b"user.\xff\xfe not utf-8", bytes(range(256)))
    os.setxattr(path, "user.empty", b"")
    os.setxattr(path, ACCESS, READER)
    if os.geteuid() == 0:
        os.setxattr(path, "trusted.secret", b"root's")
        os.setxattr(path, "security.lockfs-test", b"label")
    return attributes(path)


def wait_for_commit(path: Path) -> None:
    """What was closed is there for whoever looks through the mount (W3), and behind it once somebody has looked."""
    path.read_bytes()


def replace(path: Path) -> None:
    path.write_bytes(b"new")


def edit(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"new")


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"new\n")


def truncate(path: Path) -> None:
    os.truncate(path, 3)


def truncate_to_nothing(path: Path) -> None:
    os.truncate(path, 0)


def by_tee(path: Path) -> None:
    programs.run("tee", path, data=b"new")


def by_dd(path: Path) -> None:
    programs.run("dd", f"of={path}", "conv=notrunc", data=b"new")


WRITES = (replace, edit, append, truncate, truncate_to_nothing, by_tee, by_dd)


@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)
def test_W5_a_commit_keeps_attributes_and_acl(xattr_mount: Place, write: Callable[[Path], None]) -> None:
    path = xattr_mount.mnt / "f"
    before = furnish(path)
    mode = mode_of(path)
    write(path)
    assert attributes(path) == attributes(xattr_mount.source / "f") == before
    assert mode_of(path) == mode == 0o670


@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)
def test_W5_without_the_option_a_commit_keeps_the_backing_files_attributes_and_acl(
    mount: Place, write: Callable[[Path], None]
) -> None:
    need_xattrs(mount.source)
    before = furnish(mount.source / "f")
    write(mount.mnt / "f")
    wait_for_commit(mount.mnt / "f")
    assert attributes(mount.source / "f") == before


def test_W5_sed_keeps_what_it_keeps_on_a_plain_directory(xattr_mount: Place, plain_beside: Path) -> None:
    """sed -i makes a new file, and carries the ACL over by itself."""
    for root in (xattr_mount.mnt, plain_beside):
        furnish(root / "f")
        programs.run("sed", "-i", "s/old/new/", root / "f")
        assert (root / "f").read_bytes() == b"new content\n"
    assert attributes(xattr_mount.mnt / "f") == attributes(plain_beside / "f")
    assert mode_of(xattr_mount.mnt / "f") == mode_of(plain_beside / "f")


@pytest.mark.parametrize("mode", ["w", "r+"])
def test_W5_a_strangers_attributes_are_not_undone_by_the_commit(
    xattr_mount: Place, worker: NewWorker, mode: str
) -> None:
    path = xattr_mount.mnt / "f"
    furnish(path)
    writer, stranger = worker(), worker()
    fd = writer.open(path, mode)
    writer.write(fd, b"new")
    stranger.do("set_attribute", path, "user.late", b"1")
    stranger.do("remove_attribute", path, "user.plain")
    stranger.do("set_attribute", path, ACCESS, acl(0o600, users={777: 2}))
    expected = attributes(path)
    assert "user.late" in expected
    assert stranger.do("list_attributes", path) == list(expected)
    writer.close(fd)
    assert attributes(path) == expected
    assert mode_of(path) == 0o670
    assert path.read_bytes()[:3] == b"new"


def test_W5_an_appenders_attributes_are_not_undone_by_somebody_elses_commit(
    xattr_mount: Place, worker: NewWorker
) -> None:
    path = xattr_mount.mnt / "f"
    path.write_bytes(b"old")
    path.chmod(0o644)
    appender, writer = worker(), worker()
    appending = appender.open(path, "a")
    fd = writer.open(path, "w")
    writer.write(fd, b"new")
    appender.do("set_attribute", appending, "user.late", b"1")
    appender.do("fchmod", appending, 0o600)
    writer.close(fd)
    appender.close(appending)
    assert attributes(path) == {"user.late": b"1"}
    assert mode_of(path) == 0o600


@pytest.mark.parametrize("by", ["path", "descriptor"])
@pytest.mark.parametrize("mode", ["w", "r+"])
def test_W5_the_writers_attributes_come_with_its_content(
    xattr_mount: Place, worker: NewWorker, mode: str, by: str
) -> None:
    """A checksum in an attribute fits the content, at any moment (W2)."""
    path = xattr_mount.mnt / "f"
    path.write_bytes(b"old")
    os.setxattr(path, "user.checksum", b"of old")
    writer, reader = worker(), worker()
    fd = writer.open(path, mode)
    writer.write(fd, b"new")
    what = path if by == "path" else fd
    writer.do("set_attribute", what, "user.checksum", b"of new")
    assert writer.do("get_attribute", what, "user.checksum") == b"of new"
    assert reader.do("get_attribute", path, "user.checksum") == b"of old"
    assert reader.read_file(path) == b"old"
    writer.close(fd)
    assert reader.do("get_attribute", path, "user.checksum") == b"of new"
    assert reader.read_file(path) == b"new"


def test_W5_a_plain_directory_shows_the_new_attribute_before_the_content(plain_beside: Path, worker: NewWorker) -> None:
    """What the test above would find without lockfs."""
    path = plain_beside / "f"
    path.write_bytes(b"old")
    writer, reader = worker(), worker()
    fd = writer.open(path, "r+")
    writer.do("set_attribute", fd, "user.checksum", b"of new")
    assert reader.do("get_attribute", path, "user.checksum") == b"of new"
    assert reader.read_file(path) == b"old"


def test_N1_a_killed_writer_leaves_the_old_attributes(xattr_mount: Place, worker: NewWorker) -> None:
    path = xattr_mount.mnt / "f"
    before = furnish(path)
    writer = worker()
    fd = writer.open(path, "w")
    writer.write(fd, b"half")
    writer.do("set_attribute", fd, "user.plain", b"changed")
    writer.kill_and_wait()
    assert (path.read_bytes(), attributes(path)) == (b"old content\n", before)


def test_W5_an_attribute_set_in_a_session_without_a_write_stays(xattr_mount: Place, worker: NewWorker) -> None:
    path = xattr_mount.mnt / "f"
    path.write_bytes(b"old")
    writer = worker()
    fd = writer.open(path, "r+")
    writer.do("set_attribute", fd, "user.a", b"1")
    writer.do("set_attribute", path, ACCESS, READER)
    writer.close(fd)
    assert attributes(path) == {"user.a": b"1", ACCESS: READER}
    fd = writer.open(path, "r+")
    writer.do("set_attribute", fd, "user.b", b"2")
    writer.write(fd, b"new")
    writer.close(fd)
    assert attributes(path) == {"user.a": b"1", "user.b": b"2", ACCESS: READER}


@needs_root
@pytest.mark.parametrize("write", [replace, edit, append, truncate], ids=lambda write: write.__name__)
def test_W5_capabilities_go_with_a_write_as_on_a_plain_directory(
    xattr_mount: Place, plain_beside: Path, write: Callable[[Path], None]
) -> None:
    programs.need("setcap")
    for root in (xattr_mount.mnt, plain_beside):
        path = root / "f"
        path.write_bytes(b"old content\n")
        programs.run("setcap", "cap_net_raw=ep", path)
        assert "security.capability" in attributes(path)
        with path.open("r+b"):
            pass  # nothing is written
        assert "security.capability" in attributes(path)
        write(path)
        assert attributes(path) == {}
        programs.run("setcap", "cap_net_raw=ep", path)
        assert "security.capability" in attributes(path)


# --- what new files inherit ------------------------------------------------------------------------------------------

CREATIONS: tuple[tuple[str, Callable[[Worker, Path, int], object]], ...] = (
    ("protected", lambda who, path, mode: who.close(who.open(path / "f", "w", 0, mode))),
    ("exclusive", lambda who, path, mode: who.close(who.open(path / "x", "x", 0, mode))),
    ("appended", lambda who, path, mode: who.close(who.open(path / "a", "a", 0, mode))),
    ("shared", lambda who, path, mode: who.close(who.open(path / "s.lock", "w", 0, mode))),
    ("live", lambda who, path, mode: who.close(who.open(path / "l.log", "w", 0, mode))),
    ("read", lambda who, path, mode: who.close(who.open(path / "r", os.O_RDONLY | os.O_CREAT, 0, mode))),
    ("directory", lambda who, path, mode: who.do("mkdir", path / "d", mode)),
    ("fifo", lambda who, path, mode: who.do("mkfifo", path / "p", mode)),
    ("symlink", lambda who, path, mode: who.do("symlink", "f", path / "ln")),
)


@pytest.mark.parametrize(
    "default",
    [None, SHARED, acl(0o777, mask=7), acl(0o700, users={1: 7}, mask=0)],
    ids=["no default", "shared", "nobody named", "masked"],
)
def test_W5_new_files_inherit_as_on_a_plain_directory(
    xattr_mount: Place, plain_beside: Path, worker: NewWorker, default: bytes | None
) -> None:
    """A default ACL is inherited, and the umask does not apply where there is one (umask(2), acl(5))."""
    who = worker()
    for umask in (0o022, 0o077, 0):
        who.do("umask", umask)
        for mode in (0o666, 0o600, 0o777, 0o640):
            found = []
            for root in (xattr_mount.mnt, plain_beside):
                folder = root / f"{umask:o}-{mode:o}"
                folder.mkdir()
                if default is not None:
                    os.setxattr(folder, DEFAULT, default)
                for _, create in CREATIONS:
                    create(who, folder, mode)
                found.append(
                    {
                        path.name: (oct(path.lstat().st_mode), attributes(path, follow=False))
                        for path in folder.iterdir()
                    }
                )
            assert found[0] == found[1]
            assert len(found[0]) == len(CREATIONS)


def test_W5_without_the_option_new_files_inherit_the_default_acl(mount: Place) -> None:
    """As directories do; but the kernel has taken the umask off before it asks."""
    need_xattrs(mount.source)
    os.setxattr(mount.source, DEFAULT, SHARED)
    (mount.mnt / "f").write_bytes(b"new")
    (mount.mnt / "a.lock").write_bytes(b"new")
    wait_for_commit(mount.mnt / "f")
    found = attributes(mount.source / "f")
    assert found == attributes(mount.source / "a.lock")
    assert ACCESS in found


def test_W5_files_do_not_inherit_from_the_backing_directorys_root(mount_with: Callable[..., object]) -> None:
    """Staged files lie in a directory below the root, whose default ACL is not for other directories."""
    with mount_with("--xattrs") as mount:  # type: ignore[attr-defined]
        source, mnt = mount.source, mount.mnt
        need_xattrs(source)
        (mnt / "sub").mkdir()
    os.setxattr(source, DEFAULT, SHARED)
    with mount_with("--xattrs") as mount:  # type: ignore[attr-defined]
        (mount.mnt / "sub" / "f").write_bytes(b"new")
        assert attributes(mount.mnt / "sub" / "f") == {}
        (mount.mnt / "f").write_bytes(b"new")
        assert ACCESS in attributes(mount.mnt / "f")
