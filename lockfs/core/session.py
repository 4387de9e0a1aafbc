"""One session's life, and what becomes of its bytes (W3, N1, N4).

| state    | event   | next      | meaning                                                        |
| -------- | ------- | --------- | -------------------------------------------------------------- |
| PREPARED | GRANT   | OPEN      | the pen was given, the staged file is the writer's             |
| PREPARED | GIVE_UP | ENDED     | the open never came, was refused or timed out                  |
| OPEN     | DETACH  | DETACHED  | the path was removed or replaced; nothing will be published    |
| OPEN     | CONVERT | ENDED     | it is a database: published at once, shared from now on (D1)    |
| OPEN     | CLOSE   | ENDED     | last release: `verdict` says what happens                      |
| DETACHED | CLOSE   | ENDED     | last release                                                   |
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """Where a session is in its life."""

    PREPARED = "prepared"
    OPEN = "open"
    DETACHED = "detached"
    ENDED = "ended"


class Event(Enum):
    """What can happen to a session."""

    GRANT = "grant"
    GIVE_UP = "give up"
    DETACH = "detach"
    CONVERT = "convert"
    CLOSE = "close"


_TRANSITIONS = {
    (State.PREPARED, Event.GRANT): State.OPEN,
    (State.PREPARED, Event.GIVE_UP): State.ENDED,
    (State.OPEN, Event.DETACH): State.DETACHED,
    (State.OPEN, Event.CONVERT): State.ENDED,
    (State.OPEN, Event.CLOSE): State.ENDED,
    (State.DETACHED, Event.CLOSE): State.ENDED,
}


def advance(state: State, event: Event) -> State:
    """The state after `event`. Raises ValueError for an event that cannot happen in `state`."""
    try:
        return _TRANSITIONS[(state, event)]
    except KeyError:
        raise ValueError(f"a session that is {state.value} cannot {event.value}") from None


class Verdict(Enum):
    """What to do with a staged file at the end of its session."""

    COMMIT = "commit"
    """Rename it over the path (W3)."""
    ORPHAN = "orphan"
    """Keep the bytes aside (N2); the old version stays."""
    DISCARD = "discard"
    """There is nothing to keep."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What is known when the last writing handle is released."""

    changed: bool
    """A byte or the size was changed, or the file is new, or was truncated at open."""
    has_bytes: bool
    """The staged file is not empty."""
    killed: bool
    """A signal ended the process that opened it (N1)."""
    failed: bool
    """A write did not succeed (N4)."""
    removed_by_writer: bool
    """The writer's own family unlinked the path: an anonymous temporary file."""
    replaced: bool
    """The writer's own family renamed another file over the path."""


def verdict(ending: Ending) -> Verdict:
    """Decide what becomes of a session's bytes."""
    if ending.removed_by_writer or not ending.changed:
        return Verdict.DISCARD
    if ending.killed or ending.failed or ending.replaced:
        return Verdict.ORPHAN if ending.has_bytes else Verdict.DISCARD
    return Verdict.COMMIT
