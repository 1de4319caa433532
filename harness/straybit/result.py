"""The result of a run: a pure fold of its journal, written as result.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

from straybit.outcome import Outcome
from straybit.records import (
    SCHEMA,
    Alarm,
    Error,
    Expectation,
    FalseAlarm,
    Interrupted,
    LogLine,
    Phase,
    Record,
    RestoreStage,
    RunStarted,
    Sample,
    SubRun,
    Table,
    Trial,
    TrialKind,
    Verdict,
)

R = TypeVar("R")

__all__ = ["Controls", "Measurements", "RunResult", "Series", "decide", "exit_code", "fold"]


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of one region over time: of `total[i]` that began in bin i, from `at_s[i]` on, `ok[i]` succeeded."""

    at_s: tuple[float, ...]
    ok: tuple[int, ...]
    total: tuple[int, ...]


class Measurements(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured beside the trials; `bin_s` is the width of a bin in seconds."""

    bin_s: float = 0.5
    requests: dict[str, Series] = {}


class Controls(msgspec.Struct, frozen=True, kw_only=True):
    """How many control trials there were, how many raised something, and how many were invalid."""

    trials: int = 0
    detected: int = 0
    invalid: int = 0


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """result.json, key by key; docs/result.md explains them."""

    schema: int = SCHEMA
    straybit: str = ""
    run_id: str = ""
    date: str = ""
    command: str = ""
    replay: str = ""
    target: str = ""
    scenario: str = ""
    backend: str = ""
    defences: tuple[str, ...] = ()
    recovery: str = ""
    seed: int = 0
    servers: dict[str, tuple[int, int]] = {}
    budgets: dict[str, float] = {}
    machine: dict[str, str] = {}
    verdict: Verdict = Verdict.NO_VERDICT
    reasons: tuple[str, ...] = ()
    expectations: tuple[Expectation, ...] = ()
    outcomes: dict[str, int] = {}
    alarms: tuple[Alarm, ...] = ()
    false_alarms: tuple[FalseAlarm, ...] = ()
    controls: Controls = Controls()
    measurements: Measurements = Measurements()
    timeline: tuple[Phase, ...] = ()
    restore: tuple[RestoreStage, ...] = ()
    trials: tuple[Trial, ...] = ()
    tables: tuple[Table, ...] = ()
    log: tuple[LogLine, ...] = ()
    not_tested: tuple[str, ...] = ()
    runs: tuple[RunResult, ...] = ()
    cells: tuple[dict[str, str], ...] = ()

    @property
    def faults(self) -> tuple[Trial, ...]:
        """The trials that changed a bit; rates count these, less the invalid ones."""
        return tuple(trial for trial in self.trials if trial.kind is TrialKind.FAULT)


def fold(records: Iterable[Record], *, damage: str = "", runs: Sequence[tuple[SubRun, RunResult]] = ()) -> RunResult:
    """The result that these records tell, in order.

    `damage` says what is wrong with the journal they came from; then there is no verdict.
    `runs` are the results of the runs inside this one, in the order of its `SubRun` records.
    """
    told = list(records)
    started = next((r for r in told if isinstance(r, RunStarted)), None)
    trials = _of(told, Trial)
    false_alarms = _of(told, FalseAlarm)
    controls = _controls(trials, false_alarms)
    expectations = (
        *_of(told, Expectation),
        *(_expected_run(sub, result) for sub, result in runs),
        *_no_false_alarm(controls, false_alarms),
    )
    reasons = (*_reasons(told, damage), *_inherited(runs))
    if not (reasons or expectations or trials):
        reasons = ("nothing was tested: there is no trial and no expectation",)
    faults = [trial for trial in trials if trial.kind is TrialKind.FAULT]
    counts = Counter(trial.outcome for trial in faults)
    result = RunResult(
        verdict=decide(expectations, reasons, damaged=bool(damage)),
        reasons=reasons,
        expectations=expectations,
        outcomes={outcome.value: counts[outcome] for outcome in Outcome},
        alarms=_of(told, Alarm),
        false_alarms=false_alarms,
        controls=controls,
        measurements=_measurements(_of(told, Sample), started),
        timeline=_of(told, Phase),
        restore=_of(told, RestoreStage),
        trials=trials,
        tables=_of(told, Table),
        log=_of(told, LogLine),
        runs=tuple(result for _, result in runs),
    )
    return _with_head(result, started) if started else result


def decide(expectations: Sequence[Expectation], reasons: Sequence[str], *, damaged: bool = False) -> Verdict:
    """The verdict: an expectation that is certainly not met weighs more than a reason for having no verdict.

    From a damaged journal nothing is certain.
    """
    if damaged:
        return Verdict.NO_VERDICT
    if not all(expectation.met for expectation in expectations):
        return Verdict.NOT_MET
    return Verdict.NO_VERDICT if reasons else Verdict.MET


def exit_code(verdict: Verdict) -> int:
    """0 every expectation met; 1 one was not; 2 no verdict."""
    return {Verdict.MET: 0, Verdict.NOT_MET: 1, Verdict.NO_VERDICT: 2}[verdict]


def _of(records: Iterable[object], kind: type[R]) -> tuple[R, ...]:
    return tuple(record for record in records if isinstance(record, kind))


def _reasons(records: Sequence[Record], damage: str) -> tuple[str, ...]:
    """Why there can be no verdict, most telling first."""
    invalid = [t.id for t in _of(records, Trial) if t.kind is TrialKind.FAULT and t.outcome is Outcome.INVALID]
    named = ", ".join(invalid[:5]) + (", ..." if len(invalid) > 5 else "")
    return (
        *([damage] if damage else []),
        *(error.what for error in _of(records, Error)),
        *(["the run was interrupted"] if _of(records, Interrupted) else []),
        *([f"{len(invalid)} trial{'s' * (len(invalid) > 1)} INVALID: {named}"] if invalid else []),
    )


def _inherited(runs: Sequence[tuple[SubRun, RunResult]]) -> tuple[str, ...]:
    """A run that was to fail, and failed, proves nothing either while something stood in its way."""
    return tuple(f"{sub.folder}: {reason}" for sub, result in runs for reason in result.reasons)


def _expected_run(sub: SubRun, result: RunResult) -> Expectation:
    """A run without a verdict meets nothing, but does not refute either: its reasons speak for it."""
    ends = result.verdict is sub.expect
    return Expectation(
        text=f"{sub.folder} ends {sub.expect.value}",
        met=ends or result.verdict is Verdict.NO_VERDICT,
        detail="" if ends else f"it ended {result.verdict.value}",
    )


def _controls(trials: Sequence[Trial], false_alarms: Sequence[FalseAlarm]) -> Controls:
    controls = [trial for trial in trials if trial.kind is TrialKind.CONTROL]
    loud = {alarm.trial for alarm in false_alarms}
    return Controls(
        trials=len(controls),
        detected=sum(1 for trial in controls if trial.detected_by or trial.id in loud),
        invalid=sum(1 for trial in controls if trial.outcome is Outcome.INVALID),
    )


def _no_false_alarm(controls: Controls, false_alarms: Sequence[FalseAlarm]) -> tuple[Expectation, ...]:
    if not (controls.trials or false_alarms):
        return ()
    count = max(len(false_alarms), controls.detected)
    return (
        Expectation(
            text="no false alarm",
            met=count == 0,
            detail=f"{count} in {controls.trials} control trial{'s' * (controls.trials != 1)}",
        ),
    )


def _measurements(samples: Sequence[Sample], started: RunStarted | None) -> Measurements:
    regions = sorted({sample.region for sample in samples})
    return Measurements(
        bin_s=started.bin_s if started else Measurements().bin_s,
        requests={region: _series([s for s in samples if s.region == region]) for region in regions},
    )


def _series(samples: Sequence[Sample]) -> Series:
    ordered = sorted(samples, key=lambda sample: sample.at_s)
    return Series(
        at_s=tuple(sample.at_s for sample in ordered),
        ok=tuple(sample.ok for sample in ordered),
        total=tuple(sample.total for sample in ordered),
    )


def _with_head(result: RunResult, started: RunStarted) -> RunResult:
    """The result, with what the run said about itself when it started."""
    ours = set(RunResult.__struct_fields__)
    head = {name: getattr(started, name) for name in RunStarted.__struct_fields__ if name in ours}
    return msgspec.structs.replace(result, **head)
