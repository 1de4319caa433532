"""The numbers of a report: shares with their intervals, durations with their budgets, outages. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from straybit.outcome import Outcome
from straybit.records import Phase, Trial
from straybit.report.facts import counted
from straybit.result import RunResult, Series
from straybit.stats import Spread, at_most, spread, wilson

__all__ = ["Share", "Timing", "budget_of", "detected_share", "flips_sent", "outage", "share", "timings"]


class Share(msgspec.Struct, frozen=True):
    """Some of several, and what that says: an interval, or a bound where there was none or nothing else."""

    events: int
    trials: int
    low: float
    high: float

    @property
    def text(self) -> str:
        """`95 %: 61-100 %`, or `at most 14 %, 95 %` for zero events."""
        if self.trials == 0:
            return "no trial counted"
        if self.events == 0:
            return f"at most {_percent(self.high)} (95 %)"
        return f"95 % interval {_percent(self.low)} to {_percent(self.high)}"


def _percent(value: float) -> str:
    return f"{value * 100:.2g} %" if value < 0.0995 else f"{value * 100:.0f} %"


def share(events: int, trials: int) -> Share:
    """Wilson's interval; for zero events the exact bound."""
    if events == 0:
        return Share(0, trials, 0.0, at_most(trials))
    return Share(events, trials, *wilson(events, trials))


def detected_share(trials: Sequence[Trial], outcomes: frozenset[Outcome]) -> Share:
    """How many of the trials ended in one of these outcomes."""
    return share(sum(trial.outcome in outcomes for trial in trials), len(trials))


class Timing(msgspec.Struct, frozen=True):
    """How long one phase took over the trials that reached it.

    `never` counts the trials that did not reach it, `over` those that took longer than their own budget;
    `budget` is the tightest of these.
    """

    name: str
    values: tuple[float, ...]
    spread: Spread | None
    budget: float | None
    never: int
    over: int


def timings(result: RunResult) -> tuple[Timing, ...]:
    """Time to detect and time to recover, of the fault trials that count."""
    return (_timing(result, "detected"), _timing(result, "recovered"))


def _timing(result: RunResult, name: str) -> Timing:
    trials = counted(result)
    found = [(getattr(t.phases, f"{name}_s"), t.budgets.get(name, result.budgets.get(name))) for t in trials]
    values = tuple(value for value, _ in found if value is not None)
    budget = min((limit for _, limit in found if limit is not None), default=None)
    over = sum(value > limit for value, limit in found if value is not None and limit is not None)
    return Timing(name, values, spread(values), budget, len(found) - len(values), over)


def flips_sent(result: RunResult) -> list[float]:
    """When each flip left the proxy, in order; a trial without receipts counts by its own time."""
    times: list[float] = []
    for trial in result.faults:
        sent = [receipt.sent for receipt in trial.receipts if receipt.sent is not None]
        times += sent or ([] if trial.at_s is None else [trial.at_s])
    return sorted(times)


def budget_of(phase: Phase, budgets: dict[str, float]) -> float | None:
    """The budget of the phase's name, or of its first word: `staged` holds for `staged restore`."""
    first, *_ = [*phase.name.split(), ""]
    return budgets.get(phase.name, budgets.get(first))


def outage(series: Series, bin_s: float, below: float = 0.05) -> float:
    """The longest stretch, in seconds, in which fewer than this share of requests succeeded.

    Bins without any request end no stretch and count for none.
    """
    longest = current = 0.0
    for ok, total in zip(series.ok, series.total, strict=True):
        if total:
            current = current + bin_s if ok / total < below else 0.0
            longest = max(longest, current)
    return longest
