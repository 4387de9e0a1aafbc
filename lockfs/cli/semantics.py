"""`lockfs semantics`."""

from __future__ import annotations

from importlib import resources

import click


@click.command()
def semantics() -> None:
    """Print what lockfs promises, point by point."""
    click.echo(resources.files("lockfs").joinpath("SEMANTICS.md").read_text(encoding="utf-8"), nl=False)
