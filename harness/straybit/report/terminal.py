"""What a person sees on a terminal when a run is over. rich itself honours NO_COLOR and pipes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from straybit.outcome import DANGEROUS, Outcome
from straybit.records import Verdict
from straybit.report import facts, figures
from straybit.report.history import HISTORY
from straybit.result import RunResult

__all__ = ["phases_table", "print_result", "verdict_line"]

_FIGURES = ("from", "took", "budget", "2008")
_NOTE = 4
"""The column that gives way where the terminal is narrow."""
_STYLE = {Verdict.MET: "bold green", Verdict.NOT_MET: "bold red", Verdict.NO_VERDICT: "bold yellow"}


def verdict_line(result: RunResult) -> Text:
    """One line: the verdict, which run, and its sentence."""
    text = Text(no_wrap=True, overflow="ignore")
    text.append(f"{result.verdict.value:<10}", _STYLE[result.verdict])
    text.append(f" {facts.title(result)}: ", "bold")
    text.append(facts.sentence(result))
    return text


def phases_table(result: RunResult) -> Table:
    """Phases, their durations and their budgets; then what the trials took, at the median and at worst.

    Where there is a history, what happened then stands beside what happened here, each in its own order of time.
    """
    table = Table(title=facts.title(result), title_justify="left", title_style="bold", box=None, pad_edge=False)
    then = list(_then(result))
    heads = ("phase", "from", "took", "budget", "", *(("2008", "") if then else ()))
    for place, name in enumerate(heads):
        table.add_column(name, justify="right" if name in _FIGURES else "left", no_wrap=place != _NOTE)
    for here, before in zip_longest(_rows(result), then, fillvalue=None):
        table.add_row(*(here or ("",) * 5), *(before or ("",) * 2 if then else ()))
    return table


def _rows(result: RunResult) -> Iterator[tuple[RenderableType, ...]]:
    for phase in result.timeline:
        budget, took = figures.budget_of(phase, result.budgets), phase.until_s - phase.at_s
        over = budget is not None and took > budget
        row = (phase.name, f"{phase.at_s:.1f} s", Text(facts.seconds(took), "red" if over else ""), _budget(budget))
        yield (*row, Text(phase.note, "dim"))
    for timing in figures.timings(result):
        if timing.spread:
            worst = Text(facts.seconds(timing.spread.worst), "red" if timing.over else "")
            note = f"worst of {timing.spread.count}, median {facts.seconds(timing.spread.p50)}"
            never = f", {timing.never} never" if timing.never else ""
            yield (f"trials: {timing.name}", "", worst, _budget(timing.budget), Text(note + never, "dim"))


def _then(result: RunResult) -> Iterator[tuple[Text, Text]]:
    """Amazon's own times, since the beginning, and what happened."""
    history = HISTORY.get(result.scenario)
    for moment in history.moments if history else ():
        yield Text(facts.seconds(moment.at_s) if moment.at_s else "0", "dim"), Text(moment.short, "dim")


def print_result(result: RunResult, console: Console, *, report: Path | None = None) -> None:
    """Per run its phases beside Amazon's times, its outcomes; then each verdict in one line; the report's path last."""
    for run in facts.runs_of(result):
        if run.timeline:
            console.print(phases_table(run))
        for line in _details(run):
            console.print(line)
        console.print()
    for run in result.runs:
        console.print(verdict_line(run), soft_wrap=True)
    console.print(verdict_line(result), soft_wrap=True)
    for expectation in result.expectations:
        if not expectation.met:
            console.print(Text(f"  not met: {expectation.text}; {expectation.detail}", "red"), soft_wrap=True)
    if report is not None:
        console.print(Text(f"report: {report}"), soft_wrap=True)


def _details(run: RunResult) -> Iterator[Text]:
    counts = Text("outcomes  ")
    for outcome, count in facts.tally(run):
        counts.append(f"{count} {outcome}  ", _outcome_style(outcome))
    if facts.tally(run):
        yield counts
    for alarm in run.alarms:
        yield Text(f"alarm     {alarm.name} names {alarm.culprit} at {alarm.at_s:.1f} s")


def _outcome_style(outcome: Outcome) -> str:
    if outcome in DANGEROUS:
        return "red"
    return "green" if outcome in (Outcome.DETECTED, Outcome.MASKED) else "yellow"


def _budget(budget: float | None) -> str:
    return "" if budget is None else facts.seconds(budget)
