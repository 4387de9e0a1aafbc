"""Ordinary programs on a mount: cp, tar, sed, dd, sort, shells and editors' ways of saving."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import Mounter
from tests.support import programs
from tests.support.targets import Place
from tests.support.waiting import wait_until


def make_tree(base: Path) -> None:
    """Files of several kinds, modes and times."""
    (base / "a" / "b" / "c").mkdir(parents=True)
    for number in range(30):
        path = base / "a" / ("b" if number % 2 else ".") / f"file {number}"
        path.write_bytes(b"%d " % number * (number * 37))
        path.chmod(0o600 + number % 64)
        os.utime(path, ns=(10**18 + number, 10**18 + 123 * number))
    (base / "a" / "link").symlink_to("b/file 1")
    (base / "a" / "broken").symlink_to("nowhere")
    os.link(base / "a" / "file 2", base / "a" / "b" / "hard")
    os.mkfifo(base / "a" / "fifo")
    (base / "a" / "b" / "c").chmod(0o700)
    with (base / "a" / "sparse").open("wb") as file:
        file.truncate(1 << 20)


def listing(base: Path) -> str:
    """Everything about a tree that a copy keeps, as text."""
    return programs.shell(
        "find . -printf '%P %y %m %U %G %s %n %l' \\( -type f -printf ' %T@' -o -true \\) -printf '\\n' | sort; "
        "find . -type f -exec cksum {} + | sort",
        cwd=base,
    )


def test_cp_a(mount: Place, tmp_path: Path) -> None:
    make_tree(tmp_path)
    programs.run("cp", "-a", tmp_path / "a", mount.mnt / "a")
    assert _same_tree(mount.mnt / "a", tmp_path / "a")
    programs.run("cp", "-a", mount.mnt / "a", mount.mnt / "again")
    assert _same_tree(mount.mnt / "again", tmp_path / "a")


def _same_tree(one: Path, two: Path) -> bool:
    def strip(text: str) -> list[str]:
        # Sizes of directories belong to the filesystem.
        return [line for line in text.splitlines() if " d " not in line]

    assert strip(listing(one)) == strip(listing(two))
    return True


def test_tar(mount: Place, tmp_path: Path) -> None:
    make_tree(tmp_path)
    programs.run("tar", "--format=pax", "-cpf", mount.mnt / "a.tar", "-C", tmp_path, "a")
    programs.run("tar", "-xpf", mount.mnt / "a.tar", "-C", mount.mnt)
    assert _same_tree(mount.mnt / "a", tmp_path / "a")
    programs.run("tar", "-df", mount.mnt / "a.tar", "-C", mount.mnt)


def test_rsync(mount: Place, tmp_path: Path) -> None:
    programs.need("rsync")
    make_tree(tmp_path)
    for options in (["-aH"], ["-aH", "--inplace"]):
        programs.run("rsync", *options, f"{tmp_path}/a/", f"{mount.mnt}/a/")
        assert _same_tree(mount.mnt / "a", tmp_path / "a")
        (tmp_path / "a" / "file 4").write_bytes(b"changed")


def test_mv_between_the_mount_and_elsewhere(mount: Place, tmp_path: Path) -> None:
    make_tree(tmp_path)
    before = listing(tmp_path / "a")
    programs.run("mv", tmp_path / "a", mount.mnt / "a")
    programs.run("mv", mount.mnt / "a", mount.mnt / "b")
    programs.run("mv", mount.mnt / "b", tmp_path / "a")
    strip = [line for line in before.splitlines() if " d " not in line]
    assert [line for line in listing(tmp_path / "a").splitlines() if " d " not in line] == strip


EDITS = {
    "sed -i": "sed -i s/two/2/ f",
    "sort -o": "sort -o f f",
    "dd conv=notrunc": "printf TWO | dd of=f bs=1 seek=4 conv=notrunc status=none",
    "truncate": "truncate -s 4 f",
    "perl -i": "perl -i -pe s/two/2/ f",
    "ed's way": "cp f f.new && echo more >> f.new && mv f.new f",
    "append": "echo four >> f",
    "cat over": "printf 'a\\nb\\n' | cat > f",
    "tee": "echo x | tee f > /dev/null",
    "tee -a": "echo x | tee -a f > /dev/null",
    "read and write": "exec 3<> f; read l <&3; echo X >&3; exec 3>&-",
    "install": "install -m 640 /etc/hostname f",
    "ln -f": "echo other > g; ln -f g f",
    "cp over": "echo other > g; cp g f",
    "cp --reflink": "echo other > g; cp --reflink=auto g f",
    "noclobber": "set -o noclobber; (echo x > f) 2> /dev/null; echo $? > g; echo y >| f",
    "split": "split -l 1 f part.; cat part.* > f",
    "gzip": "gzip -n f; gunzip f.gz",
    "fallocate": "fallocate -l 100 f || truncate -s 100 f",
    "self append": "cat f f > g; cat g >> f",
    "exec block": "exec 3> f; echo a >&3; echo b >&3; exec 3>&-; cat f > g",
    "patch": "printf -- '--- f\\n+++ f\\n@@ -1,3 +1,3 @@\\n three\\n-two\\n+zwei\\n one\\n' | patch -s f",
}


@pytest.mark.parametrize("script", EDITS.values(), ids=EDITS.keys())
def test_edit_is_as_on_a_plain_directory(mount: Place, tmp_path: Path, script: str) -> None:
    for tool in ("perl", "ed", "patch", "gzip", "fallocate"):
        if script.startswith(tool) or f"| {tool}" in script:
            programs.need(tool)
    plain = tmp_path / "plain"
    plain.mkdir()
    results = []
    for base in (plain, mount.mnt):
        (base / "f").write_text("three\ntwo\none\n")
        (base / "f").chmod(0o644)
        done = programs.run("bash", "-c", script, cwd=base, status=None)
        tree = {path.name: (path.read_bytes(), path.stat().st_mode) for path in base.iterdir()}
        results.append((done.returncode, done.stdout, tree))
    assert results[0] == results[1]


def test_logrotate_with_create_and_copytruncate(mount: Place) -> None:
    """A shell that appends for good while its log is renamed, recreated and truncated."""
    programs.shell(
        "exec 3>> app.txt; echo 1 >&3; mv app.txt app.txt.1; : > app.txt; echo 2 >&3; "
        "exec 3>> app.txt; echo 3 >&3; cp app.txt app.txt.2; : > app.txt; echo 4 >&3",
        cwd=mount.mnt,
    )
    contents = {path.name: path.read_text() for path in mount.mnt.iterdir()}
    assert contents == {"app.txt": "4\n", "app.txt.1": "1\n2\n", "app.txt.2": "3\n"}


def test_make_builds_a_program(mount: Place) -> None:
    programs.need("make", "gcc", "ar")
    (mount.mnt / "main.c").write_text("int f(void); int main(void) { return f(); }\n")
    (mount.mnt / "f.c").write_text("int f(void) { return 42; }\n")
    (mount.mnt / "Makefile").write_text(
        "prog: main.o lib.a\n\tgcc -o $@ $^\nlib.a: f.o\n\tar rcs $@ $^\n%.o: %.c\n\tgcc -c -o $@ $<\n"
    )
    programs.run("make", "-j4", cwd=mount.mnt)
    programs.run(mount.mnt / "prog", status=42)
    assert programs.run("make", "-q", "-j4", cwd=mount.mnt).returncode == 0


def test_source_mounted_over_itself(mount_with: Mounter, tmp_path: Path) -> None:
    both = tmp_path / "both"
    both.mkdir()
    (both / "before").write_bytes(b"was there")
    with mount_with(source=both, mnt=both) as mount:
        assert (both / "before").read_bytes() == b"was there"
        (both / "f").write_bytes(b"1")
        programs.shell("echo 2 > f; mkdir d; mv f d/g", cwd=both)
        assert (both / "d" / "g").read_bytes() == b"2\n"
        assert os.path.ismount(both)
        assert mount.stats()["sessions"]["commits"] == 2
    assert not os.path.ismount(both)
    assert (both / "d" / "g").read_bytes() == b"2\n"
    wait_until(lambda: sorted(os.listdir(both)) == [".lockfs", "before", "d"], what="the backing directory")
