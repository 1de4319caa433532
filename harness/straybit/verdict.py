"""From what a trial's witness saw to the record of the trial: facts, one outcome, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from straybit import records
from straybit.outcome import Evidence, Outcome, by_luck, judge
from straybit.records import Detection, Local, TrialKind, TrialPhases
from straybit.traffic import Answer
from straybit.witness import Witness
from straybit_faults.flip import Flip

__all__ = ["Course", "recorded"]

_SERVED = {"wrong": "was answered with other bytes than were written", "lost": "was answered as if it were not there"}
"""What a client was given in vain, in words, by the ledger's verdict on it."""


class Course(msgspec.Struct, kw_only=True):
    """How a trial went, beside what its witness saw; times are monotonic seconds.

    `start` is the moment that the record's times count from.
    `doubt` says why the trial proves nothing whatever was delivered. `hung` are services that did not answer any more.
    `recovered_s` counts from the revert, or from a restore's first stage, and is held against budget `recovery`.
    """

    start: float
    budgets: Mapping[str, float]
    title: str = ""
    replay: str = ""
    doubt: str = ""
    hung: tuple[str, ...] = ()
    sticky: bool = False
    reverted: float | None = None
    recovered_s: float | None = None
    recovery: str = "recovered"


def recorded(
    id_: str, flips: Sequence[Flip], course: Course, witness: Witness, answers: Sequence[Answer]
) -> records.Trial:
    """Judge a trial that is over."""
    detections = witness.detections(answers)
    evidence = _evidence(course, witness, answers, detections)
    outcome = judge(evidence)
    reached = witness.reached()
    return records.Trial(
        id=id_,
        kind=TrialKind.CONTROL if all(flip.control for flip in flips) else TrialKind.FAULT,
        title=course.title,
        outcome=outcome,
        why=_why(course, witness, evidence, answers, outcome),
        flips=tuple(str(flip) for flip in flips),
        at_s=None if witness.sent is None else round(witness.sent - course.start, 6),
        receipts=tuple(_receipts(course, witness)),
        detected_by=evidence.detected_by,
        detections=tuple(_since(course.start, d) for d in detections),
        by_luck=by_luck(evidence.detected_by),
        phases=_phases(course, witness, detections),
        budgets=dict(course.budgets),
        local=_local(witness, evidence, course),
        blast_radius=len(reached),
        reached=reached,
        depth=1 if reached else 0,
        sticky=course.sticky,
        replay=course.replay,
    )


def _evidence(course: Course, witness: Witness, answers: Sequence[Answer], detections: Sequence[Detection]) -> Evidence:
    limit_s = course.budgets[course.recovery]
    late = course.recovered_s is not None and course.recovered_s > limit_s
    return Evidence(
        delivered=witness.delivered,
        golden_ok=not course.doubt,
        host_ok=not witness.host_troubles(),
        spread=len(witness.reached()),
        adopted=witness.adopted(),
        served=any(map(_in_vain, answers)),
        detected_by=tuple(sorted({d.by for d in detections})),
        crashed=witness.crashed(),
        hung=bool(course.hung),
        degraded=(f"steady again after {course.recovered_s:.2f} s, over {limit_s:g} s",) if late else (),
        recovered=course.recovered_s is not None,
    )


def _in_vain(answer: Answer) -> bool:
    """Whether a client was given something wrong and did not notice."""
    return answer.verdict in _SERVED and not answer.reply.noticed_by


def _why(course: Course, witness: Witness, evidence: Evidence, answers: Sequence[Answer], outcome: Outcome) -> str:
    if outcome is Outcome.INVALID:
        return "; ".join(witness.host_troubles()) or course.doubt or "the flip was not delivered"
    if witness.wrong:
        return witness.example()
    if evidence.served:
        answer = next(filter(_in_vain, answers))
        return f"{answer.identity} {_SERVED[answer.verdict]}"
    if evidence.crashed or course.hung:
        return f"ended: {', '.join(evidence.crashed) or 'none'}; silent: {', '.join(course.hung) or 'none'}"
    if evidence.degraded or not evidence.recovered:
        return "; ".join(evidence.degraded) or "never steady again"
    noticed = ", ".join(evidence.detected_by)
    return f"noticed by {noticed}, and nothing wrong was adopted" if noticed else "nobody noticed, nothing differs"


def _local(witness: Witness, evidence: Evidence, course: Course) -> Local:
    receivers = witness.receivers()
    if receivers & set(evidence.crashed):
        return Local.CRASHED
    if receivers & set(course.hung):
        return Local.HUNG
    if evidence.adopted:
        return Local.ADOPTED
    return Local.REFUSED if evidence.detected_by else Local.IGNORED


def _phases(course: Course, witness: Witness, detections: Sequence[Detection]) -> TrialPhases:
    if witness.sent is None:
        return TrialPhases()
    felt = max(witness.felt.values(), default=None)
    seen = [d.at_s for d in detections if d.at_s is not None]
    return TrialPhases(
        felt_s=None if felt is None else round(felt - witness.sent, 6),
        detected_s=round(min(seen) - witness.sent, 6) if seen else None,
        reverted_s=None if course.reverted is None else round(course.reverted - witness.sent, 6),
        recovered_s=course.recovered_s,
    )


def _receipts(course: Course, witness: Witness) -> Iterator[records.Receipt]:
    for receipt in witness.receipts:
        seen = msgspec.structs.replace(receipt, felt=witness.felt.get(receipt.seq))
        yield records.Receipt.from_proxy(msgspec.to_builtins(seen), course.start)


def _since(start: float, detection: Detection) -> Detection:
    at_s = None if detection.at_s is None else round(detection.at_s - start, 6)
    return msgspec.structs.replace(detection, at_s=at_s)
