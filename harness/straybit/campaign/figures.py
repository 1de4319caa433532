"""A campaign's count as it goes: outcomes, rate, time left, and what trials cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import msgspec

from straybit.campaign.worker import Done
from straybit.outcome import DANGEROUS, Outcome
from straybit.records import Trial, TrialKind

__all__ = ["Cost", "Tally"]


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What this session's trials cost: seconds of the clock in all, of a lane in all, and of their workers' CPUs."""

    trials: int
    wall_s: float
    lane_s: float
    cpu_s: float
    workers: int

    @property
    def per_second(self) -> float:
        """Trials a second of the clock."""
        return self.trials / self.wall_s if self.wall_s else 0.0

    @property
    def cpu_per_trial_s(self) -> float:
        """CPU seconds of the workers, a trial."""
        return self.cpu_s / self.trials if self.trials else 0.0


class Tally:
    """Counts trials of a plan of `planned`; `before` are those of earlier sessions."""

    def __init__(self, planned: int, before: Iterable[Trial], clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self.planned = planned
        self.counts: Counter[Outcome] = Counter()
        self.done = 0
        self.played = 0
        self._lane_s = self._cpu_s = 0.0
        self._workers: set[int] = set()
        for trial in before:
            self._count(trial)

    def add(self, done: Done) -> None:
        """One more, of this session."""
        self.played += 1
        self._lane_s += done.took_s
        self._cpu_s += done.cpu_s
        self._workers.add(done.pid)
        self._count(done.trial)

    def _count(self, trial: Trial) -> None:
        self.done += 1
        if trial.kind is TrialKind.FAULT:
            self.counts[trial.outcome] += 1

    @property
    def elapsed_s(self) -> float:
        """Of this session."""
        return self._clock() - self._began

    @property
    def left_s(self) -> float | None:
        """Until the plan is done, at this session's rate so far; None before there is a rate."""
        return (self.planned - self.done) * self.elapsed_s / self.played if self.played else None

    @property
    def dangerous(self) -> int:
        """Flips that ended dangerously so far."""
        return sum(self.counts[outcome] for outcome in DANGEROUS)

    @property
    def cost(self) -> Cost:
        """Of this session."""
        return Cost(
            trials=self.played,
            wall_s=self.elapsed_s,
            lane_s=self._lane_s,
            cpu_s=self._cpu_s,
            workers=len(self._workers),
        )

    def line(self) -> str:
        """Progress in a line."""
        left = "" if self.left_s is None else f", {self.left_s:.0f} s left"
        rate = self.played / self.elapsed_s if self.elapsed_s else 0.0
        return f"{self.done} of {self.planned} trials, {rate:.1f}/s{left}, {self.dangerous} dangerous"
