"""Whether an undefended cluster failed as published, and not in some other way."""

from __future__ import annotations

from straybit.outcome import Outcome
from straybit.records import Expectation
from straybit.result import RunResult
from straybit.scenarios.scenario import STORY

__all__ = ["as_published"]


def as_published(result: RunResult) -> Expectation:
    """Whether every row of the scenario's story came true; the detail names those that did not.

    Not while something stood in the run's way: a reason for no verdict, or any INVALID trial, controls too.
    """
    rows = [row for table in result.tables if table.name == STORY for row in table.rows]
    wrong = [f"not so: {row[0]}" for row in rows if row[-1] != "yes"]
    wrong += result.reasons
    wrong += [f"trial {trial.id} is INVALID" for trial in result.trials if trial.outcome is Outcome.INVALID]
    defences = ", ".join(result.defences) or "none"
    return Expectation(
        text=f"{result.scenario} with defences {defences} goes as published",
        met=bool(rows) and not wrong,
        detail="; ".join(wrong) or f"{len(rows)} of {len(rows)} points of the story",
    )
