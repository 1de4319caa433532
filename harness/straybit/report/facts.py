"""What a report says about a result in words, and how it orders trials, whatever it is printed on. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from straybit.outcome import DANGEROUS, Outcome
from straybit.records import Expectation, Trial, TrialKind, Verdict
from straybit.result import RunResult
from straybit_nodes.defences import DEFENCES, GROUPS

__all__ = [
    "LIST_LIMIT",
    "Group",
    "counted",
    "defences_text",
    "fault_class",
    "groups",
    "matrix",
    "not_tested",
    "noticers",
    "replay_command",
    "runs_of",
    "seconds",
    "sentence",
    "tally",
    "title",
    "worst_first",
]

LIST_LIMIT = 5
"""How many names a sentence lists before it says how many more there are."""

_WORDS = {Verdict.MET: "Held", Verdict.NOT_MET: "Did not hold", Verdict.NO_VERDICT: "No verdict"}


def seconds(value: float | None) -> str:
    """A duration with three digits at most: `2.1 ms`, `0.52 s`, `8.4 s`, `5 h 40 min`."""
    if value is None:
        return "never"
    if value < 0.1:
        return f"{value * 1000:.2g} ms" if value < 0.00995 else f"{value * 1000:.0f} ms"
    if value < 120:
        return f"{value:.2g} s" if value < 9.95 else f"{value:.3g} s"
    minutes = round(value / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _times(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def runs_of(result: RunResult) -> tuple[RunResult, ...]:
    """The runs inside, or the run itself where there are none."""
    return result.runs or (result,)


def counted(result: RunResult) -> tuple[Trial, ...]:
    """The trials that rates are made of: faults, less the INVALID ones."""
    return tuple(trial for trial in result.faults if trial.outcome is not Outcome.INVALID)


def defences_text(defences: Sequence[str]) -> str:
    """A set of defences by its short name where it has one."""
    names = frozenset(defences)
    known = {GROUPS["none"]: "no defences", GROUPS["2008"]: "the defences of 2008", GROUPS["all"]: "all defences"}
    return known.get(names) or ", ".join(sorted(names))


def title(result: RunResult) -> str:
    """`july-2008, no defences`."""
    if result.runs:
        return result.scenario
    name = result.scenario or result.target or result.run_id or "this run"
    return f"{name}, {defences_text(result.defences)}"


def tally(result: RunResult) -> tuple[tuple[Outcome, int], ...]:
    """The outcomes that happened, worst first."""
    counts = Counter(trial.outcome for run in runs_of(result) for trial in run.faults)
    return tuple((outcome, counts[outcome]) for outcome in Outcome if counts[outcome])


def sentence(result: RunResult) -> str:
    """The verdict in one sentence, which stands alone."""
    if result.verdict is Verdict.NO_VERDICT:
        more = f" (and {len(result.reasons) - 1} more)" if len(result.reasons) > 1 else ""
        return f"No verdict: {_line(result.reasons[0]) if result.reasons else 'nothing is known'}{more}."
    if result.runs:
        word = "As expected" if result.verdict is Verdict.MET else "Not as expected"
        return f"{word}: {_held(result.runs)}; {_met(result.expectations)}."
    return f"{_WORDS[result.verdict]}: {_ended(result)}{_met(result.expectations)}."


def _as_expected(trials: Sequence[Trial], outcome: Outcome) -> str:
    """A word for a bad outcome that the scenario wanted; a good one needs none."""
    wanted = all(trial.expected is outcome for trial in trials if trial.outcome is outcome)
    return " as expected" if wanted and outcome.rank < Outcome.DETECTED.rank and outcome is not Outcome.INVALID else ""


def _line(text: str) -> str:
    return " ".join(text.split()).rstrip(".")


def _held(runs: Sequence[RunResult]) -> str:
    """How many runs held, apart for those with and without defences."""
    parts = []
    for words, some in (
        ("undefended", [run for run in runs if not run.defences]),
        ("defended", [run for run in runs if run.defences]),
    ):
        if some:
            held = sum(run.verdict is Verdict.MET for run in some)
            parts.append(f"{held or 'none'} of {_times(len(some), f'{words} run')} held")
    return ", ".join(parts)


def _ended(result: RunResult) -> str:
    """How the fault trials ended and who noticed: `6 flips, all SPREAD and sticky, noticed by nobody; `."""
    counts, trials = tally(result), counted(result)
    if not counts:
        return ""
    total = sum(count for _, count in counts)
    all_of = len(counts) == 1 and total > 1
    outcomes = {outcome: f"{outcome}{_as_expected(trials, outcome)}" for outcome, _ in counts}
    ended = f"all {outcomes[counts[0][0]]}" if all_of else ", ".join(f"{count} {outcomes[o]}" for o, count in counts)
    sticky = " and sticky" if trials and all(trial.sticky for trial in trials) else ""
    names = sorted({name for trial in trials for name in trial.detected_by})
    if not trials:
        return f"{_times(total, 'trial')}, {ended}; "
    noticed = " and ".join(names) if len(names) < 3 else f"{len(names)} defences and checks"
    return f"{_times(total, 'trial')}, {ended}{sticky}, noticed by {noticed or 'nobody'}; "


def _met(expectations: Sequence[Expectation]) -> str:
    missed = sum(not expectation.met for expectation in expectations)
    if missed:
        return f"{missed} of {_times(len(expectations), 'expectation')} not met"
    return (
        f"{_times(len(expectations), 'expectation')}, all met"
        if len(expectations) > 1
        else "the expectation met"
        if expectations
        else "no expectation was set"
    )


def noticers(results: Sequence[RunResult]) -> tuple[str, ...]:
    """Everybody who could notice: the defences that were on in any run, then whoever else did."""
    on = {name for run in results for name in run.defences}
    did = {name for run in results for trial in run.faults for name in trial.detected_by}
    return (*sorted(on), *sorted(did - on))


def fault_class(trial: Trial) -> str:
    """What kind of flip this was, such as `state address`: the message's kind and the field without its owner."""
    if not trial.flips:
        return "no flip"
    parts = trial.flips[0].split("/")
    if len(parts) < 6 or parts[3] == "at":
        return "bit at an offset"
    kind, field = parts[3], parts[5]
    owned = "." in field and not field.startswith("header.")
    return f"{kind} {field.rsplit('.', 1)[-1] if owned else field.partition(':')[0]}"


def matrix(results: Sequence[RunResult]) -> list[dict[str, object]]:
    """Per run and fault: how many trials, who noticed how many, how many nobody did, and the outcomes."""
    columns = noticers(results)
    rows: list[dict[str, object]] = []
    for number, run in enumerate(results, 1):
        for fault in sorted({fault_class(trial) for trial in counted(run)}):
            trials = [trial for trial in counted(run) if fault_class(trial) == fault]
            by = Counter(name for trial in trials for name in set(trial.detected_by))
            rows.append(
                {
                    "number": number,
                    "run": title(run),
                    "fault": fault,
                    "trials": len(trials),
                    "cells": [by[name] if by[name] or name in run.defences else None for name in columns],
                    "nobody": sum(not trial.detected_by for trial in trials),
                    "outcomes": [(o, n) for o in Outcome if (n := sum(t.outcome is o for t in trials))],
                }
            )
    return rows


def worst_first(trials: Sequence[Trial]) -> list[Trial]:
    """By outcome, then those that nobody expected, then by how far they reached."""
    return sorted(
        trials, key=lambda t: (t.outcome.rank, t.outcome is t.expected, -t.blast_radius, -t.depth, t.at_s or 0, t.id)
    )


class Group(msgspec.Struct, frozen=True):
    """Trials that ended alike, worst first; the first of them stands for all."""

    outcome: Outcome
    fault: str
    expected: bool
    trials: tuple[Trial, ...]

    @property
    def dangerous(self) -> bool:
        """Whether a campaign would count these."""
        return self.outcome in DANGEROUS


def groups(result: RunResult) -> list[Group]:
    """The fault trials by outcome, expectation and kind of flip, worst first."""
    found: dict[tuple[Outcome, bool, str], list[Trial]] = {}
    for trial in worst_first(result.faults):
        found.setdefault((trial.outcome, trial.outcome is trial.expected, fault_class(trial)), []).append(trial)
    return [Group(outcome, fault, expected, tuple(ts)) for (outcome, expected, fault), ts in found.items()]


def replay_command(result: RunResult, trial: Trial) -> str:
    """The command that plays this trial again; where it has none of its own, that of its run."""
    return trial.replay or result.replay or result.command


def not_tested(result: RunResult) -> list[str]:
    """What this result says nothing about: what the run itself names, then what its trials leave out."""
    said = [text for run in (result, *result.runs) for text in run.not_tested]
    trials = [trial for run in runs_of(result) for trial in run.faults]
    links = sorted({receipt.link for trial in trials for receipt in trial.receipts})
    faults = sorted({fault_class(trial) for trial in trials})
    derived = []
    if faults:
        derived.append(f"any other fault than: {', '.join(faults)}")
    if links:
        named = ", ".join(links[:LIST_LIMIT]) + (f" and {len(links) - LIST_LIMIT} more" if len(links) > 5 else "")
        derived.append(f"any other link than {named}")
    on = {name for run in runs_of(result) for name in run.defences}
    off = [name for name in DEFENCES if name not in on] if result.target.startswith("reference") else []
    if off:
        derived.append(f"defences that were off throughout: {', '.join(off)}")
    if not any(trial.kind is TrialKind.CONTROL for run in runs_of(result) for trial in run.trials):
        derived.append("noise: there was no control trial, so nothing bounds the false alarms")
    return list(dict.fromkeys([*said, *derived]))
