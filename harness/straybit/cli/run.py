"""`straybit run`: play one scenario."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from straybit.cli._options import (
    checked,
    defences_option,
    fresh_folder,
    read_budgets,
    read_size,
    run_options,
    size_options,
)
from straybit.cli._screen import Screen
from straybit.runner import RunOptions, command_line, run_id
from straybit.scenarios import Scenario, load_scenario
from straybit.tries import perform_tries
from straybit_nodes.topology import Topology

__all__ = ["command"]


def _load(text: str) -> tuple[Scenario, str]:
    """The scenario, and the path of its file where it has one. Raises ValueError."""
    return load_scenario(text), text if text.endswith(".py") else ""


@click.command("run")
@click.argument("played", callback=checked(_load), metavar="SCENARIO|FILE.py")
@defences_option
@click.option("--recovery", type=click.Choice(["none", "rolling", "staged"]), default="staged", show_default=True)
@size_options
@click.option("--dry-run", is_flag=True, help="Print what would be injected, and start nothing.")
@run_options
def command(
    played: tuple[Scenario, str],
    defences: tuple[str, frozenset[str]],
    recovery: str,
    servers: tuple[int, int],
    balancers: tuple[int, int],
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
    scenario, source = played
    topology = read_size(servers, balancers)
    limits = read_budgets(budgets)
    if dry_run:
        _show_plan(_plan(scenario, topology, seed), as_json=as_json)
        return
    name = run_id(scenario.name, seed, defences[0])
    options = RunOptions(
        defences=defences[0],
        names=defences[1],
        recovery=recovery,  # type: ignore[arg-type]  # click.Choice has checked it
        backend=backend,
        seed=seed,
        budgets=limits,
        topology=topology,
        source=source,
        run_id=name,
    )
    folder = fresh_folder(out, name)
    screen = Screen(as_json=as_json)
    from straybit.backends.choose import open_backend  # noqa: PLC0415 - a dry run needs none
    from straybit.result import exit_code  # noqa: PLC0415 - with the backend

    with open_backend(backend) as runner, screen.live(scenario.name, limits) as progress:
        result = perform_tries(
            scenario, options, runner, folder, command=command_line(), progress=progress, say=screen.say
        )
    screen.show(result, folder)
    sys.exit(exit_code(result.verdict))


def _plan(scenario: Scenario, topology: Topology, seed: int) -> tuple[str, ...]:
    """What would be injected. Raises click.ClickException where a user's plan raises."""
    try:
        return tuple(map(str, scenario.plan(topology, seed)))
    except (Exception, SystemExit) as error:
        raise click.ClickException(f"the plan of {scenario.name} raised {type(error).__name__}: {error}") from None


def _show_plan(lines: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(lines, indent=2))
        return
    for line in lines:
        click.echo(line)
