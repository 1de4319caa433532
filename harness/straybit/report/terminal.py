"""What a person sees on a terminal when a run is over. rich itself honours NO_COLOR and pipes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from straybit.outcome import DANGEROUS, Outcome
from straybit.records import Verdict
from straybit.report import facts, figures
from straybit.report.history import HISTORY
from straybit.result import RunResult

__all__ = ["phases_table", "print_result", "verdict_line"]

_STYLE = {Verdict.MET: "bold green", Verdict.NOT_MET: "bold red", Verdict.NO_VERDICT: "bold yellow"}


def verdict_line(result: RunResult) -> Text:
    """One line: the verdict, which run, and its sentence."""
    text = Text(no_wrap=True, overflow="ignore")
    text.append(f"{result.verdict.value:<10}", _STYLE[result.verdict])
    text.append(f" {facts.title(result)}: ", "bold")
    text.append(facts.sentence(result))
    return text


def phases_table(result: RunResult) -> Table:
    """Phases, their durations and their budgets; then what the trials took, at the median and at worst."""
    table = Table(title=facts.title(result), title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in ("phase", "from", "took", "budget", ""):
        table.add_column(name, justify="left" if name in ("phase", "") else "right", no_wrap=name != "")
    for phase in result.timeline:
        budget, took = figures.budget_of(phase, result.budgets), phase.until_s - phase.at_s
        over = budget is not None and took > budget
        row = (phase.name, f"{phase.at_s:.1f} s", Text(facts.seconds(took), "red" if over else ""), _budget(budget))
        table.add_row(*row, Text(phase.note, "dim"))
    for timing in figures.timings(result):
        if timing.spread:
            worst = Text(facts.seconds(timing.spread.worst), "red" if timing.over else "")
            note = f"worst of {timing.spread.count}, median {facts.seconds(timing.spread.p50)}"
            never = f", {timing.never} never" if timing.never else ""
            table.add_row(f"trials: {timing.name}", "", worst, _budget(timing.budget), Text(note + never, "dim"))
    return table


def print_result(result: RunResult, console: Console, *, report: Path | None = None) -> None:
    """Per run its phases, outcomes and Amazon's own times; then every verdict in one line; the report's path last."""
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
    history = HISTORY.get(run.scenario)
    if history:
        moments = ", ".join(f"{facts.seconds(m.at_s)} {m.what}" for m in history.moments[1:] if _short(m.what))
        yield Text(f"2008      {moments}", "dim")


def _short(what: str) -> bool:
    """The moments of 2008 that fit a terminal's line."""
    return len(what) < 48


def _outcome_style(outcome: Outcome) -> str:
    if outcome in DANGEROUS:
        return "red"
    return "green" if outcome in (Outcome.DETECTED, Outcome.MASKED) else "yellow"


def _budget(budget: float | None) -> str:
    return "" if budget is None else facts.seconds(budget)
