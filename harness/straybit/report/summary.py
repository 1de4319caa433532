"""summary.md: the report for a CI's step summary, below its limit of 1,024 KiB."""

from __future__ import annotations

from collections.abc import Iterator

from straybit.records import Trial
from straybit.report import facts, figures
from straybit.result import RunResult

__all__ = ["LIMIT_BYTES", "summary_md"]

LIMIT_BYTES = 1024 * 1024 - 1
"""GitHub refuses a step summary of 1,024 KiB or more."""

ROWS_LIMIT = 200
"""Trials listed per run; the page has them all."""

_CUT = "\n\n*Cut short here: the rest is in report.html and result.json.*\n"


def summary_md(result: RunResult) -> str:
    """Markdown; whole lines are dropped from the end where it would be too long."""
    text = "\n".join(_lines(result)) + "\n"
    data = text.encode()
    if len(data) <= LIMIT_BYTES:
        return text
    kept = data[: LIMIT_BYTES - len(_CUT.encode())]
    return kept[: kept.rfind(b"\n")].decode() + _CUT


def _lines(result: RunResult) -> Iterator[str]:
    yield f"# {_text(facts.sentence(result))}"
    yield ""
    yield f"{_text(facts.title(result))}, seed {result.seed}: `{result.replay or result.command}`"
    for reason in result.reasons:
        yield f"- no verdict: {_text(reason)}"
    for run in facts.runs_of(result):
        yield from _run(run, several=bool(result.runs))
    if result.runs:
        yield from _expectations(result)
    yield from ["", "## What was not tested", ""]
    for text in facts.not_tested(result):
        yield f"- {_text(text)}"


def _run(run: RunResult, *, several: bool) -> Iterator[str]:
    if several:
        yield from ["", f"## {_text(facts.title(run))}", "", _text(facts.sentence(run))]
    yield from _expectations(run)
    yield from _table(("outcome", "trials"), [(str(outcome), str(count)) for outcome, count in facts.tally(run)])
    yield from _table(("", "p50", "p95", "max", "budget", "never"), [_timing(found) for found in figures.timings(run)])
    for alarm in run.alarms:
        yield from ["", f"{_text(alarm.name)} named **{_text(alarm.culprit)}** at {facts.seconds(alarm.at_s)}."]
    for table in run.tables:
        yield from ["", f"### {_text(table.name)}"]
        yield from _table(table.columns, [tuple(str(cell) for cell in row) for row in table.rows])
    trials = facts.worst_first(run.faults)
    header = ("trial", "outcome", "noticed by", "radius", "again")
    yield from _table(header, [_trial(run, trial) for trial in trials[:ROWS_LIMIT]])
    if len(trials) > ROWS_LIMIT:
        yield from ["", f"and {len(trials) - ROWS_LIMIT} more in report.html"]


def _expectations(result: RunResult) -> Iterator[str]:
    if result.expectations:
        yield ""
    for expectation in result.expectations:
        detail = f": {_text(expectation.detail)}" if expectation.detail else ""
        yield f"- {'✅' if expectation.met else '❌'} {_text(expectation.text)}{detail}"


def _timing(timing: figures.Timing) -> tuple[str, ...]:
    found = timing.spread
    numbers = [facts.seconds(value) for value in (found.p50, found.p95, found.worst)] if found else ["", "", ""]
    budget = "" if timing.budget is None else facts.seconds(timing.budget)
    return (timing.name, *numbers, budget, str(timing.never))


def _trial(run: RunResult, trial: Trial) -> tuple[str, ...]:
    noticed = ", ".join(trial.detected_by) or "nobody"
    outcome = f"{trial.outcome}{' (expected)' if trial.outcome is trial.expected else ''}"
    return (trial.id, outcome, noticed, str(trial.blast_radius), f"`{facts.replay_command(run, trial)}`")


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    if rows:
        yield ""
        yield f"| {' | '.join(_cell(name) for name in columns)} |"
        yield "|" + " --- |" * len(columns)
        for row in rows:
            yield f"| {' | '.join(_cell(cell) for cell in row)} |"


def _cell(text: str) -> str:
    return (text if text.startswith("`") else _text(text)).replace("|", "\\|")


def _text(text: str) -> str:
    """Text that stays text in Markdown: one line, no tags, no links of its own making."""
    flat = " ".join(text.split())
    return flat.replace("&", "&amp;").replace("<", "&lt;").replace("[", "\\[").replace("`", "\\`")
