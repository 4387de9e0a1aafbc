"""Extended attributes and ACLs through a mount with `--xattrs`, call by call as on the plain directory beside it."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import programs
from tests.support.acls import ACCESS, DEFAULT, acl, attributes, why_not
from tests.support.targets import Place
from tests.support.worker import MODES, Worker

NewWorker = Callable[..., Worker]
NOBODY = 65534
TEAM = 4321
NOT_SUPPORTED = ("ENOTSUP", "EOPNOTSUPP")  # one number, two names
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="acting as other users needs root")

# --- single calls ----------------------------------------------------------------------------------------------------


def furnish(root: Path) -> None:
    """One of each kind of file, with attributes where it may have some. Nothing that depends on the tests' user."""
    for name in ("file", "foreign", "unreadable", "setgid", "mine.lock", "mine.log"):
        (root / name).write_bytes(b"content")
        os.setxattr(root / name, "user.there", b"value")
    for name in ("dir", "sticky"):
        (root / name).mkdir()
        os.setxattr(root / name, "user.there", b"value")
    (root / "link").symlink_to("file")
    (root / "dangling").symlink_to("nowhere")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(root)
        try:
            server.bind("socket")
        finally:
            os.chdir("/")
    os.setxattr(root / "file", ACCESS, acl(0o644, users={NOBODY: 6}))
    if os.geteuid() == 0:
        os.mknod(root / "device", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.setxattr(root / "file", "trusted.there", b"root's")
        os.setxattr(root / "link", "trusted.there", b"the link's", follow_symlinks=False)
        os.setxattr(root / "fifo", "trusted.there", b"the pipe's")
        os.setxattr(root / "file", "security.there", b"label")
        for name in ("dir", "mine.lock", "mine.log"):
            os.chown(root / name, NOBODY, NOBODY)
        os.chown(root / "setgid", NOBODY, TEAM)
    (root / "sticky").chmod(0o1777)
    (root / "unreadable").chmod(0o222)
    (root / "setgid").chmod(0o2775)


FILES = (
    *("file", "foreign", "unreadable", "setgid", "mine.lock", "mine.log", "dir", "sticky"),
    *("link", "dangling", "fifo", "socket", "device", "missing"),
)
NAMES: tuple[str | bytes, ...] = (
    *("user.there", "user.new", "trusted.there", "trusted.new", "security.there", "security.new"),
    *("security.capability", ACCESS, DEFAULT, "system.other", "nonsense", "user.", "", "user." + "n" * 250),
    b"user.\xff\xfe\xfd",
    "user." + "n" * 251,
)
VALUES = (
    *(b"", b"plain", b"\x00\xff\x00", b"v" * 1000, b"v" * 65537),
    *(acl(0o640, users={NOBODY: 7}), acl(0o777), acl(0o000, mask=0)),
    acl(0o640, users={NOBODY: 7})[:-1],
    acl(0o640)[:4],
)


VALUES_OF: dict[str | bytes, tuple[bytes, ...]] = {
    **dict.fromkeys(("user.new", ACCESS, DEFAULT), VALUES),
    "security.capability": VALUES[1:],  # Linux lets anybody set an empty one, and then nobody read it
}


def calls_on(follow: bool) -> Iterator[tuple[object, ...]]:
    """Calls of worker_main for one file, less its path."""
    yield "list_attributes", follow
    for name in NAMES:
        yield "get_attribute", name, follow
        yield "remove_attribute", name, follow
        for flags in (os.XATTR_REPLACE, os.XATTR_CREATE, 0):
            yield "set_attribute", name, b"by flags", flags, follow
        for value in VALUES_OF.get(name, VALUES[:2]):
            yield "set_attribute", name, value, 0, follow
            yield "get_attribute", name, follow
    yield "list_attributes", follow


def outcome(worker: Worker, *command: object) -> object:
    """What a command returns, or its errno."""
    pending = worker.begin(*command)  # type: ignore[arg-type]
    return pending.error() or pending.result()


def compare(worker: Worker, mnt: Path, plain: Path, *command: object) -> None:
    """The same command (a Path is below either) has the same outcome on both."""
    outcomes = []
    for root in (mnt, plain):
        arguments = [root / argument if isinstance(argument, Path) else argument for argument in command]
        outcomes.append(outcome(worker, *arguments))
    assert outcomes[0] == outcomes[1], command


@pytest.mark.parametrize("follow", [True, False], ids=["follow", "nofollow"])
@pytest.mark.parametrize("user", [None, pytest.param(NOBODY, marks=needs_root)], ids=["tester", "nobody"])
def test_each_call_has_the_outcome_of_a_plain_directory(
    xattr_mount: Place, plain_beside: Path, worker: NewWorker, user: int | None, follow: bool
) -> None:
    mnt, plain = xattr_mount.mnt, plain_beside
    furnish(mnt)
    furnish(plain)
    who = worker(user=user)
    for file in FILES:
        calls = list(calls_on(follow))
        found, expected = (
            who.do("outcomes", [(name, root / file, *rest) for name, *rest in calls]) for root in (mnt, plain)
        )
        for call, one, other in zip(calls, found, expected, strict=True):
            assert one == other, (file, call)
        if file not in ("missing", "dangling"):
            assert stat.S_IMODE((mnt / file).lstat().st_mode) == stat.S_IMODE((plain / file).lstat().st_mode), file
            assert attributes(mnt / file, follow=follow) == attributes(plain / file, follow=follow)


def test_sizes_are_probed_as_on_a_plain_directory(xattr_mount: Place, plain_beside: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)

    def sizes(path: Path) -> list[tuple[int, int]]:
        found = []
        for size in (0, 1, 5, 6, 100, 65536):
            buffer = ctypes.create_string_buffer(max(size, 1))
            for call in (
                lambda size=size, buffer=buffer: libc.getxattr(os.fsencode(path), b"user.name", buffer, size),
                lambda size=size, buffer=buffer: libc.listxattr(os.fsencode(path), buffer, size),
            ):
                ctypes.set_errno(0)
                found.append((call(), ctypes.get_errno()))
        return found

    for root in (xattr_mount.mnt, plain_beside):
        (root / "f").touch()
        os.setxattr(root / "f", "user.name", b"value")
        (root / "bare").touch()
    assert sizes(xattr_mount.mnt / "f") == sizes(plain_beside / "f")
    assert sizes(xattr_mount.mnt / "bare") == sizes(plain_beside / "bare")


def test_attributes_of_the_control_files(xattr_mount: Place) -> None:
    stats = xattr_mount.root / ".lockfs" / "stats"
    assert os.listxattr(stats) == []
    with pytest.raises(PermissionError):
        os.setxattr(stats, "user.a", b"")
    assert stats.read_bytes()


# --- ACLs and other users --------------------------------------------------------------------------------------------

ACLS = {
    "named user may": acl(0o600, users={NOBODY: 6}),
    "named user may not": acl(0o666, users={NOBODY: 0}),
    "masked": acl(0o600, users={NOBODY: 6}, mask=4),
    "group may": acl(0o600, groups={NOBODY: 6}),
    "group may not, others may": acl(0o606, groups={NOBODY: 0}),
    "other group": acl(0o600, groups={TEAM: 7}),
    "read only": acl(0o600, users={NOBODY: 4}),
    "write only": acl(0o600, users={NOBODY: 2}),
}


@needs_root
@pytest.mark.parametrize("name", ["protected", "shared.lock", "live.log"])
def test_acls_decide_who_may_open(xattr_mount: Place, plain_beside: Path, worker: NewWorker, name: str) -> None:
    who = worker(user=NOBODY)
    for value in ACLS.values():
        for root in (xattr_mount.mnt, plain_beside):
            (root / name).write_bytes(b"root's")
            os.setxattr(root / name, ACCESS, value)
        for mode in ("r", "w", "r+", "a"):
            found = []
            for root in (xattr_mount.mnt, plain_beside):
                fd = outcome(who, "open", root / name, MODES[mode], 0o666)
                found.append(fd if isinstance(fd, str) else "opened")
                if isinstance(fd, int):
                    who.close(fd)
            assert found[0] == found[1], mode
        compare(who, xattr_mount.mnt, plain_beside, "access", Path(name), os.R_OK)
        compare(who, xattr_mount.mnt, plain_beside, "access", Path(name), os.W_OK)
        compare(who, xattr_mount.mnt, plain_beside, "truncate", Path(name), 1)
        compare(who, xattr_mount.mnt, plain_beside, "set_attribute", Path(name), "user.a", b"1")
        compare(who, xattr_mount.mnt, plain_beside, "set_attribute", Path(name), ACCESS, acl(0o666))
        compare(who, xattr_mount.mnt, plain_beside, "chmod", Path(name), 0o666)


@needs_root
def test_an_acl_that_is_changed_holds_from_then_on(xattr_mount: Place, worker: NewWorker) -> None:
    """The kernel keeps ACLs: it must hear of changes, by setfacl, by chmod, and in a session."""
    path = xattr_mount.mnt / "f"
    path.write_bytes(b"root's")
    path.chmod(0o600)
    root, user = worker(), worker(user=NOBODY)
    assert user.begin_open(path, "r").error() == "EACCES"
    root.do("set_attribute", path, ACCESS, acl(0o600, users={NOBODY: 6}))
    user.close(user.open(path, "r+"))
    root.do("chmod", path, 0o600)
    assert user.begin_open(path, "r").error() == "EACCES"
    root.do("chmod", path, 0o660)
    assert user.read_file(path) == b"root's"
    fd = root.open(path, "w")
    root.write(fd, b"new")
    root.do("set_attribute", path, ACCESS, acl(0o600, users={NOBODY: 0}))
    assert user.begin_open(path, "r").error() == "EACCES"
    root.close(fd)
    assert user.begin_open(path, "r").error() == "EACCES"
    root.do("remove_attribute", path, ACCESS)
    root.do("chmod", path, 0o644)
    assert user.read_file(path) == b"new"


@needs_root
def test_acls_of_directories(xattr_mount: Place, plain_beside: Path, worker: NewWorker) -> None:
    who = worker(user=NOBODY)
    who.do("umask", 0o077)
    for number, bits in enumerate((0, 1, 4, 5, 3, 7)):
        for root in (xattr_mount.mnt, plain_beside):
            folder = root / f"d{number}"
            folder.mkdir()
            (folder / "file").write_bytes(b"root's")
            os.setxattr(folder, ACCESS, acl(0o700, users={NOBODY: bits}))
            os.setxattr(folder, DEFAULT, acl(0o700, users={NOBODY: bits, 1: 7}))
        for command in (
            ("listdir", Path(f"d{number}")),
            ("read_file", Path(f"d{number}/file")),
            ("write_file", Path(f"d{number}/new"), b"nobody's"),
            ("mkdir", Path(f"d{number}/dir"), 0o777),
            ("write_file", Path(f"d{number}/dir/below"), b"nobody's"),
            ("unlink", Path(f"d{number}/file")),
        ):
            compare(who, xattr_mount.mnt, plain_beside, *command)
        trees = [
            {
                str(path.relative_to(root)): (oct(path.stat().st_mode), path.stat().st_uid, attributes(path))
                for path in (root / f"d{number}").rglob("*")
            }
            for root in (xattr_mount.mnt, plain_beside)
        ]
        assert trees[0] == trees[1]


# --- programs --------------------------------------------------------------------------------------------------------


def tree_with_attributes(root: Path) -> None:
    for folder in ("", "sub", "sub/below"):
        (root / folder).mkdir(parents=True, exist_ok=True)
        os.setxattr(root / folder, DEFAULT, acl(0o750, users={12: 7}))
        for name in ("a", "b.log", "c.lock", "d.db"):
            path = root / folder / name
            path.write_bytes(name.encode() * 100)
            os.setxattr(path, "user.name", name.encode())
            os.setxattr(path, b"user.\xf0\x90", bytes(range(200)))
            os.setxattr(path, ACCESS, acl(0o640, users={12: 6}, groups={34: 4}, mask=6))
    (root / "plain").write_bytes(b"nothing")
    (root / "link").symlink_to("a")


def picture(root: Path) -> dict[str, object]:
    return {
        str(path.relative_to(root)): (
            oct(path.lstat().st_mode),
            attributes(path, follow=False),
            path.read_bytes() if path.is_file() else None,
        )
        for path in [root, *root.rglob("*")]
    }


COPIES: dict[str, str] = {
    "cp -a": "cp -a {origin} {target}",
    "cp --preserve=all over": "cp -r {origin} {target} && cp -r --preserve=all {origin}/. {target}",
    "rsync": "rsync -aAX {origin}/ {target}",
    "rsync over": "cp -r {origin} {target} && rsync -aAX --ignore-times {origin}/ {target}",
    "rsync in place": "cp -r {origin} {target} && rsync -aAX --ignore-times --inplace {origin}/ {target}",
    "tar": (
        "mkdir {target} && tar -C {origin} --xattrs --acls -cf - . | "
        "tar -C {target} --xattrs --xattrs-include='*' --acls -xpf -"
    ),
    "getfacl --restore": (
        "cp -r {origin} {target} && cd {origin} && getfacl -R . > {target}.acl && cd {target} && "
        "setfacl --restore={target}.acl"
    ),
    "mv": "cp -a {origin} {target}.elsewhere && mv {target}.elsewhere {target}",
    "install": "mkdir {target} && install -m 640 --preserve-context {origin}/a {target}/a 2>/dev/null || "
    "install -m 640 {origin}/a {target}/a",
    "setfacl -R": "cp -r {origin} {target} && setfacl -R -m u:99:rX,d:u:99:rwX {target} && setfacl -R -x g:34 {target}",
    "setfattr": "cp -r {origin} {target} && setfattr -n user.set -v 0x00ff00 {target}/a && "
    "setfattr -x user.set {target}/a && setfattr -n user.more -v text {target}/sub",
    "chmod": "cp -a {origin} {target} && chmod -R g-w,o+r {target}",
}


@pytest.mark.parametrize("what", COPIES)
@pytest.mark.parametrize(
    "way",
    [
        "onto the mount",
        pytest.param("from the mount", marks=pytest.mark.slow),
        pytest.param("within", marks=pytest.mark.slow),
    ],
)
def test_programs_carry_attributes(xattr_mount: Place, plain_beside: Path, what: str, way: str) -> None:
    script = COPIES[what]
    programs.need("setfacl", "setfattr", script.split()[0], *(["rsync"] if "rsync" in script else []))
    plain, mnt = plain_beside, xattr_mount.mnt
    for root in (plain, mnt):
        tree_with_attributes(root / "origin")
    origin = (plain if way == "onto the mount" else mnt) / "origin"
    target = (plain if way == "from the mount" else mnt) / "target"
    programs.shell(script.format(origin=plain / "origin", target=plain / "expected"))
    programs.shell(script.format(origin=origin, target=target))
    assert picture(target) == picture(plain / "expected")


@needs_root
def test_a_backing_filesystem_without_attributes(mount_with: Callable[..., object], worker: NewWorker) -> None:
    """The kernel asks for ACLs at each open by others than the owner, and must hear that there are none."""
    with tempfile.TemporaryDirectory() as name:
        source = Path(name)
        if programs.run("mount", "-t", "ramfs", "none", source, status=None).returncode:
            pytest.skip("ramfs cannot be mounted here")
        try:
            source.chmod(0o777)
            with mount_with("--xattrs", "--allow-other", source=source) as mount:  # type: ignore[attr-defined]
                (mount.mnt / "f").write_bytes(b"root's")
                (mount.mnt / "f").chmod(0o664)
                user = worker(user=NOBODY)
                assert user.read_file(mount.mnt / "f") == b"root's"
                user.write_file(mount.mnt / "g", b"nobody's")
                assert user.begin("set_attribute", mount.mnt / "g", "user.a", b"").error() in NOT_SUPPORTED
                assert user.begin("set_attribute", mount.mnt / "g", ACCESS, acl(0o600)).error() in NOT_SUPPORTED
                assert (mount.mnt / "g").read_bytes() == b"nobody's"
        finally:
            programs.run("umount", "-l", source)


def test_ls_marks_files_with_an_acl(xattr_mount: Place) -> None:
    (xattr_mount.mnt / "f").touch()
    os.setxattr(xattr_mount.mnt / "f", ACCESS, acl(0o600, users={12: 6}))
    assert programs.run("ls", "-l", xattr_mount.mnt / "f").stdout.split()[0].endswith(b"+")


# --- without the option ----------------------------------------------------------------------------------------------


def test_without_the_option_attributes_are_not_supported(mount: Place) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"content")
    calls: tuple[Callable[[], object], ...] = (
        lambda: os.setxattr(path, "user.a", b""),
        lambda: os.getxattr(path, "user.a"),
        lambda: os.listxattr(path),
        lambda: os.removexattr(path, "user.a"),
        lambda: os.setxattr(path, ACCESS, acl(0o600)),
    )
    for call in calls:
        with pytest.raises(OSError, match=f"Errno {errno.ENOTSUP}]"):
            call()


@pytest.mark.parametrize("script", ["cp -a {0}/. {1}", "ls -l {1}", "tar -C {0} --xattrs -c . | tar -C {1} -x"])
def test_without_the_option_programs_say_nothing(mount: Place, tmp_path: Path, script: str) -> None:
    origin = tmp_path / "origin"
    origin.mkdir()
    (origin / "a").write_bytes(b"content")
    if why_not(tmp_path) is None:
        os.setxattr(origin / "a", "user.a", b"1")
    (mount.mnt / "there").touch()
    done = programs.run("sh", "-c", script.format(origin, mount.mnt))
    assert done.stderr == b""
