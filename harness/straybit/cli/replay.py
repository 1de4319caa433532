"""`straybit replay`: play one trial again."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click
import msgspec
from click.core import ParameterSource

from straybit.again import topology_of
from straybit.backends.choose import open_backend
from straybit.campaign.spec import Setup
from straybit.cli._options import (
    defences_option,
    fresh_folder,
    read_budgets,
    read_size,
    run_options,
    size_options,
)
from straybit.cli._screen import Screen
from straybit.cli._stepped import is_campaign_trial, replay_stepped
from straybit.journal import JournalError, read_journal
from straybit.records import Trial
from straybit.report import load_result
from straybit.result import RunResult, exit_code
from straybit.runner import RunOptions, command_line, perform, run_id
from straybit.scenarios import Scenario, find_scenario
from straybit.scenarios.single import single
from straybit_faults.flip import Flip, FlipIdError
from straybit_nodes.topology import Topology

__all__ = ["command"]

_FLIP = re.compile(r"[0-9]+/")
"""How a flip id begins, in this schema and in any other; no trial's id does."""
_OF_THE_RUN = ("defences", "seed", "backend", "budgets", "servers", "balancers", "gossip_only")
"""Options that a trial's run brings with it."""


@click.command("replay")
@click.argument("ids", nargs=-1, required=True, metavar="TRIAL|FLIP...")
@click.option("--run", "run_", type=click.Path(path_type=Path), help="Folder of the run that has the trial [newest].")
@click.option("--target", type=click.Choice(["reference"]), default="reference", show_default=True)
@click.option("--scenario", type=click.Choice(["single"]), default="single", show_default=True)
@click.option("--stepped", is_flag=True, help="As in a campaign: gossip nodes alone, rounds stepped, timers off.")
@click.option("--rounds", type=click.IntRange(0, 100), default=2, show_default=True, help="Of quiet time, stepped.")
@click.option("--aftershock/--no-aftershock", default=True, help="Look for what is latent, stepped.")
@click.option("--gossip-only", type=int, metavar="NODES", help="So many gossip nodes, without storage or balancers.")
@size_options
@defences_option
@run_options
def command(
    ids: tuple[str, ...],
    run_: Path | None,
    target: str,
    scenario: str,
    stepped: bool,
    rounds: int,
    aftershock: bool,
    gossip_only: int | None,
    servers: tuple[int, int],
    balancers: tuple[int, int],
    defences: tuple[str, frozenset[str]],
    backend: str,
    seed: int,
    budgets: tuple[str, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """Play one trial again and say whether it ends the same.

    A TRIAL's id is looked up in a run's folder, and brings scenario, defences, sizes, budgets and seed with it.
    A campaign's trial may be played on another --backend than it was.

    A FLIP's id is injected under the options given here.
    Several make one trial: all are armed at once, and each waits for the message on its own link.
    """
    screen = Screen(as_json=as_json)
    if stepped or (len(ids) == 1 and is_campaign_trial(ids[0])):
        given = _given("backend")
        sys.exit(
            replay_stepped(
                ids,
                run_,
                Setup(
                    nodes=gossip_only or Setup().nodes,
                    defences=tuple(sorted(defences[1])),
                    seed=seed,
                    rounds=rounds,
                    aftershock=aftershock,
                ),
                backend if given else "",
                as_json=as_json,
            )
        )
    if len(ids) == 1 and not _FLIP.match(ids[0]):
        _refuse_options()
        sys.exit(_again(ids[0], _find(ids[0], run_), screen, out))
    topology = read_size(servers, balancers) if gossip_only is None else _gossip_only(gossip_only)
    options = RunOptions(
        defences=defences[0],
        names=defences[1],
        recovery="none",
        backend=backend,
        seed=seed,
        budgets=read_budgets(budgets),
        topology=topology,
        flips=ids,
        run_id=run_id("replay", seed),
    )
    result, folder = _play(_single(ids, topology), options, screen, out, "replay")
    screen.show(result, folder)
    for trial in result.trials:
        screen.console.print(f"outcome {trial.outcome}: {trial.why}", soft_wrap=True, markup=False)
    sys.exit(exit_code(result.verdict))


def _refuse_options() -> None:
    """Raises click.UsageError for an option that would contradict the trial's own run."""
    known = [p for p in click.get_current_context().command.params if p.name in _OF_THE_RUN]
    for parameter in known:
        if _given(str(parameter.name)):
            raise click.UsageError(
                f"{parameter.opts[0]} goes with a flip id: a trial is played again as its run was; leave it out"
            )


def _given(name: str) -> bool:
    """Whether the option was said, rather than left at its default."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def _gossip_only(nodes: int) -> Topology:
    try:
        return Topology.gossip_only(nodes)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--gossip-only") from None


def _single(ids: tuple[str, ...], topology: Topology) -> Scenario:
    """One trial of these flips. Raises click.BadParameter."""
    try:
        return single(tuple(map(Flip.parse, ids)), topology)
    except FlipIdError as error:
        raise click.BadParameter(str(error), param_hint="FLIP") from None


def _play(
    scenario: Scenario, options: RunOptions, screen: Screen, out: Path | None, title: str
) -> tuple[RunResult, Path]:
    folder = fresh_folder(out, options.run_id)
    with open_backend(options.backend) as runner, screen.live(title, options.budgets) as progress:
        return perform(scenario, options, runner, folder, command=command_line(), progress=progress), folder


def _find(trial: str, folder: Path | None) -> RunResult:
    """The run that has this trial. Raises click.BadParameter."""
    if folder is not None and not (folder / "journal.ndjson").is_file():
        raise click.BadParameter(f"{folder} has no journal.ndjson", param_hint="--run")
    journals = Path("straybit-out").glob("**/journal.ndjson")
    folders = [folder] if folder else [path.parent for path in sorted(journals, key=_age, reverse=True)]
    for place in folders:
        whole = load_result(place)
        for result in (whole, *whole.runs):
            if _trial(result, trial) is not None:
                return result
    where = folder or "straybit-out"
    if damaged := [f"{place}: {why}" for place in folders if (why := _damage(place))]:
        raise click.BadParameter(
            f"no intact line in {where} has a trial {trial!r}, and a journal there cannot be read whole: {damaged[0]}",
            param_hint="TRIAL",
        )
    raise click.BadParameter(f"no run in {where} has a trial {trial!r}; its result.json lists them", param_hint="TRIAL")


def _damage(folder: Path) -> str:
    """What is wrong with the folder's journal; empty when nothing is."""
    try:
        read_journal(folder / "journal.ndjson")
    except JournalError as error:
        return str(error)
    return ""


def _age(path: Path) -> float:
    return path.stat().st_mtime


def _again(trial: str, before: RunResult, screen: Screen, out: Path | None) -> int:
    """Play the trial's whole run again; 0 when the trial ends the same, 1 when not, 2 when it was invalid."""
    scenario, options = _as_before(before, trial)
    result, folder = _play(scenario, options, screen, out, f"replay {trial}")
    screen.show(result, folder)
    then, now = _trial(before, trial), _trial(result, trial)
    agrees = now is not None and then is not None and now.outcome is then.outcome
    said = f"{then and then.outcome} then, {now.outcome if now else 'not there'} now"
    same = "the same" if agrees else "not the same"
    screen.console.print(f"trial {trial}: {same}: {said}", soft_wrap=True, markup=False)
    if now is None or now.outcome == "INVALID":
        return 2
    return 0 if agrees else 1


def _as_before(before: RunResult, trial: str) -> tuple[Scenario, RunOptions]:
    """What was played then, and how. Raises click.UsageError for a scenario that came from a file."""
    options = RunOptions(
        defences=",".join(before.defences) or "none",
        names=frozenset(before.defences),
        recovery=before.recovery,  # type: ignore[arg-type]  # it came from such an option
        backend=before.backend,
        seed=before.seed,
        budgets=dict(before.budgets),
        topology=topology_of(before.servers),
        run_id=run_id("replay", before.seed),
    )
    then = _trial(before, trial)
    if before.scenario == "single" and then is not None:
        return _single(then.flips, options.topology), msgspec.structs.replace(options, flips=then.flips)
    try:
        return find_scenario(before.scenario), options
    except ValueError:
        what = f"scenario {before.scenario!r} came from a file"
        raise click.UsageError(f"{what}: play it with `{before.replay}`") from None


def _trial(result: RunResult, name: str) -> Trial | None:
    return next((t for t in result.trials if t.id == name), None)
