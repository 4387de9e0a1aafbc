"""renameat2(2), which Python does not wrap."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4
_AT_FDCWD = -100

_libc = ctypes.CDLL(None, use_errno=True)


def renameat2(old: str | bytes | Path, new: str | bytes | Path, flags: int) -> None:
    """Rename with flags; OSError as from os.rename."""
    if _libc.renameat2(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), ctypes.c_uint(flags)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), os.fsdecode(old))
