"""Do the verdicts hold? Every scenario, undefended and defended, over many seeds.

An undefended run must fail as published, point by point; a defended one must meet every expectation.
"""

from __future__ import annotations

import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from straybit.backends.choose import BACKENDS, open_backend
from straybit.budgets import budgets_with
from straybit.records import Verdict
from straybit.result import RunResult
from straybit.runner import RunOptions, machine, perform
from straybit.scenarios import find_scenario
from straybit.stats import wilson
from straybit.story import as_published
from straybit_nodes.defences import parse_defences

CASES = [(name, defences) for name in ("june-2008", "july-2008") for defences in ("none", "2008")]


def holds(result: RunResult, defences: str) -> tuple[bool, str]:
    """Whether the run ended as it must, and if not, why."""
    if defences == "none":
        story = as_published(result)
        return result.verdict is Verdict.NOT_MET and story.met, f"{result.verdict}; {story.detail}"
    missed = [f"{e.text} ({e.detail})" for e in result.expectations if not e.met]
    return result.verdict is Verdict.MET, "; ".join([str(result.verdict), *missed])


@click.command()
@click.option("--seeds", type=click.IntRange(1), default=20, show_default=True)
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, help="The first seed.")
@click.option("--only", type=click.Choice(["june-2008", "july-2008"]), help="One scenario.")
@click.option("--backend", type=click.Choice(list(BACKENDS)), default="process", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("straybit-out/verdicts"), show_default=True)
def main(seeds: int, first: int, only: str | None, backend: str, out: Path) -> None:
    """Print one line a run, then how many held, as a table and as JSON in OUT/verdicts.json."""
    rows = []
    shutil.rmtree(out, ignore_errors=True)
    with open_backend(backend) as runner:
        for name, defences in CASES:
            if only not in (None, name):
                continue
            good = 0
            for seed in range(first, first + seeds):
                options = RunOptions(
                    defences=defences,
                    names=parse_defences(defences),
                    backend=backend,
                    seed=seed,
                    budgets=budgets_with(),
                )
                began = time.monotonic()
                result = perform(find_scenario(name), options, runner, out / f"{name}-{defences}-{seed}")
                ok, why = holds(result, defences)
                good += ok
                took = time.monotonic() - began
                print(f"{'held' if ok else 'BROKE':5} {name} {defences} seed {seed} {took:.0f} s: {why}", flush=True)
            low, high = wilson(good, seeds)
            rows.append({"scenario": name, "defences": defences, "held": good, "of": seeds, "low": low, "high": high})
    facts = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "backend": backend, "machine": machine()}
    (out / "verdicts.json").write_bytes(msgspec.json.format(msgspec.json.encode({**facts, "verdicts": rows}), indent=2))
    print()
    for row in rows:
        print(
            f"{row['scenario']}  {row['defences']:4}  {row['held']} of {row['of']} ({row['low']:.0%}-{row['high']:.0%})"
        )
    broken = sum(row["of"] - row["held"] for row in rows)
    print(f"\n{sum(row['held'] for row in rows)} passed, {broken} failed")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
