"""`straybit demo`: both events of 2008, undefended then defended."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import click

from straybit import records
from straybit.backends.choose import open_backend
from straybit.cli._options import fresh_folder, read_budgets, run_options
from straybit.cli._screen import Screen
from straybit.journal import Journal
from straybit.records import Verdict
from straybit.report import load_result, write_reports
from straybit.report.terminal import verdict_line
from straybit.result import exit_code
from straybit.runner import RunOptions, machine, perform
from straybit.scenarios import find_scenario
from straybit.story import as_published
from straybit_nodes.defences import parse_defences

__all__ = ["command"]

RUNS = (
    ("june-2008", "none", Verdict.NOT_MET),
    ("june-2008", "2008", Verdict.MET),
    ("july-2008", "none", Verdict.NOT_MET),
    ("july-2008", "2008", Verdict.MET),
)


@click.command("demo")
@run_options
def command(backend: str, seed: int, budgets: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Play both S3 events of 2008 on the reference cluster, once without defences and once with those of 2008.

    Exits 0 when the undefended runs failed as in 2008 and the defended ones held.
    """
    limits = read_budgets(budgets)
    folder = fresh_folder(out, f"demo-{seed}-{datetime.now(UTC):%Y%m%dT%H%M%S}")
    screen = Screen(as_json=as_json)
    folder.mkdir(parents=True, exist_ok=True)
    with Journal(folder / "journal.ndjson") as journal:
        journal.write(_started(backend, seed, limits))
        try:
            with open_backend(backend) as runner:
                for name, defences, expected in RUNS:
                    part = f"{name}-{defences}"
                    options = RunOptions(
                        defences=defences,
                        names=parse_defences(defences),
                        backend=backend,
                        seed=seed,
                        budgets=limits,
                    )
                    with screen.live(f"{name}, defences {defences}") as line:
                        result = perform(
                            find_scenario(name), options, runner, folder / part, command="demo", progress=line
                        )
                    screen.console.print(verdict_line(result))
                    journal.write(records.SubRun(folder=part, expect=expected))
                    if expected is Verdict.NOT_MET:
                        journal.write(as_published(result))
        except KeyboardInterrupt:
            journal.write(records.Interrupted())
            raise
        finally:
            journal.write(records.RunEnded())
            write_reports(folder)
    result = load_result(folder)
    screen.console.print(f"report: {folder / 'report.html'}", soft_wrap=True)
    if as_json:
        screen.emit(result)
    sys.exit(exit_code(result.verdict))


def _started(backend: str, seed: int, budgets: dict[str, float]) -> records.RunStarted:
    now = datetime.now(UTC)
    return records.RunStarted(
        straybit=version("straybit"),
        command="demo",
        target="reference",
        scenario="demo",
        backend=backend,
        seed=seed,
        run_id=f"demo-{seed}-{now:%Y%m%dT%H%M%S}",
        date=now.isoformat(timespec="seconds"),
        budgets=budgets,
        machine=machine(),
        replay=f"straybit demo --backend {backend} --seed {seed}",
    )
