"""`straybit report`: the page again, from the journal alone."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from straybit.campaign.store import DATABASE
from straybit.cli._screen import Screen
from straybit.journal import JournalError
from straybit.report import load_result, write_reports
from straybit.result import exit_code

__all__ = ["command"]


@click.command("report")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="Print result.json, and nothing else, on standard output.")
def command(folder: Path, as_json: bool) -> None:
    """Make result.json, report.html, summary.md and junit.xml of a run's folder again, from its journal alone.

    Exits as the run did; a damaged or missing journal is no verdict.
    """
    if (folder / DATABASE).is_file():
        raise click.UsageError(f"{folder} is a campaign's: `straybit campaign --resume {folder}` makes its map again")
    if not (folder / "journal.ndjson").is_file():
        raise click.UsageError(f"{folder} has no journal.ndjson: name a run's folder, such as straybit-out/RUN ID")
    try:
        verdict = write_reports(folder)
    except JournalError as error:
        raise click.UsageError(str(error)) from None
    Screen(as_json=as_json).show(load_result(folder), folder)
    sys.exit(exit_code(verdict))
