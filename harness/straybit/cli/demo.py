"""`straybit demo`: both events of 2008, undefended then defended."""

from __future__ import annotations

import shlex
import sys
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import click
import msgspec

from straybit import records
from straybit.again import options_of, sizes_of
from straybit.backends import Backend
from straybit.backends.choose import open_backend
from straybit.cli._options import fresh_folder, read_budgets, run_options
from straybit.cli._screen import Screen
from straybit.journal import Journal
from straybit.records import Verdict
from straybit.report import load_result, write_reports
from straybit.report.terminal import verdict_line
from straybit.result import RunResult, exit_code
from straybit.runner import RunOptions, command_line, on_record, run_id, started
from straybit.scenarios import find_scenario
from straybit.story import as_published
from straybit.tries import perform_tries
from straybit_nodes.defences import parse_defences

__all__ = ["command", "play_all"]

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
    name = run_id("demo", seed)
    folder = fresh_folder(out, name)
    screen = Screen(as_json=as_json)
    options = RunOptions(backend=backend, seed=seed, budgets=limits, run_id=name)
    try:
        play_all(folder, options, open_backend(backend), screen)
    except BaseException:
        with suppress(OSError):  # what went wrong first is what counts
            write_reports(folder)
        raise
    write_reports(folder)
    result = load_result(folder)
    for reason in result.reasons:
        screen.console.print(f"no verdict: {reason}", soft_wrap=True, markup=False)
    screen.console.print(f"report: {folder / 'report.html'}", soft_wrap=True)
    if as_json:
        screen.emit(result)
    sys.exit(exit_code(result.verdict))


def play_all(folder: Path, options: RunOptions, backend: AbstractContextManager[Backend], screen: Screen) -> None:
    """Play the four runs, one after another, each in a folder of its own, under one journal that expects them all."""
    with Journal(folder / "journal.ndjson") as journal:
        journal.write(_started(options))
        with on_record(journal, "demo"):
            played = 0
            try:
                with backend as runner:
                    for name, defences, expected in RUNS:
                        journal.write(records.SubRun(folder=f"{name}-{defences}", expect=expected))
                        result = _play(name, defences, options, runner, folder, screen)
                        if expected is Verdict.NOT_MET and not result.reasons:
                            journal.write(as_published(result))
                        played += 1
            finally:
                if played < len(RUNS):
                    left = ", ".join(f"{name}-{defences}" for name, defences, _ in RUNS[played:])
                    journal.write(
                        records.Error(what=f"only {played} of {len(RUNS)} runs came to their end; not {left}")
                    )


def _play(name: str, defences: str, options: RunOptions, runner: Backend, folder: Path, screen: Screen) -> RunResult:
    part = f"{name}-{defences}"
    own = {"defences": defences, "names": parse_defences(defences), "run_id": f"{options.run_id}/{part}"}
    with screen.live(f"{name}, defences {defences}", options.budgets) as line:
        result = perform_tries(
            find_scenario(name),
            msgspec.structs.replace(options, **own),
            runner,
            folder / part,
            command=command_line(),
            progress=line,
            say=screen.say,
        )
    screen.console.print(verdict_line(result))
    return result


def _started(options: RunOptions) -> records.RunStarted:
    again = ["straybit", "demo", *options_of(options.backend, options.seed, options.budgets)]
    return started(
        "demo",
        command=command_line(),
        id=options.run_id,
        backend=options.backend,
        seed=options.seed,
        budgets=options.budgets,
        servers=sizes_of(options.topology),
        replay=shlex.join(again),
    )
