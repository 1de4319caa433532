"""A run in which the host stood still proves nothing: it is played again, more slowly, and every try is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from straybit.backends import DISAGREED, Backend
from straybit.observe.host import STALLED
from straybit.outcome import Outcome
from straybit.records import LogLine
from straybit.result import RunResult
from straybit.runner import RunOptions, perform
from straybit.scenarios import Scenario
from straybit.scenarios.scenario import UNSTEADY

__all__ = ["PACES", "perform_tries", "stalled"]

PACES = {1.0: "at full speed", 2.0: "at half speed", 4.0: "at a quarter of the speed"}
"""The first try and two more, in slow motion: all that takes time takes so much longer, and a stall weighs less.

A host that stands still each time is no place to measure on.
"""


_OF_THE_HOST = (UNSTEADY, STALLED, DISAGREED)
"""How reasons begin that a slower try may not have."""


def stalled(result: RunResult) -> str:
    """Why this run proves nothing because of the host, as far as one can tell; empty when it does."""
    whys = (trial.why for trial in result.trials if trial.outcome is Outcome.INVALID)
    stalls = (why for why in whys if why.startswith(STALLED))
    return next((reason for reason in (*result.reasons, *stalls) if reason.startswith(_OF_THE_HOST)), "")


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
    """Play as `perform` does; where the host stood still, play again in slow motion, at most twice, and say so.

    The last try's files are in `folder`, those of a try before it in `folder/try-N`, named in the last one's log.
    Raises what `perform` raises.
    """
    earlier: list[LogLine] = []
    paces = [*PACES]
    for number, pace in enumerate(paces, 1):
        there = set(folder.iterdir()) if folder.is_dir() else set()
        slowed = msgspec.structs.replace(options, pace=options.pace * pace)
        result = perform(scenario, slowed, backend, folder, command=command, progress=progress, before=earlier)
        why = stalled(result)
        if not why or number == len(paces):
            break
        name, again = f"try-{number}", f"played again {PACES[paces[number]]}"
        _set_aside(folder, there, name)
        earlier.append(LogLine(at_s=0.0, service="host", what=f"{name} proved nothing, and was {again}: {why}"))
        say(f"{scenario.name}: no verdict, {why}; {again}, that try is kept in {folder / name}")
    return result


def _set_aside(folder: Path, there: set[Path], name: str) -> None:
    """Move what a try left in the folder into one of its own."""
    left = [path for path in folder.iterdir() if path not in there]
    (folder / name).mkdir()
    for path in left:
        path.rename(folder / name / path.name)
