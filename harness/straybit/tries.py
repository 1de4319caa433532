"""A run in which the host stood still proves nothing: it is played again, and every try is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from straybit.backends import Backend
from straybit.outcome import Outcome
from straybit.records import LogLine
from straybit.result import RunResult
from straybit.runner import RunOptions, perform
from straybit.scenarios import Scenario
from straybit.scenarios.scenario import STALLED

__all__ = ["TRIES", "perform_tries", "stalled"]

TRIES = 3
"""The first and two more: a host that stands still each time is no place to measure on."""
AGAIN = "played again with doubled time-outs"
PATIENCE = 2.0
"""Time-outs of those two, in multiples of the first's: July goes its way with half of them and with twice as much."""


def stalled(result: RunResult) -> str:
    """Why a trial of this run is INVALID because of the host; empty when none is."""
    whys = (trial.why for trial in result.trials if trial.outcome is Outcome.INVALID)
    return next((why for why in whys if why.startswith(STALLED)), "")


def perform_tries(
    scenario: Scenario,
    options: RunOptions,
    backend: Backend,
    folder: Path,
    *,
    command: str = "",
    progress: Callable[[str], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> RunResult:
    """Play as `perform` does; where the host stood still, play again with more patience, at most twice, and say so.

    The last try's files are in `folder`, those of a try before it in `folder/try-N`, named in the last one's log.
    Raises what `perform` raises.
    """
    earlier: list[LogLine] = []
    patient = msgspec.structs.replace(options, rules=options.rules.patient(PATIENCE))
    for number in range(1, TRIES + 1):
        there = set(folder.iterdir()) if folder.is_dir() else set()
        result = perform(
            scenario,
            options if number == 1 else patient,
            backend,
            folder,
            command=command,
            progress=progress,
            before=earlier,
        )
        why = stalled(result)
        if not why or number == TRIES:
            break
        name = f"try-{number}"
        _set_aside(folder, there, name)
        earlier.append(LogLine(at_s=0.0, service="host", what=f"{name} proved nothing, and was {AGAIN}: {why}"))
        say(f"{scenario.name}: no verdict, {why}; {AGAIN}, that try is kept in {folder / name}")
    return result


def _set_aside(folder: Path, there: set[Path], name: str) -> None:
    """Move what a try left in the folder into one of its own."""
    left = [path for path in folder.iterdir() if path not in there]
    (folder / name).mkdir()
    for path in left:
        path.rename(folder / name / path.name)
