"""`straybit restore`: July's own way back, as an operator's tool."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from straybit.cli.cluster import cluster_option

if TYPE_CHECKING:
    from straybit.restore import Stage
    from straybit.rollout import Step

__all__ = ["command"]

BUDGET_S = 60.0


@click.command("restore")
@cluster_option
@click.option("--plan", "only_plan", is_flag=True, help="Print the stages and their gates, and touch nothing.")
@click.option(
    "--batch", type=click.IntRange(1), default=2, show_default=True, help="Servers that are resumed at a time."
)
@click.option(
    "--budget", "budget_s", type=click.FloatRange(min=0), default=BUDGET_S, show_default=True, help="Seconds for all."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, and nothing else, on standard output.")
def command(folder: Path, only_plan: bool, batch: int, budget_s: float, as_json: bool) -> None:
    """Bring the cluster of `straybit cluster up` back from poisoned state.

    All stop and forget, then return in batches, the small region first.
    Each stage ends behind a gate that is checked, not slept.
    It may be interrupted at any time and run again: it begins anew and takes what it finds.
    Exits 0 when every gate opened, 1 when one did not, 2 when there is no cluster.
    """
    from straybit.rollout import staged_plan  # noqa: PLC0415 - `straybit --help` needs none of it
    from straybit.standing import read_card  # noqa: PLC0415 - as above

    plan = staged_plan(read_card(folder).wanted.topology, batch)
    if only_plan:
        _show_plan(plan, as_json=as_json)
        return
    sys.exit(_restore(folder, plan, batch, budget_s, as_json=as_json))


def _restore(folder: Path, plan: tuple[Step, ...], batch: int, budget_s: float, *, as_json: bool) -> int:
    from straybit.restore import RestoreError, restore  # noqa: PLC0415 - `straybit --help` needs none of it
    from straybit.standing import attach  # noqa: PLC0415 - as above

    stages: list[Stage] = []
    error = ""
    culprits: tuple[str, ...] = ()

    def heard(stage: Stage) -> None:
        stages.append(stage)
        click.echo(_line(stage, len(stages), len(plan)), err=as_json)

    with attach(folder) as cluster:
        try:
            restore(cluster, "staged", budget_s=budget_s, batch=batch, on_stage=heard)
        except RestoreError as stopped:
            error, culprits = str(stopped), stopped.culprits
        except KeyboardInterrupt:
            done = stages[-1].name if stages else "nothing"
            left = "services that were stopped stay stopped; run the same command again to bring them back"
            raise click.ClickException(f"interrupted after {done}: {left}") from None
    if as_json:
        _emit(stages, error, culprits)
    elif error:
        click.echo(f"A gate did not open, and nothing behind it was touched. To blame: {', '.join(culprits) or error}")
    else:
        click.echo(f"Restored in {stages[-1].ended - stages[0].began:.1f} s.")
    return 1 if error else 0


def _line(stage: Stage, number: int, of: int) -> str:
    took = f"{stage.ended - stage.began:5.2f} s"
    return f"{number:2}/{of} {took}  {'ok    ' if stage.ok else 'FAILED'}  {stage.name}: {stage.note}"


def _show_plan(plan: tuple[Step, ...], *, as_json: bool) -> None:
    import msgspec  # noqa: PLC0415 - `straybit --help` needs none of it

    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode({"plan": plan}), indent=2).decode())
        return
    for number, step in enumerate(plan, 1):
        who = f"{len(step.services)} services" if len(step.services) > 6 else ", ".join(step.services)
        click.echo(f"{number:2}. {step.name} ({who})\n      does  {step.does}\n      gate  {step.gate}")


def _emit(stages: list[Stage], error: str, culprits: tuple[str, ...]) -> None:
    import msgspec  # noqa: PLC0415 - `straybit --help` needs none of it

    began = stages[0].began if stages else 0.0
    rows = [
        {
            "name": stage.name,
            "ok": stage.ok,
            "began_s": round(stage.began - began, 3),
            "took_s": round(stage.ended - stage.began, 3),
            "note": stage.note,
        }
        for stage in stages
    ]
    found = {"restored": not error, "error": error, "culprits": culprits, "stages": rows}
    click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
