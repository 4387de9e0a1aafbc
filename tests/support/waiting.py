"""Waiting for conditions with a deadline, never for luck."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.005


def wait_until(condition: Callable[[], T], deadline_s: float = 10.0, what: str = "the condition") -> T:
    """Poll `condition` until it is true and return its value; AssertionError after `deadline_s` seconds."""
    end_s = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end_s:
            raise AssertionError(f"{what} did not come true within {deadline_s:g} s (last value: {value!r})")
        time.sleep(POLL_S)


def stays(condition: Callable[[], object], for_s: float, what: str = "the condition") -> None:
    """Assert that `condition` is true now and at every poll during `for_s` seconds.

    For claims that nothing happens ("it does not get the pen"): such a test can only miss a fault, never invent one.
    """
    end_s = time.monotonic() + for_s
    while True:
        assert condition(), f"{what} did not stay true for {for_s:g} s"
        if time.monotonic() >= end_s:
            return
        time.sleep(POLL_S)
