"""Bind mounts of files and directories of the mount, as containers make them."""

from __future__ import annotations

import os

import pytest

from tests.support import programs
from tests.support.targets import Place


def _in_a_namespace(mount: Place, script: str) -> str:
    if os.getuid() != 0:
        pytest.skip("only root may make mount namespaces")
    return programs.run("unshare", "-m", "--propagation", "private", "sh", "-ec", script, cwd=mount.mnt).stdout.decode()


@pytest.mark.parametrize("redirection", [">>", "1<>", ">"])
def test_D3_file_bound_over_another_one_is_written_not_the_other(mount: Place, redirection: str) -> None:
    """Opening it for writing leaves the bind mount where it is, and what it covers as it was."""
    said = _in_a_namespace(
        mount,
        f"echo one > one; echo two > two; mount --bind one two; echo 111 {redirection} two; cat two; "
        "echo more >> two; grep -c two /proc/self/mountinfo; umount two",
    )
    first = "one\n" if redirection == ">>" else ""
    assert said == f"{first}111\n1\n"
    assert (mount.mnt / "one").read_text() == f"{first}111\nmore\n"
    assert (mount.mnt / "two").read_text() == "two\n"


def test_D3_directory_bound_elsewhere_keeps_the_promises(mount: Place) -> None:
    _in_a_namespace(
        mount,
        "mkdir real bound; echo a > real/f; mount --bind real bound; echo b >> bound/f; echo new > bound/g; "
        "mv bound/g bound/h; sed -i s/a/A/ bound/f; umount bound",
    )
    assert (mount.mnt / "real" / "f").read_text() == "A\nb\n"
    assert (mount.mnt / "real" / "h").read_text() == "new\n"
