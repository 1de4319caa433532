"""`straybit shrink`: the smallest trial that ends the same, as a test to paste."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click
import msgspec

from straybit.campaign.shrink import paste, shrink
from straybit.campaign.spec import TrialSpec
from straybit.campaign.stages import Hall
from straybit.campaign.stepped import run_tries
from straybit.cli._campaigns import backend_option, one_line, read_setup, stepped_options
from straybit.cli._stepped import spec_of
from straybit.records import Trial

__all__ = ["command"]


@click.command("shrink")
@click.argument("ids", nargs=-1, required=True, metavar="TRIAL|FLIP...")
@click.option("--run", "run_", type=click.Path(path_type=Path), help="Folder of the trial's campaign [newest].")
@backend_option()
@stepped_options
@click.option("--json", "as_json", is_flag=True, help="Print trial and spec as JSON, and nothing else.")
def command(
    ids: tuple[str, ...],
    run_: Path | None,
    backend: str,
    nodes: int,
    rounds: int,
    aftershock: bool,
    defences: tuple[str, frozenset[str]],
    seed: int,
    as_json: bool,
) -> None:
    """Find the fewest nodes, the earliest message, the fewest bits and the shortest run that end as this trial does.

    A TRIAL's id is looked up in a campaign's folder and brings its setup with it; a FLIP's is tried under the options.
    Prints a test of at most 15 lines that fails while the trial ends dangerously.
    """
    with one_line(), ExitStack() as taken:
        spec, _, _ = spec_of(ids, run_, read_setup(nodes, defences[1], seed, rounds, aftershock=aftershock))
        hall = Hall()
        taken.callback(hall.close)

        def play(candidate: TrialSpec) -> Trial:
            return run_tries(candidate, hall.stage(backend, candidate.setup))[-1]

        found = shrink(spec, play)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=1).decode())
        return
    click.echo(paste(found), nl=False)
    click.echo(f"# {found.played} trials played; {found.spec.setup.nodes} nodes, {found.trial.outcome}", err=True)
