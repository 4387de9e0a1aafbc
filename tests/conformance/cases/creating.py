"""mkdir(2), mknod(2), mkfifo(3), sockets, and what a new entry's owner, group and mode are."""

from __future__ import annotations

from tests.conformance.acting import Act
from tests.conformance.case import case


@case()
def mkdir_modes(act: Act) -> None:
    """mkdir(2): the mode less the umask, no setuid or setgid bit, the sticky bit kept; times of the parent."""
    with act.times("."):
        act.mkdir("a", 0o755)
    for number, mode in enumerate((0o777, 0o7777, 0o1777, 0, 0o400)):
        act.mkdir(f"m{number}", mode)
    act.umask(0o077)
    act.mkdir("private", 0o777)
    act.mkdir("a", 0o755)
    act.mkdir("a/b/c", 0o755)
    act.mkdir("with a slash/", 0o755)
