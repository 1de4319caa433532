"""Do the verdicts hold? Every scenario, undefended and defended, over many seeds.

An undefended run must fail as published, point by point; a defended one must meet every expectation.
A scenario without an incident has nothing to fail like, and is played defended only.
With `--twice` each seed is played twice, with `--twice-for` one case's first,
and both must have the same plan, flips, outcomes and detections.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from straybit.backends import Backend
from straybit.backends.choose import BACKENDS, open_backend
from straybit.budgets import budgets_with
from straybit.cli._options import read_size, size_options
from straybit.outcome import Outcome
from straybit.records import Trial, Verdict
from straybit.result import RunResult
from straybit.runner import RunOptions, machine
from straybit.scenarios import SCENARIOS, find_scenario
from straybit.stats import wilson
from straybit.story import as_published
from straybit.tries import perform_tries
from straybit_nodes.defences import parse_defences
from straybit_nodes.topology import Topology

USUAL = ("june-2008", "july-2008", "flip-under-latency", "flip-during-reset", "restore-over-slow-links")
DEFENCES = ("none", "2008")
INDEX = "verdicts.json"


class Case(msgspec.Struct, frozen=True):
    """One scenario under one set of defences."""

    scenario: str
    defences: str

    @property
    def word(self) -> str:
        """As `--twice-for` takes it."""
        return f"{self.scenario}/{self.defences}"


def cases(names: Iterable[str]) -> list[Case]:
    """What is played of these scenarios."""
    return [
        Case(name, defences)
        for name in names
        for defences in DEFENCES
        if defences != "none" or find_scenario(name).incident
    ]


def holds(result: RunResult, defences: str) -> tuple[bool, str]:
    """Whether the run ended as it must, and if not, why. Never while something stood in its way."""
    if defences == "none":
        story = as_published(result)
        return result.verdict is Verdict.NOT_MET and story.met, f"{result.verdict}; {story.detail}"
    missed = [f"{e.text} ({e.detail})" for e in result.expectations if not e.met]
    missed += result.reasons
    missed += [f"trial {t.id} is INVALID" for t in result.trials if t.outcome is Outcome.INVALID]
    return result.verdict is Verdict.MET and not missed, "; ".join([str(result.verdict), *missed])


def told(result: RunResult) -> dict[str, dict[str, object]]:
    """By trial, what a seed decides: flips or damaged bytes, outcome, and who noticed.

    Under live load the same flip means the same key, byte and value: connection and ordinal are chance.
    """
    return {trial.id: _told(trial) for trial in result.trials}


def _told(trial: Trial) -> dict[str, object]:
    damaged = {
        (r.identity, r.field, tuple(bit // 8 for bit in r.field_bits), (r.before or 0) ^ (r.after or 0))
        for r in trial.receipts
        if r.message == "request"
    }
    return {"flips": sorted(damaged) or sorted(trial.flips), "outcome": trial.outcome, "noticed": trial.detected_by}


def differences(first: RunResult, second: RunResult) -> list[str]:
    """What two runs of one seed tell differently, a line for each trial and key."""
    one, two = told(first), told(second)
    lines = [f"trial {name} is in one of them only" for name in sorted(one.keys() ^ two.keys())]
    return lines + [
        f"trial {name}: {key} {one[name][key]} then {two[name][key]}"
        for name in sorted(one.keys() & two.keys())
        for key in one[name]
        if one[name][key] != two[name][key]
    ]


def emptied(out: Path) -> Path:
    """The folder, without the verdicts it held. Raises click.BadParameter for any other folder that is not empty."""
    if out.exists() and not (out / INDEX).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise click.BadParameter(
            f"{out} holds no {INDEX}, so it is not ours to empty; name another", param_hint="--out"
        )
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / INDEX).write_text("{}\n")
    return out


class Size(msgspec.Struct, frozen=True):
    """How large the cluster is, and how many times as long everything takes in it."""

    topology: Topology
    pace: float = 1.0


def play(case: Case, seed: int, backend: Backend, folder: Path, size: Size) -> RunResult:
    """One run; one in which the host stood still is no verdict and is played again, at most twice. All are kept."""
    options = RunOptions(
        defences=case.defences,
        names=parse_defences(case.defences),
        backend=backend.name,
        seed=seed,
        budgets=budgets_with(),
        topology=size.topology,
        pace=size.pace,
    )
    return perform_tries(
        find_scenario(case.scenario),
        options,
        backend,
        folder,
        say=lambda text: print(f"      {case.defences} seed {seed}: {text}", flush=True),
    )


def played(case: Case, seed: int, backend: Backend, out: Path, *, size: Size, twice: bool) -> bool:
    """Play one seed, say in a line how it went, and answer whether it held, both times and alike."""
    began = time.monotonic()
    folder = out / f"{case.scenario}-{case.defences}-{seed}"
    result = play(case, seed, backend, folder, size)
    ok, why = holds(result, case.defences)
    if twice:
        again = play(case, seed, backend, folder.with_name(f"{folder.name}-again"), size)
        ok_again, why_again = holds(again, case.defences)
        unlike = differences(result, again)
        scenario = find_scenario(case.scenario)
        if len({scenario.plan(size.topology, seed) for _ in range(2)}) > 1:
            unlike.insert(0, "the plan is another one each time")
        ok, why = ok and ok_again and not unlike, "; ".join([why, f"again {why_again}", *unlike[:5]])
    took = time.monotonic() - began
    words = f"{case.scenario} {case.defences} seed {seed} {took:.0f} s: {why}"
    print(f"{'held' if ok else 'BROKE':5} {words}", flush=True)
    return ok


@click.command()
@click.option("--seeds", type=click.IntRange(1), default=20, show_default=True)
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, help="The first seed.")
@click.option("--only", type=click.Choice(list(SCENARIOS)), help=f"One scenario [{', '.join(USUAL)}].")
@click.option("--twice", is_flag=True, help="Play each seed twice, and compare.")
@click.option(
    "--twice-for",
    type=click.Choice([case.word for case in cases(SCENARIOS)]),
    help="Play the first seed of this case twice, and compare.",
)
@size_options
@click.option(
    "--pace", type=click.FloatRange(1, 16), default=1.0, show_default=True, help="Slow motion, so many times."
)
@click.option("--backend", type=click.Choice(list(BACKENDS)), default="process", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("straybit-out/verdicts"), show_default=True)
def main(
    seeds: int,
    first: int,
    only: str | None,
    twice: bool,
    twice_for: str | None,
    servers: tuple[int, int],
    balancers: tuple[int, int],
    pace: float,
    backend: str,
    out: Path,
) -> None:
    """Print one line a run, then how many held, as a table and as JSON in OUT/verdicts.json."""
    size = Size(read_size(servers, balancers), pace)
    emptied(out)
    rows = []
    with open_backend(backend) as runner:
        for case in cases([only] if only else USUAL):
            again = range(first, first + (seeds if twice else case.word == twice_for))
            runs = range(first, first + seeds)
            good = sum(played(case, seed, runner, out, size=size, twice=seed in again) for seed in runs)
            low, high = wilson(good, seeds)
            rows.append({**msgspec.to_builtins(case), "held": good, "of": seeds, "low": low, "high": high})
    facts = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "backend": backend, "machine": machine()}
    told = {**facts, "twice": twice, "twice_for": twice_for, "verdicts": rows}
    (out / INDEX).write_bytes(msgspec.json.format(msgspec.json.encode(told), indent=2))
    print()
    for row in rows:
        share = f"{row['held']} of {row['of']} ({row['low']:.0%}-{row['high']:.0%})"
        print(f"{row['scenario']:23}  {row['defences']:4}  {share}")
    broken = sum(row["of"] - row["held"] for row in rows)
    print(f"\n{sum(row['held'] for row in rows)} passed, {broken} failed")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
