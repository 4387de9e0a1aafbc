"""The `lockfs` command."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Sequence

import click

from lockfs import __version__
from lockfs.cli.mount import mount
from lockfs.cli.say import one_line
from lockfs.cli.semantics import semantics
from lockfs.cli.status import status
from lockfs.cli.umount import umount

TRACE_VARIABLE = "LOCKFS_TRACEBACK"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", prog_name="lockfs", message="%(prog)s %(version)s")
def cli() -> None:
    """Let one writer at a time have a file, for programs that know nothing of it."""


for _command in (mount, umount, status, semantics):
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    0: done. 1: it failed, 2: the command was wrong; then one line on stderr, "lockfs: ...", says what to do.
    """
    try:
        result = cli.main(None if arguments is None else list(arguments), prog_name="lockfs", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "lockfs"
        return _fail(f"{error.format_message().rstrip('.')}; see '{where} --help'", 2)
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", 130)
    except BrokenPipeError:
        # `lockfs semantics | head`. What is still buffered must not fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if os.environ.get(TRACE_VARIABLE):
            traceback.print_exc()
        logging.getLogger(__name__).debug("internal error", exc_info=True)
        what = f"{type(error).__name__}: {error}"
        return _fail(f"internal error: {what}; please report it ({TRACE_VARIABLE}=1 says more)", 1)


def _fail(message: str, status_code: int) -> int:
    click.echo(f"lockfs: {one_line(message)}", err=True)
    return status_code


if __name__ == "__main__":
    sys.exit(main())
