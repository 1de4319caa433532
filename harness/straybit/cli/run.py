"""`straybit run`: play one scenario."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from straybit.cli._options import checked, defences_option, fresh_folder, read_budgets, run_options
from straybit.cli._screen import Screen
from straybit.runner import RunOptions, perform
from straybit.scenarios import Scenario, load_scenario
from straybit_nodes.topology import Topology

__all__ = ["command"]


@click.command("run")
@click.argument("scenario", callback=checked(load_scenario), metavar="SCENARIO|FILE.py")
@defences_option
@click.option("--recovery", type=click.Choice(["none", "rolling", "staged"]), default="staged", show_default=True)
@click.option("--servers", type=(int, int), default=(3, 5), show_default=True, help="Storage nodes in eu and us.")
@click.option("--dry-run", is_flag=True, help="Print what would be injected, and start nothing.")
@run_options
def command(
    scenario: Scenario,
    defences: tuple[str, frozenset[str]],
    recovery: str,
    servers: tuple[int, int],
    dry_run: bool,
    backend: str,
    seed: int,
    budgets: tuple[str, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """Play one scenario on the reference cluster and say how it ended.

    SCENARIO is a name from `straybit list scenarios`, or a Python file that defines one.
    """
    try:
        topology = Topology.sized(eu=(servers[0], 1), us=(servers[1], 2))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--servers") from None
    if dry_run:
        for line in scenario.plan(topology, seed):
            click.echo(line)
        return
    options = RunOptions(
        defences=defences[0],
        names=defences[1],
        recovery=recovery,  # type: ignore[arg-type]  # click.Choice has checked it
        backend=backend,
        seed=seed,
        budgets=read_budgets(budgets),
        topology=topology,
    )
    folder = fresh_folder(out, f"{scenario.name}-{defences[0]}-{seed}-{datetime.now(UTC):%Y%m%dT%H%M%S}")
    screen = Screen(as_json=as_json)
    from straybit.backends.choose import open_backend  # noqa: PLC0415 - a dry run needs none
    from straybit.result import exit_code  # noqa: PLC0415 - with the backend

    with open_backend(backend) as runner, screen.live(scenario.name) as progress:
        result = perform(scenario, options, runner, folder, progress=progress)
    screen.show(result, folder)
    sys.exit(exit_code(result.verdict))
