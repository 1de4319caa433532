"""What July 2008 is held against: pure, from what was seen to expectations and story."""

from __future__ import annotations

from collections.abc import Sequence

from straybit.outcome import Outcome
from straybit.records import Expectation, Table, Trial
from straybit.run import Stored
from straybit.scenarios.scenario import STORY

__all__ = ["expectations", "story"]


def expectations(
    trial: Trial, noticed: Sequence[float | None], found: Sequence[Stored], *, through: float, verified: float
) -> tuple[Expectation, ...]:
    """What a cluster that holds must show.

    `noticed` are seconds from sent to the first detection of each flip, None where nobody noticed.
    `through` and `verified` are shares of success, of the worse region: of the whole run, and at its end.
    """
    caught = [seconds for seconds in noticed if seconds is not None]
    in_time = [seconds for seconds in caught if seconds <= trial.budgets["detected"]]
    steady_s = trial.phases.recovered_s
    limit_s = trial.budgets["staged" if trial.sticky else "recovered"]
    return (
        Expectation(
            text="every flip is noticed by name, in time",
            met=len(in_time) == len(trial.flips) and not trial.by_luck,
            detail=f"{len(caught)} of {len(trial.flips)} noticed, by {', '.join(trial.detected_by) or 'nobody'}",
        ),
        Expectation(
            text="nobody believes a wrong value",
            met=trial.outcome in {Outcome.DETECTED, Outcome.MASKED, Outcome.DEGRADED},
            detail=trial.why,
        ),
        Expectation(
            text="every request succeeds in each region",
            met=through == 1,
            detail=f"{through:.0%} in the worse region",
        ),
        Expectation(
            text="the cluster is steady again within budget",
            met=steady_s is not None and steady_s <= limit_s,
            detail="never" if steady_s is None else f"after {steady_s:.1f} s, budget {limit_s:g} s",
        ),
        Expectation(
            text="at the end every request succeeds",
            met=verified == 1,
            detail=f"{verified:.0%} in the worse region",
        ),
        Expectation(
            text="no acknowledged object is lost",
            met=_kept(found),
            detail=f"{len(_lost(found))} of {len(found)} lost, {len(_unread(found))} could not be read",
        ),
    )


def story(trial: Trial, found: Sequence[Stored], *, down: bool, down_again: bool, restored: bool) -> Table:
    """What an undefended cluster must go through to have failed as in 2008."""
    rows = (
        ("wrong state is believed, and spreads from server to server", trial.outcome is Outcome.SPREAD),
        ("it is still there after a restart", trial.sticky),
        ("almost no request succeeds, in any region, for at least 5 s", down),
        ("restarting every server, one by one, does not help", down_again),
        ("stopping all, clearing the state and restoring in stages does", restored),
        ("no object is lost", _kept(found)),
    )
    cells = tuple((text, "yes" if came else "no") for text, came in rows)
    return Table(name=STORY, columns=("2008-07-20", "here"), rows=cells)


def _lost(found: Sequence[Stored]) -> list[str]:
    return [stored.key for stored in found if stored.verdict in {"wrong", "lost"}]


def _unread(found: Sequence[Stored]) -> list[str]:
    return [stored.key for stored in found if stored.verdict == "error"]


def _kept(found: Sequence[Stored]) -> bool:
    return bool(found) and not _lost(found) and not _unread(found)
