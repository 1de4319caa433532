"""The command line: one command a file, imported when it is called."""

from __future__ import annotations

import faulthandler
import os
import sys
import traceback
from importlib import import_module
from importlib.metadata import version

import click

from straybit.cli._ending import code_of, words_for
from straybit.interruption import Terminated, interruption, orderly

__all__ = ["main"]

COMMANDS = {
    "demo": "both events of 2008, undefended then defended, and the report",
    "run": "play one scenario",
    "list": "name scenarios, defences, links, messages, fields or faults",
    "replay": "play one trial again, by its id or its flip id",
    "campaign": "flip the bits of a message, one a trial, and map which of them hurt",
    "diff": "compare two maps, and say which bits got dangerous",
    "agree": "play the same flips on two backends, and count where they end alike",
    "shrink": "find the smallest trial that ends like this one, and print it as a test",
    "cluster": "up, down or status: the reference cluster, to play with",
    "restore": "bring a running cluster back in stages, each behind a gate",
    "proxy": "run the proxy alone, on Toxiproxy's port",
    "compose": "write the cluster's compose file",
    "doctor": "say what this machine can do, and what is missing",
    "sweep": "remove what a dead run left in the Docker engine",
    "report": "make the report of a run's folder again, from its journal",
}
"""Each lives in the module of its name; `straybit --help` reads this table and imports none of them."""


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS]  # `list` is a command here: its module takes the name

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"straybit.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("straybit"))
def cli() -> None:
    """Flip one bit of one message in a distributed system: who noticed, how far it spread, how long recovery took.

    Exit codes: 0 every expectation met, 1 one was not, 2 no verdict
    (an invalid trial, wrong usage, something missing on this machine).
    """


def main() -> None:
    """Run the command line and exit with the contract's codes: 2 for anything that is no verdict.

    Every error is one line; the environment variable STRAYBIT_DEBUG adds the traceback.
    SIGTERM and SIGHUP end it in the same order as Ctrl-C, with 128 and the signal's number.
    Should a library take the process down with it, where that happened is said as well.
    """
    if sys.__stderr__ is not None and not faulthandler.is_enabled():
        faulthandler.enable(sys.__stderr__)
    with orderly() as raised:
        code = _run(raised)
    sys.exit(code)


def _run(raised: list[Terminated]) -> int:
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Exit as exit_:
        code = exit_.exit_code
    except click.exceptions.NoArgsIsHelpError as help_:
        help_.show()
        code = 2
    except click.ClickException as error:
        click.echo(f"Error: {' '.join(error.format_message().split())}", err=True)
        code = code_of(_told(raised, error))
    except (KeyboardInterrupt, click.Abort) as end:
        told = _told(raised, end)
        click.echo(words_for(end, told), err=True)
        code = code_of(told)
    except BrokenPipeError:
        sys.stderr.close()
        code = 2
    except Exception as error:
        told = _told(raised, error)
        if told is not None:
            click.echo(words_for(error, told), err=True)
        else:
            _say(error)
        code = code_of(told)
    return code if isinstance(code, int) else 0


def _told(raised: list[Terminated], error: BaseException) -> KeyboardInterrupt | None:
    """What told the process to end, if anything did: a signal before Ctrl-C."""
    return raised[-1] if raised else interruption(error)


def _say(error: Exception) -> None:
    """One line: in the error's own words where they are written for people."""
    from straybit.backends import BackendError  # noqa: PLC0415 - `straybit --help` needs none of it

    if os.environ.get("STRAYBIT_DEBUG"):
        traceback.print_exc()
    known = isinstance(error, OSError | BackendError)
    text = str(error) if known else f"a defect of straybit: {type(error).__name__}: {error}"
    click.echo(f"straybit: {' '.join(text.split())}", err=True)
