"""os.stat_result with some fields changed."""

from __future__ import annotations

import os


def with_fields(status: os.stat_result, changes: dict[int, int]) -> os.stat_result:
    """A copy of `status` in which the fields of these indices (stat.ST_SIZE ...) have other values."""
    if not changes:
        return status
    fields, named = status.__reduce__()[1]  # type: ignore[misc]
    values = list(fields)
    for index, value in changes.items():
        values[index] = value
    return os.stat_result(values, named)
