"""What happened in 2008, by Amazon's own times, to stand beside what happened here.

Sources: Amazon's service dashboard and post-mortem of 2008-07-20, Data Center Knowledge of 2008-06-27 and
2008-07-26, and the developer forum's thread of June 2008. Times are PDT.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import msgspec

from straybit.records import Phase, RestoreStage
from straybit.report import figures
from straybit.result import RunResult, Series

__all__ = ["HISTORY", "History", "Moment", "happened_here"]

HOUR = 3600.0
MINUTE = 60.0


class Moment(msgspec.Struct, frozen=True, order=True):
    """Something that happened `at_s` seconds after the beginning; `when` is its time of day, if it has one.

    `short` is the same in a few words, for a column on a terminal.
    """

    at_s: float
    what: str
    when: str = ""
    short: str = ""


class History(msgspec.Struct, frozen=True):
    """One event of 2008."""

    title: str
    moments: tuple[Moment, ...]


_JUNE = History(
    "Amazon S3, June 20 to 23, 2008",
    (
        Moment(
            0,
            "one new load balancer takes a small share of US traffic, and changes single bytes",
            "Fri 22:55",
            "faulty balancer in",
        ),
        Moment(
            59 * MINUTE,
            "400s on PUTs with Content-MD5 rise modestly; seen only in hindsight",
            "Fri 23:54",
            "400s rise modestly",
        ),
        Moment(
            36 * HOUR + 5 * MINUTE,
            "the load balancer is taken out; nobody has reported anything",
            "Sun 11:00",
            "balancer taken out",
        ),
        Moment(
            42 * HOUR + 10 * MINUTE,
            "first report: objects that no longer match their own hash",
            "Sun 17:05",
            "first report",
        ),
        Moment(67 * HOUR + 15 * MINUTE, "root cause published", "Mon 18:10", "root cause published"),
    ),
)

HISTORY: dict[str, History] = {
    "june-2008": _JUNE,
    "june-2008-bits": _JUNE,
    "july-2008": History(
        "Amazon S3, July 20, 2008",
        (
            Moment(0, "error rates climb in all locations", "08:40", "errors climb"),
            Moment(10 * MINUTE, "almost no request succeeds", "08:50", "almost nothing succeeds"),
            Moment(
                15 * MINUTE,
                "engineers engaged; shedding load in stages has no effect",
                "08:55",
                "shedding load: no effect",
            ),
            Moment(
                61 * MINUTE, "understood: servers spend nearly all their time gossiping", "09:41", "gossip understood"
            ),
            Moment(
                112 * MINUTE, "decision: stop everything, clear the state, start again", "10:32", "decision: stop all"
            ),
            Moment(145 * MINUTE, "everything stopped and cleared", "11:05", "stopped and cleared"),
            Moment(205 * MINUTE, "communication restored to a small subset of hosts", "12:05", "a few hosts talk"),
            Moment(340 * MINUTE, "the last batch of hosts talks again", "14:20", "the last hosts talk"),
            Moment(390 * MINUTE, "EU back to normal", "15:10", "EU back to normal"),
            Moment(498 * MINUTE, "US back to normal", "16:58", "US back to normal"),
        ),
    ),
}


def happened_here(result: RunResult) -> tuple[Moment, ...]:
    """The run's own moments, counted from its first flip (from its start, where there was none)."""
    sent = figures.flips_sent(result)
    zero = min(sent, default=0.0)
    moments = [Moment(alarm.at_s, f"{alarm.name} names {alarm.culprit}") for alarm in result.alarms]
    moments += _restore(result.restore)
    staged = {stage.at_s for stage in result.restore}
    moments += [Moment(p.at_s, _phase(p)) for p in result.timeline if p.at_s > zero and p.at_s not in staged]
    moments += [m for name, series in result.measurements.requests.items() for m in _success(name, series, zero)]
    moments += _detections(result)
    if sent:
        moments.append(Moment(zero, f"first of {len(sent)} flips leaves the proxy" if len(sent) > 1 else "the flip"))
    if len(sent) > 1:
        moments.append(Moment(max(sent), "last flip leaves the proxy"))
    return tuple(Moment(moment.at_s - zero, moment.what) for moment in sorted(moments) if moment.at_s >= zero)


def _restore(stages: Sequence[RestoreStage]) -> Iterator[Moment]:
    """Each stage; several of a kind in a row, as batches are, make one moment."""
    for _, kind in groupby(stages, key=lambda stage: stage.name.split()[:1]):
        alike = list(kind)
        more = f", and {len(alike) - 1} more of these" if len(alike) > 1 else ""
        yield Moment(alike[0].at_s, f"restore: {alike[0].name}{more}")


def _phase(phase: Phase) -> str:
    return f"{phase.name}: {phase.note}" if phase.note else phase.name


def _detections(result: RunResult) -> list[Moment]:
    """The first time each noticer noticed."""
    found: dict[str, float] = {}
    for trial in result.faults:
        for name in trial.detected_by:
            if trial.at_s is not None and trial.phases.detected_s is not None:
                at = trial.at_s + trial.phases.detected_s
                found[name] = min(found.get(name, at), at)
    return [Moment(at, f"{name} notices for the first time") for name, at in found.items()]


def _success(region: str, series: Series, zero: float) -> list[Moment]:
    """When a region first fell below half and below 5 %, and when it was back for good."""
    shares = [(at, ok / total) for at, ok, total in zip(series.at_s, series.ok, series.total, strict=True) if total]
    after = [(at, value) for at, value in shares if at >= zero]
    moments = []
    for limit, words in ((0.5, "fewer than half of the requests succeed"), (0.05, "almost no request succeeds")):
        at = next((at for at, value in after if value < limit), None)
        if at is not None:
            moments.append(Moment(at, f"{region}: {words}"))
    if moments:
        bad = max(at for at, value in after if value < 0.95)
        good = next((at for at, _ in after if at > bad), None)
        if good is not None:
            moments.append(Moment(good, f"{region}: back to normal"))
    return moments
