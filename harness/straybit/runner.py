"""From a scenario's name to a folder with a verdict: backend, cluster, journal, play, reports."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from straybit import records
from straybit.again import Setting, flips_again, run_again, sizes_of
from straybit.backends import Backend, BackendError
from straybit.control import ControlError
from straybit.interruption import interruption
from straybit.journal import Journal
from straybit.report import load_result, write_reports
from straybit.result import RunResult
from straybit.run import BIN_S, Recovery, Run
from straybit.scenarios import Scenario
from straybit_faults.client import ProxyError
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.topology import Topology

__all__ = [
    "DEBUG",
    "RunOptions",
    "command_line",
    "machine",
    "on_record",
    "perform",
    "replay_line",
    "run_id",
    "started",
]

DEBUG = "STRAYBIT_DEBUG"
"""Set in the environment, it shows tracebacks beside the one line that an error has."""

_OUR_WORDS = (BackendError, ControlError, ProxyError, OSError)
"""Errors whose messages are written for people."""


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says of one run.

    `defences` is the text as given, `names` what it stands for. `source` is the path of a scenario's file,
    `flips` are the ids of those that are replayed. `run_id` is its folder's name unless it says otherwise.
    With `pace` 2 everything takes twice as long, budgets too: slow motion, for hosts that stand still at times.
    """

    defences: str = "all"
    names: frozenset[str] = frozenset()
    recovery: Recovery = "staged"
    backend: str = "process"
    seed: int = 0
    budgets: dict[str, float] = {}
    topology: Topology = Topology()
    rules: Rules = Rules()
    pace: float = 1.0
    source: str = ""
    flips: tuple[str, ...] = ()
    run_id: str = ""


def machine() -> dict[str, str]:
    """Facts about this machine that a reader of figures needs."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpus": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
    }


def run_id(name: str, seed: int, *more: str) -> str:
    """A new run's name, and by default its folder's: what was played, how, and when."""
    words = (name, *(word.replace(",", "+") for word in more), str(seed), f"{datetime.now(UTC):%Y%m%dT%H%M%S}")
    return "-".join(words)


def command_line() -> str:
    """The command as it was given to this process."""
    return shlex.join(["straybit", *sys.argv[1:]])


def replay_line(scenario: str, options: RunOptions) -> str:
    """The whole command that plays the same again; empty where no command can."""
    setting = Setting(
        defences=options.names,
        backend=options.backend,
        seed=options.seed,
        topology=options.topology,
        budgets=options.budgets,
    )
    try:
        if options.flips:
            return flips_again(options.flips, setting)
        return run_again(options.source or scenario, options.recovery, setting)
    except ValueError:
        return ""


def perform(
    scenario: Scenario,
    options: RunOptions,
    backend: Backend,
    folder: Path,
    *,
    command: str = "",
    progress: Callable[[str], None] = lambda _: None,
    before: Iterable[records.Record] = (),
) -> RunResult:
    """Play `scenario` once and leave journal, logs and reports in `folder`, which must not hold a journal yet.

    `before` goes on record first: what is known of it from earlier tries.
    Whatever goes wrong while it is played, be it the scenario's own mistake, is on record as the reason for no verdict.
    KeyboardInterrupt is passed on when everything has been taken down and the reports are written.
    Raises OSError where the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder / "journal.ndjson", clock=backend.driver.now)
    try:
        with journal:
            date = backend.driver.date()
            journal.write(_started_by(scenario, options, command, options.run_id or folder.name, date))
            for record in before:
                journal.write(record)
            with on_record(journal, scenario.name):
                _play(scenario, options, backend, folder, journal, progress)
    except BaseException:
        with contextlib.suppress(OSError):  # what went wrong first is what counts
            write_reports(folder)
        raise
    write_reports(folder)
    return load_result(folder)


@contextmanager
def on_record(journal: Journal, what: str) -> Iterator[None]:
    """Put what goes wrong inside into the journal, and end it.

    Only an interruption is passed on, and what went wrong while the cluster was taken down behind one.
    """
    try:
        yield
    except KeyboardInterrupt:
        journal.write(records.Interrupted())
        raise
    except _OUR_WORDS as error:
        journal.write(records.Error(what=f"{type(error).__name__}: {error}"))
        _pass_on_if_interrupted(error, journal)
    except (Exception, SystemExit) as error:  # a scenario is anybody's code, and its mistakes are no verdict
        if os.environ.get(DEBUG):
            traceback.print_exc()
        said = " ".join(f"{type(error).__name__}: {error}".split("\n"))
        journal.write(records.Error(what=f"{what} raised {said}{_where(error)}"))
        _pass_on_if_interrupted(error, journal)
    finally:
        journal.write(records.RunEnded())


def _pass_on_if_interrupted(error: BaseException, journal: Journal) -> None:
    if interruption(error):
        journal.write(records.Interrupted())
        raise error


def started(  # `more` are members of the record
    scenario: str,
    *,
    command: str,
    id: str,
    backend: str,
    seed: int,
    date: datetime | None = None,
    **more: Any,  # noqa: ANN401
) -> records.RunStarted:
    """The first line of a run's journal, as of here and `date` (default: now)."""
    return records.RunStarted(
        straybit=version("straybit"),
        command=command,
        target="reference",
        scenario=scenario,
        backend=backend,
        seed=seed,
        run_id=id,
        date=(date or datetime.now(UTC)).isoformat(timespec="seconds"),
        machine=machine(),
        **more,
    )


def _slowed(options: RunOptions) -> dict[str, float]:
    return {name: budget_s * options.pace for name, budget_s in options.budgets.items()}


def _where(error: BaseException) -> str:
    """File and line that raised, the innermost."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


def _play(
    scenario: Scenario,
    options: RunOptions,
    backend: Backend,
    folder: Path,
    journal: Journal,
    progress: Callable[[str], None],
) -> None:
    progress("starting the cluster")
    began_s = journal.now()
    with backend.start(
        options.topology,
        defences=options.names,
        rules=options.rules.slowed(options.pace).patient(scenario.patience),
        seed=options.seed,
        folder=folder,
    ) as cluster:
        journal.write(records.Phase(name="start", at_s=round(began_s, 3), until_s=round(journal.now(), 3)))
        run = Run(
            cluster,
            journal,
            seed=options.seed,
            recovery=options.recovery,
            budgets=_slowed(options),
            pace=options.pace,
            replay=replay_line(scenario.name, options),
            progress=progress,
        )
        try:
            scenario.play(run)
        finally:
            run.close()
            for exit_ in cluster.exits():
                what = f"exited unasked with status {exit_.status}"
                journal.write(records.LogLine(at_s=exit_.t - journal.start, service=exit_.service, what=what))


def _started_by(scenario: Scenario, options: RunOptions, command: str, id: str, date: datetime) -> records.RunStarted:
    replay = replay_line(scenario.name, options)
    return started(
        scenario.name,
        command=command or replay,
        id=id,
        backend=options.backend,
        seed=options.seed,
        date=date,
        defences=tuple(sorted(options.names)),
        recovery=options.recovery,
        servers=sizes_of(options.topology),
        budgets=_slowed(options),
        bin_s=BIN_S,
        replay=replay,
        not_tested=scenario.not_tested,
    )
