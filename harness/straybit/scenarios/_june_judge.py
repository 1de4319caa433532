"""What June 2008 comes to: trials, expectations and story, from what was seen of it. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import msgspec

from straybit import records
from straybit.clients import MODES, Reply
from straybit.ledger_client import Stored
from straybit.observe.host import stalled_for
from straybit.outcome import Evidence, Outcome, by_luck, judge
from straybit.records import Detection, Local, TrialKind, TrialPhases
from straybit.scenarios._june_plan import Write
from straybit.scenarios._june_seen import Seen, felt_at, identity
from straybit.scenarios.scenario import STORY
from straybit_faults.receipt import Receipt

__all__ = ["PUBLISHED", "expectations", "false_alarms", "modes", "story", "trials"]

THE_RUN = "the run"
"""Where a false alarm is raised that names a balancer: in no trial of its own."""
PUBLISHED = 20
"""Damaged objects without which June has not happened."""
BAD = frozenset({"wrong", "lost"})
"""Verdicts of a read that came back and did not give what was acknowledged."""


def trials(seen: Seen) -> tuple[records.Trial, ...]:
    """One trial for each damaged request, and one for each control."""
    found = {stored.key: stored for stored in seen.scan}
    return tuple(
        _trial(seen, write, tuple(_receipts(seen, write)), tuple(_noticed(seen, write)), found.get(write.key))
        for write in (*seen.plan.damaged, *seen.plan.controls)
    )


def expectations(seen: Seen, judged: Sequence[records.Trial]) -> Iterator[records.Expectation]:
    """What the scenario expects of any cluster; nothing of one that was not steady to begin with or stood still."""
    if seen.stalled:
        return
    faults = [t for t in judged if t.kind is TrialKind.FAULT]
    yield _all_refused([t for t in faults if t.expected is Outcome.DETECTED])
    yield _scan_finds(seen, {t.id for t in faults if t.expected is Outcome.SILENT})
    unread = [s.key for s in seen.scan if s.verdict == "error"]
    yield _expect(
        "every key that was written could be read", not unread, f"{len(unread)} of {len(seen.scan)} could not"
    )
    if not seen.blind:
        named = sorted({alarm.culprit for alarm in seen.alarms})
        yield _expect(
            f"bad-digest-alarm names {seen.plan.balancer} and no other",
            named == [seen.plan.balancer],
            f"named {', '.join(named) or 'nobody'}",
        )
    took = "never" if seen.recovered_s is None else f"after {seen.recovered_s:.1f} s"
    in_time = seen.recovered_s is not None and seen.recovered_s <= seen.budgets["recovered"]
    yield _expect("the cluster is steady within budget once the balancer is out", in_time, took)


def false_alarms(seen: Seen) -> Iterator[records.FalseAlarm]:
    """Alarms about a balancer that did nothing, or before any did."""
    for alarm in seen.alarms:
        detail = f"named {alarm.culprit} at {alarm.at_s:g} s"
        if alarm.culprit != seen.plan.balancer:
            yield records.FalseAlarm(
                trial=THE_RUN, name=alarm.name, detail=f"{detail}; {seen.plan.balancer} is the faulty one"
            )
        elif alarm.at_s < seen.armed_s:
            yield records.FalseAlarm(trial=THE_RUN, name=alarm.name, detail=f"{detail}, before anything was armed")


def modes(seen: Seen, judged: Sequence[records.Trial]) -> records.Table:
    """The table of modes: what each way of being a client is worth."""
    rows = []
    for mode in MODES.values():
        mine = [t.outcome for t in judged if t.kind is TrialKind.FAULT and t.id.startswith(f"{mode.name}/")]
        sent = sum(write.mode == mode.name for write in seen.plan.writes)
        stored = mine.count(Outcome.SILENT) + mine.count(Outcome.NOTICED)
        rows.append((mode.name, mode.checksum or "-", sent, len(mine), mine.count(Outcome.DETECTED), stored))
    columns = ("client", "checksum", "writes", "damaged", "refused", "stored damaged")
    return records.Table(name="clients of 2008 and of today", columns=columns, rows=tuple(rows))


def story(seen: Seen, judged: Sequence[records.Trial]) -> records.Table:
    """What an undefended cluster must go through to have failed as in 2008."""
    faults = [t for t in judged if t.kind is TrialKind.FAULT]
    silent = {t.id for t in faults if t.outcome is Outcome.SILENT}
    found = {s.key: s for s in seen.scan}
    matching = {
        key for key in silent if seen.answered[key].reply.etag == found[key].reply.etag == _md5(found[key].reply.body)
    }
    refusals = [line for line in seen.lines if line.kind == "refused"]
    noticed = refusals or seen.alarms or any(t.detected_by for t in judged)
    every = len(silent) == len(faults) >= PUBLISHED
    rows = (
        (f"every damaged object, {PUBLISHED} at least, is stored and acknowledged: SILENT", every),
        ("each under an ETag that matches the damaged bytes", bool(silent) and matching == silent),
        ("nobody notices: no refusal, no alarm", bool(seen.scan) and not noticed),
        ("reading everything again finds them, and no other", bool(silent) and _bad(seen) == silent),
    )
    cells = tuple((text, "yes" if came else "no") for text, came in rows)
    return records.Table(name=STORY, columns=("2008-06-20", "here"), rows=cells)


def _all_refused(covered: Sequence[records.Trial]) -> records.Expectation:
    """Refused by name; a trial is DETECTED only if a read that came back found nothing of it stored."""
    refused = [t for t in covered if t.outcome is Outcome.DETECTED and "content-checksum" in t.detected_by]
    return _expect(
        "every damaged write that carried a checksum is refused, and nothing of it is stored",
        len(refused) == len(covered) > 0,
        f"{len(refused)} of {len(covered)}",
    )


def _scan_finds(seen: Seen, bare: set[str]) -> records.Expectation:
    wrong = _bad(seen)
    return _expect(
        "the scan afterwards finds every damaged write that carried none, and no other",
        wrong == bare,
        f"{len(wrong & bare)} of {len(bare)} found, {len(wrong - bare)} others",
    )


def _bad(seen: Seen) -> set[str]:
    return {stored.key for stored in seen.scan if stored.verdict in BAD}


def _trial(
    seen: Seen, write: Write, receipts: Sequence[Receipt], noticed: Sequence[Detection], stored: Stored | None
) -> records.Trial:
    """The record of one request. Without a read that came back afterwards it proves nothing."""
    by_client = {s.reply.noticed_by for s in (*seen.reads, *seen.scan) if s.key == write.key and s.reply.noticed_by}
    detected_by = tuple(sorted({d.by for d in noticed} | by_client))
    wrong = stored is not None and stored.verdict in BAD
    evidence = Evidence(
        delivered=any(r.delivered is not None for r in receipts),
        host_ok=stored is not None and stored.verdict != "error" and not seen.stalled,
        adopted=wrong,
        served=wrong,
        detected_by=detected_by,
        recovered=seen.recovered_s is not None,
    )
    control = write.verdict == "control"
    expected = Outcome.MASKED if control else Outcome.DETECTED if MODES[write.mode].checksum else Outcome.SILENT
    told = tuple(records.Receipt.from_proxy(msgspec.to_builtins(r), seen.started) for r in receipts)
    return records.Trial(
        id=write.key,
        kind=TrialKind.CONTROL if control else TrialKind.FAULT,
        title=f"PUT {write.key}, {MODES[write.mode].checksum or 'no checksum'}",
        outcome=judge(evidence),
        expected=expected,
        why=_why(evidence, seen, seen.answered[write.key].reply, stored),
        flips=tuple(r.flip for r in told),
        at_s=min((r.sent for r in told if r.sent is not None), default=None),
        receipts=told,
        detected_by=detected_by,
        detections=tuple(noticed),
        by_luck=by_luck(detected_by),
        phases=_phases(seen, told, noticed),
        budgets=dict(seen.budgets),
        local=_local(evidence, noticed),
        replay=seen.replay,
    )


def _receipts(seen: Seen, write: Write) -> Iterator[Receipt]:
    """The request's receipts, each with its third time."""
    for receipt in seen.receipts:
        if receipt.identity == write.identity:
            yield msgspec.structs.replace(receipt, felt=felt_at(receipt, seen.lines))


def _noticed(seen: Seen, write: Write) -> Iterator[Detection]:
    for line in seen.lines:
        if line.kind == "refused" and identity(line) == write.identity:
            at_s = round(line.t - seen.started, 6)
            yield Detection(by=line.fields["defence"], service=line.source, at_s=at_s, detail=line.fields["why"])


def _phases(seen: Seen, receipts: Sequence[records.Receipt], noticed: Sequence[Detection]) -> TrialPhases:
    sent = min((r.sent for r in receipts if r.sent is not None), default=None)
    if sent is None:
        return TrialPhases()
    felt = [r.felt for r in receipts if r.felt is not None]
    named = [d.at_s for d in noticed if d.at_s is not None]
    return TrialPhases(
        felt_s=round(min(felt) - sent, 6) if felt else None,
        detected_s=round(min(named) - sent, 6) if named else None,
        reverted_s=round(seen.reverted_s - sent, 6),
        recovered_s=None if seen.recovered_s is None else round(seen.recovered_s, 6),
    )


def _local(evidence: Evidence, noticed: Sequence[Detection]) -> Local:
    if not evidence.host_ok:
        return Local.UNKNOWN
    return Local.STORED if evidence.adopted else Local.REFUSED if noticed else Local.IGNORED


def _why(evidence: Evidence, seen: Seen, reply: Reply, stored: Stored | None) -> str:
    if seen.stalled:
        return stalled_for(seen.stalled_s)
    if not evidence.delivered:
        return "the request did not reach a storage node"
    answer = f"answered {reply.status} {reply.code}".strip()
    if stored is None or stored.verdict == "error":
        return f"{answer}; the scan could not read it"
    return (
        f"{answer}; the scan read it right"
        if stored.verdict == "right"
        else f"{answer}; the scan read {stored.verdict}"
    )


def _expect(text: str, met: bool, detail: str) -> records.Expectation:
    return records.Expectation(text=text, met=met, detail=detail)


def _md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()
