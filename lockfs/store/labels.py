"""Names for the steps that change the backing directory, so that tests can put a fault or a crash at each.

A step calls `reached("stage.create")` just before it acts. In production nobody listens and the call costs a
comparison.
"""

from __future__ import annotations

from collections.abc import Callable

LABELS = (
    "stage.create",
    "stage.copy",
    "commit.rename",
    "abort.keep",
    "abort.note",
    "abort.drop",
    "sweep.keep",
)

_listener: Callable[[str], None] | None = None


def listen(listener: Callable[[str], None] | None) -> None:
    """Call `listener(label)` before each labelled step; it may raise OSError to inject a fault. None ends it."""
    global _listener
    _listener = listener


def reached(label: str) -> None:
    """The step `label` is about to act."""
    if _listener is not None:
        _listener(label)
