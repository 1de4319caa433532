"""From a scenario's name to a folder with a verdict: backend, cluster, journal, play, reports."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec

from straybit import records
from straybit.backends import Backend, BackendError
from straybit.budgets import BUDGETS
from straybit.control import ControlError
from straybit.journal import Journal
from straybit.report import load_result, write_reports
from straybit.result import RunResult
from straybit.run import BIN_S, Recovery, Run
from straybit.scenarios import Scenario
from straybit_faults.client import ProxyError
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.topology import Topology

__all__ = ["RunOptions", "machine", "perform", "replay_line"]


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says of one run. `defences` is the text as given, `names` what it stands for."""

    defences: str = "all"
    names: frozenset[str] = frozenset()
    recovery: Recovery = "staged"
    backend: str = "process"
    seed: int = 0
    budgets: dict[str, float] = {}
    topology: Topology = Topology()
    rules: Rules = Rules()


def machine() -> dict[str, str]:
    """Facts about this machine that a reader of figures needs."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpus": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
    }


def replay_line(scenario: str, options: RunOptions) -> str:
    """The whole command that plays the same run again."""
    parts = ["straybit", "run", scenario, "--defences", options.defences, "--recovery", options.recovery]
    parts += ["--backend", options.backend, "--seed", str(options.seed)]
    return " ".join([*parts, *(f"--budget {name}={value:g}s" for name, value in _unusual(options.budgets))])


def perform(
    scenario: Scenario,
    options: RunOptions,
    backend: Backend,
    folder: Path,
    *,
    command: str = "run",
    progress: Callable[[str], None] = lambda _: None,
) -> RunResult:
    """Play `scenario` once and leave journal, logs and reports in `folder`, which must not hold a journal yet.

    Whatever goes wrong is on record as the reason for no verdict.
    KeyboardInterrupt is passed on when everything has been taken down and the reports are written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with Journal(folder / "journal.ndjson") as journal:
            journal.write(_started(scenario, options, command))
            try:
                _play(scenario, options, backend, folder, journal, progress)
            except (BackendError, ControlError, ProxyError, OSError, RuntimeError) as error:
                journal.write(records.Error(what=f"{type(error).__name__}: {error}"))
            except KeyboardInterrupt:
                journal.write(records.Interrupted())
                raise
            except BaseException as error:
                journal.write(records.Error(what=f"a defect of straybit: {error!r}"))
                raise
            finally:
                journal.write(records.RunEnded())
    finally:
        write_reports(folder)
    return load_result(folder)


def _unusual(budgets: dict[str, float]) -> list[tuple[str, float]]:
    return sorted((name, value) for name, value in budgets.items() if BUDGETS[name] != value)


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
        rules=options.rules,
        seed=options.seed,
        folder=folder,
    ) as cluster:
        journal.write(records.Phase(name="start", at_s=round(began_s, 3), until_s=round(journal.now(), 3)))
        run = Run(
            cluster,
            journal,
            seed=options.seed,
            recovery=options.recovery,
            budgets=options.budgets,
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


def _started(scenario: Scenario, options: RunOptions, command: str) -> records.RunStarted:
    now = datetime.now(UTC)
    return records.RunStarted(
        straybit=version("straybit"),
        command=command,
        target="reference",
        scenario=scenario.name,
        backend=options.backend,
        seed=options.seed,
        run_id=f"{scenario.name}-{options.defences.replace(',', '+')}-{options.seed}-{now:%Y%m%dT%H%M%S}",
        date=now.isoformat(timespec="seconds"),
        defences=tuple(sorted(options.names)),
        recovery=options.recovery,
        budgets=options.budgets,
        machine=machine(),
        bin_s=BIN_S,
        replay=replay_line(scenario.name, options),
        not_tested=scenario.not_tested,
    )
