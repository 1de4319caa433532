"""`straybit diff`: two maps, and what got worse."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from straybit.campaign.diff import Diff, compare, read_map
from straybit.cli._campaigns import one_line
from straybit.report.map_words import headline

__all__ = ["command"]


@click.command("diff")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--bits", is_flag=True, help="Name every bit that changed.")
@click.option("--json", "as_json", is_flag=True, help="Print the changes as JSON, and nothing else.")
def command(old: Path, new: Path, bits: bool, as_json: bool) -> None:
    """Compare two maps of one kind of message: OLD and NEW are campaigns' folders, or their map.json.

    Exits 1 when a bit is dangerous in NEW that was not in OLD.
    """
    with one_line():
        before, after = read_map(old), read_map(new)
        found = compare(before, after)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=1).decode())
    else:
        click.echo(f"old  {headline(before)}\nnew  {headline(after)}")
        for line in _lines(found, bits=bits):
            click.echo(line)
    sys.exit(1 if found.worse else 0)


def _lines(found: Diff, *, bits: bool) -> list[str]:
    lines: list[str] = []
    for change in found.changes:
        lines.append(str(change))
        lines += [f"  {bit}" for bit in change.bits] if bits else []
    return lines or ["no bit changed"]
