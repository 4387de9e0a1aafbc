"""os.stat_result made or changed."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from lockfs.runtime.nodes import Node


def with_fields(status: os.stat_result, changes: dict[int, int]) -> os.stat_result:
    """A copy of `status` in which the fields of these indices (stat.ST_SIZE ...) have other values."""
    if not changes:
        return status
    # os.stat_result pickles as (sequence fields, named fields): the only way to get at all of them.
    fields, named = cast(tuple[tuple[int, ...], dict[str, int]], status.__reduce__()[1])
    values = list(fields)
    for index, value in changes.items():
        values[index] = value
    return os.stat_result(values, named)


def as_announced(node: Node, status: os.stat_result) -> os.stat_result:
    """A committed file's status without bytes that the kernel is not to hear of yet (A4)."""
    if not node.announcing:
        return status
    return with_fields(status, {stat.ST_SIZE: min(status.st_size, node.shown_size)})


def new_file_status(mode: int, uid: int, gid: int, ino: int) -> os.stat_result:
    """The attributes of a file that is about to be made."""
    return os.stat_result((stat.S_IFREG | mode & 0o7777, ino, 0, 1, uid, gid, 0, 0, 0, 0))
