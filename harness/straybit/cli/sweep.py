"""`straybit sweep`: removes what a dead run left behind."""

from __future__ import annotations

import sys

import click
import msgspec

__all__ = ["command"]


@click.command("sweep")
@click.option("--run", "runs", multiple=True, metavar="ID", help="This run as well, whoever it belongs to.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of runs, each with `removed`.")
def command(runs: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Remove containers, networks and volumes of runs whose process has died, and of no other.

    A run is left alone unless it is named where its process lives, where nobody can know that from here (it is of
    another machine, boot or container), and where it is nobody's (`docker compose up` by hand).
    Exits 2 when something would not go.
    """
    from straybit.backends._engine import find_engine  # noqa: PLC0415 - `straybit --help` needs no engine
    from straybit.sweep import leftovers, remove  # noqa: PLC0415 - as above

    engine = find_engine(any_clock=True)
    found = leftovers(engine)
    told: list[dict[str, object]] = []
    stuck: list[str] = []
    for left in found:
        dead = left.alive is False or left.run in runs
        if dead and not dry_run:
            stuck += remove(engine, left)
        told.append({**msgspec.structs.asdict(left), "removed": dead and not dry_run})
        what = f"{len(left.containers)} containers, {len(left.networks)} networks, {len(left.volumes)} volumes"
        verb = ("would be removed" if dry_run else "removed") if dead else _why_left(left.alive)
        click.echo(f"{left.run}: {what}: {verb}", err=as_json)
    for name in sorted(set(runs) - {left.run for left in found}):
        click.echo(f"{name}: nothing of it is there", err=as_json)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(told), indent=2).decode())
    elif not found:
        click.echo("nothing of any run is there")
    for line in stuck:
        click.echo(f"straybit: {line}", err=True)
    sys.exit(2 if stuck else 0)


def _why_left(alive: bool | None) -> str:
    return (
        "in use, left alone"
        if alive
        else "whether its process lives cannot be known from here, left alone; name it with --run"
    )
