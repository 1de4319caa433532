"""`straybit replay`: play one trial again."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from straybit.backends.choose import open_backend
from straybit.cli._options import defences_option, fresh_folder, read_budgets, run_options
from straybit.cli._screen import Screen
from straybit.records import Trial
from straybit.report import load_result
from straybit.result import RunResult, exit_code
from straybit.runner import RunOptions, perform
from straybit.scenarios import Scenario, find_scenario
from straybit.scenarios.single import single
from straybit_faults.flip import Flip, FlipIdError
from straybit_nodes.topology import Topology

__all__ = ["command"]


@click.command("replay")
@click.argument("ids", nargs=-1, required=True, metavar="TRIAL|FLIP...")
@click.option("--run", "run_", type=click.Path(path_type=Path), help="Folder of the run that has the trial [newest].")
@click.option("--target", type=click.Choice(["reference"]), default="reference", show_default=True)
@click.option("--scenario", type=click.Choice(["single"]), default="single", show_default=True)
@defences_option
@run_options
def command(
    ids: tuple[str, ...],
    run_: Path | None,
    target: str,
    scenario: str,
    defences: tuple[str, frozenset[str]],
    backend: str,
    seed: int,
    budgets: tuple[str, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """Play one trial again and say whether it ends the same.

    A TRIAL's id is looked up in a run's folder, and brings scenario, defences and seed with it.
    One or more FLIP ids are injected together, one after another by their own links, under the options given here.
    """
    screen = Screen(as_json=as_json)
    options = RunOptions(
        defences=defences[0], names=defences[1], backend=backend, seed=seed, budgets=read_budgets(budgets)
    )
    if len(ids) == 1 and "/up/" not in ids[0] and "/down/" not in ids[0]:
        sys.exit(_again(ids[0], _find(ids[0], run_), screen, out))
    try:
        play = single(tuple(map(Flip.parse, ids)), Topology())
    except FlipIdError as error:
        raise click.BadParameter(str(error), param_hint="FLIP") from None
    folder = fresh_folder(out, f"replay-{datetime.now(UTC):%Y%m%dT%H%M%S}")
    with open_backend(backend) as runner, screen.live("replay") as progress:
        result = perform(play, options, runner, folder, command="replay", progress=progress)
    screen.show(result, folder)
    for trial in result.trials:
        screen.console.print(f"outcome {trial.outcome}: {trial.why}")
    sys.exit(exit_code(result.verdict))


def _find(trial: str, folder: Path | None) -> RunResult:
    """The run that has this trial. Raises click.BadParameter."""
    folders = [folder] if folder else sorted(Path("straybit-out").glob("**/result.json"), key=_age, reverse=True)
    for place in folders:
        path = place if place.is_dir() else place.parent
        if not (path / "journal.ndjson").exists():
            raise click.BadParameter(f"{path} has no journal.ndjson", param_hint="--run")
        result = load_result(path)
        if any(t.id == trial for t in result.trials):
            return result
    where = folder or "straybit-out"
    raise click.BadParameter(f"no run in {where} has a trial {trial!r}; its result.json lists them", param_hint="TRIAL")


def _age(path: Path) -> float:
    return path.stat().st_mtime


def _again(trial: str, before: RunResult, screen: Screen, out: Path | None) -> int:
    """Play the trial's whole run again; 0 when the trial ends the same, 1 when not, 2 when it was invalid."""
    options = RunOptions(
        defences=",".join(before.defences) or "none",
        names=frozenset(before.defences),
        recovery=before.recovery,  # type: ignore[arg-type]  # it came from such an option
        backend=before.backend,
        seed=before.seed,
        budgets=dict(before.budgets),
    )
    folder = fresh_folder(out, f"replay-{datetime.now(UTC):%Y%m%dT%H%M%S}")
    with open_backend(before.backend) as runner, screen.live(f"replay {trial}") as progress:
        result = perform(_scenario_of(before, trial), options, runner, folder, command="replay", progress=progress)
    screen.show(result, folder)
    then, now = _trial(before, trial), _trial(result, trial)
    agrees = now is not None and then is not None and now.outcome is then.outcome
    said = f"{then and then.outcome} then, {now.outcome if now else 'not there'} now"
    screen.console.print(f"trial {trial}: {'the same' if agrees else 'not the same'}: {said}")
    if now is None or now.outcome == "INVALID":
        return 2
    return 0 if agrees else 1


def _scenario_of(before: RunResult, trial: str) -> Scenario:
    """What was played then. Raises click.UsageError for a scenario that came from a file."""
    then = _trial(before, trial)
    if before.scenario == "single" and then is not None:
        return single(tuple(map(Flip.parse, then.flips)), Topology())
    try:
        return find_scenario(before.scenario)
    except ValueError:
        what = f"scenario {before.scenario!r} came from a file"
        raise click.UsageError(f"{what}: play it with `straybit run FILE.py --seed {before.seed}`") from None


def _trial(result: RunResult, name: str) -> Trial | None:
    return next((t for t in result.trials if t.id == name), None)
