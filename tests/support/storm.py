"""`storm.py DIRECTORY SEED SECONDS`: random changes in a tree, with whatever goes wrong when others do the same."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import time
from pathlib import Path
from random import Random

ALLOWED = {
    errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.ELOOP, errno.EINVAL, errno.EBUSY,
    errno.ESTALE, errno.EDEADLK, errno.ENXIO, errno.EPERM, errno.EXDEV, errno.EMLINK,
}  # fmt: skip
"""What such a race may end with. Above all no EIO."""

NAMES = ["a", "b", "c", "x.log", "y.lock"]


def anywhere(root: Path, random: Random) -> Path:
    path = root
    for _ in range(random.choice((0, 0, 1, 2))):
        path /= random.choice(("d", "e"))
    return path / random.choice((*NAMES, "d", "e"))


def change(root: Path, random: Random) -> None:
    """One random change."""
    path, other = anywhere(root, random), anywhere(root, random)
    data = random.choice((b"x", b"line\n", b"0123456789" * 500)) * random.randint(1, 5)
    kind = random.randrange(16)
    if kind < 3:
        path.write_bytes(data)
    elif kind == 3:
        with path.open("ab") as file:
            file.write(data)
            os.rename(path, other)
            file.write(b"more\n")
    elif kind == 4:
        with path.open("r+b") as file:
            file.seek(random.randint(0, 2000))
            file.write(data)
    elif kind == 5:
        os.truncate(path, random.randint(0, 6000))
    elif kind == 6:
        path.unlink()
    elif kind == 7:
        path.mkdir()
    elif kind == 8:
        os.rename(path, other)
    elif kind == 9:
        os.link(path, other)
    elif kind == 10:
        path.symlink_to(random.choice(("a", "../b", "nowhere", "d")))
    elif kind == 11:
        path.chmod(random.choice((0o600, 0o644, 0o755)))
    elif kind == 12:
        os.utime(path, (1e9, 1e9))
    elif kind == 13:
        shutil.rmtree(path, ignore_errors=True)
    elif kind == 14:
        with path.open("rb") as file:
            file.read()
            os.rename(other, path)
            file.read()
    else:
        list(os.scandir(path))


def main() -> int:
    root, random, end_s = Path(sys.argv[1]), Random(int(sys.argv[2])), time.monotonic() + float(sys.argv[3])
    while time.monotonic() < end_s:
        try:
            change(root, random)
        except OSError as error:
            if error.errno not in ALLOWED:
                print(f"seed {sys.argv[2]}: {error!r}", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
