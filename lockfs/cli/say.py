"""How the command line speaks: one line an error, and names that cannot break a line."""

from __future__ import annotations

import os

import click


class Failure(click.ClickException):
    """A failure that people can do something about: `message` is one line that says what. Exit status 1."""

    exit_code = 1


def shown(path: str | os.PathLike[str]) -> str:
    """`path` for people: printable and on one line, also when it is not UTF-8 or has control characters."""
    raw = os.fsencode(path)
    text = raw.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def one_line(text: str) -> str:
    """`text` with all runs of blanks and line ends made one blank, as an error line must be."""
    return " ".join(text.split())


def reason(error: OSError) -> str:
    """What went wrong, without Python's number and path: "Permission denied"."""
    return error.strerror or type(error).__name__


def seconds(value_s: float) -> str:
    """A duration for people: "0.05 s", "12.3 s", "4 min", "3.5 h", "2.1 d"."""
    if value_s < 1:
        return f"{value_s:.3g} s"
    if value_s < 120:
        return f"{value_s:.1f} s"
    if value_s < 7200:
        return f"{value_s / 60:.0f} min"
    if value_s < 172800:
        return f"{value_s / 3600:.1f} h"
    return f"{value_s / 86400:.1f} d"
