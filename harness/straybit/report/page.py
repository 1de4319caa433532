"""report.html: one file without scripts or network, from a result alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from straybit.outcome import DANGEROUS, Outcome
from straybit.records import Phase, Trial, TrialKind
from straybit.report import draw, facts, figures, hexdump
from straybit.report.history import HISTORY, Moment, happened_here
from straybit.result import RunResult

__all__ = ["FULL_LIMIT", "report_html"]

FULL_LIMIT = 12
"""How many trials of a run are shown in full: the first of each group, worst group first."""

OPEN_LIMIT = 2
"""How many of those stand open when the page is opened."""


_UNIT = re.compile(r"(?<=\d) (?=(?:%|s|ms|min|h)\b|%)")


class Lane(msgspec.Struct, frozen=True):
    """One row of a trial's lanes of time."""

    name: str
    text: str
    drawing: str
    over: bool


class Shown(msgspec.Struct, frozen=True):
    """A trial in full."""

    trial: Trial
    lanes: tuple[Lane, ...]
    axis: str
    receipts: tuple[dict[str, Any], ...]
    replay: str
    open: bool


def report_html(result: RunResult) -> str:
    """The page. The same result gives the same bytes."""
    return _template().render(
        result=result,
        runs=[_run(run) for run in facts.runs_of(result)],
        columns=facts.noticers(facts.runs_of(result)),
        matrix=facts.matrix(facts.runs_of(result)),
        not_tested=facts.not_tested(result),
        facts=facts,
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("straybit.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"seconds": _seconds, "bound": _bound, "slug": str.lower}
    return environment.get_template("page.html.j2")


def _bound(text: str) -> str:
    """The text with its numbers bound to their units, so that no line breaks between them."""
    return _UNIT.sub("\u00a0", text)


def _seconds(value: float | None) -> str:
    return _bound(facts.seconds(value))


def _run(run: RunResult) -> dict[str, Any]:
    trials = facts.counted(run)
    timings = figures.timings(run)
    high = max([1.0, *(v for t in timings for v in (*t.values, t.budget or 0))]) * 1.2
    return {
        "result": run,
        "title": facts.title(run),
        "sentence": facts.sentence(run),
        "dangerous": figures.detected_share(trials, DANGEROUS),
        "silent": figures.detected_share(trials, frozenset({Outcome.SILENT})),
        "expected": sum(t.expected is t.outcome and t.outcome in DANGEROUS for t in trials),
        "detections": [row for row in _detections(run, trials) if row[1].events],
        "quiet": [name for name, share, _ in _detections(run, trials) if not share.events and name != "nobody"],
        "missed": sum(not t.detected_by for t in trials),
        "timings": [(t, draw.strip_plot(t, high)) for t in timings],
        "timings_axis": draw.log_axis(high),
        "success": _success(run),
        "phases": _phases(run.timeline, run.budgets),
        "here": happened_here(run),
        "here_rail": draw.rail(happened_here(run)),
        "history": HISTORY.get(run.scenario),
        "history_rail": draw.rail(_then(run)),
        "groups": _groups(run),
        "controls": [t for t in run.trials if t.kind is TrialKind.CONTROL],
    }


def _then(run: RunResult) -> tuple[Moment, ...]:
    history = HISTORY.get(run.scenario)
    return history.moments if history else ()


def _detections(run: RunResult, trials: Sequence[Trial]) -> list[tuple[str, figures.Share, bool]]:
    """Per noticer: its share of the trials, and whether that was luck; last, nobody."""
    rows = []
    for name in facts.noticers([run]):
        caught = [trial for trial in trials if name in trial.detected_by]
        luck = bool(caught) and all(trial.by_luck for trial in caught)
        rows.append((name, figures.share(len(caught), len(trials)), luck))
    nobody = sum(not trial.detected_by for trial in trials)
    return [*rows, ("nobody", figures.share(nobody, len(trials)), False)] if trials else rows


def _success(run: RunResult) -> dict[str, Any] | None:
    """The charts of request success, one per region, under one strip of phases and over one axis."""
    series = run.measurements.requests
    if not series:
        return None
    bin_s = run.measurements.bin_s
    starts = [*(s.at_s[0] for s in series.values()), *(p.at_s for p in run.timeline)]
    ends = [*(s.at_s[-1] + bin_s for s in series.values()), *(p.until_s for p in run.timeline)]
    span = (min(0.0, *starts), max(ends))
    flips = figures.flips_sent(run)
    charts = []
    for region, one in series.items():
        shares = [ok / total for ok, total in zip(one.ok, one.total, strict=True) if total]
        drawing = draw.success(region, one, span=span, bin_s=bin_s, phases=run.timeline, flips=flips)
        down = figures.outage(one, bin_s)
        total = f"{sum(one.ok)} of {sum(one.total)} requests succeeded"
        charts.append({"region": region, "drawing": drawing, "down": down, "shares": shares, "sum": total})
    return {
        "charts": charts,
        "axis": draw.axis(span),
        "strip": draw.phases_strip(run.timeline, span),
        "flips": len(flips),
    }


def _phases(phases: Sequence[Phase], budgets: dict[str, float]) -> list[dict[str, Any]]:
    """Each phase with its budget, and both as shares of the longest bar."""
    longest = (
        max([*(p.until_s - p.at_s for p in phases), *(figures.budget_of(p, budgets) or 0 for p in phases)], default=1)
        or 1
    )
    rows = []
    for phase in phases:
        took, budget = phase.until_s - phase.at_s, figures.budget_of(phase, budgets)
        rows.append(
            {
                "phase": phase,
                "took": took,
                "budget": budget,
                "over": budget is not None and took > budget,
                "bar": 100 * took / longest,
                "line": None if budget is None else 100 * budget / longest,
            }
        )
    return rows


def _groups(run: RunResult) -> list[dict[str, Any]]:
    """Each group with its first trial in full, the others as rows."""
    return [
        {
            "group": group,
            "first": _shown(run, group.trials[0], opened=number < OPEN_LIMIT) if number < FULL_LIMIT else None,
            "others": group.trials[1:] if number < FULL_LIMIT else group.trials,
        }
        for number, group in enumerate(facts.groups(run))
    ]


def _shown(run: RunResult, trial: Trial, *, opened: bool) -> Shown:
    high = _high(trial, run.budgets)
    return Shown(
        trial=trial,
        lanes=_lanes(trial, {**run.budgets, **trial.budgets}, high),
        axis=draw.log_axis(high),
        receipts=tuple({"receipt": r, "rows": hexdump.rows_of(r), "bits": hexdump.bits_of(r)} for r in trial.receipts),
        replay=facts.replay_command(run, trial),
        open=opened,
    )


def _high(trial: Trial, budgets: dict[str, float]) -> float:
    phases = trial.phases
    reverted = phases.reverted_s or 0
    back = reverted + (phases.recovered_s or 0)
    return 1.2 * max(
        1.0, back, phases.detected_s or 0, reverted + budgets.get("recovered", 0), budgets.get("detected", 0)
    )


def _lanes(trial: Trial, budgets: dict[str, float], high: float) -> tuple[Lane, ...]:
    """Sent, delivered, felt, detected, reverted, recovered; all from the moment the first flip was sent."""
    first = next((r for r in trial.receipts if r.sent is not None), None)
    delivered = None
    if first and first.sent is not None and first.delivered is not None:
        delivered = max(first.delivered - first.sent, 0.0)
    phases = trial.phases
    back = None if phases.recovered_s is None else (phases.reverted_s or 0) + phases.recovered_s
    return (
        _lane("sent", None, 0.0 if first else None, high),
        _lane("delivered", 0.0, delivered, high),
        _lane("felt", 0.0, phases.felt_s, high),
        _lane("detected", 0.0, phases.detected_s, high, budget=budgets.get("detected")),
        _lane("reverted", 0.0, phases.reverted_s, high),
        _lane("recovered", phases.reverted_s, back, high, budget=budgets.get("recovered"), took=phases.recovered_s),
    )


def _lane(
    name: str,
    start: float | None,
    end: float | None,
    high: float,
    *,
    budget: float | None = None,
    took: float | None = None,
) -> Lane:
    """`budget` counts from `start`, as does `took`, which is what the lane says where it is not `end`."""
    length = end if took is None else took
    over = budget is not None and length is not None and length > budget
    text = "at 0" if name == "sent" and end is not None else facts.seconds(length)
    line = None if budget is None else (start or 0) + budget
    css = f"{name} over" if over else name
    return Lane(name, text, draw.lane(start, end, high=high, budget=line, css=css), over)
