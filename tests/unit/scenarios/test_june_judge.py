"""June's judge: from what clients, proxy and logs said to trials, expectations and the story."""

import hashlib

import msgspec
import pytest

from straybit.budgets import budgets_with
from straybit.clients import MODES, Reply
from straybit.ledger_client import Stored
from straybit.observe import Observation
from straybit.observe.host import STALLED
from straybit.outcome import Outcome
from straybit.records import Alarm, TrialKind
from straybit.result import fold
from straybit.scenarios._june_judge import expectations, false_alarms, modes, story, trials
from straybit.scenarios._june_plan import june_plan
from straybit.scenarios._june_seen import Answered, Seen, felt_at
from straybit_faults.receipt import Receipt
from straybit_faults.wire import Direction
from straybit_nodes.topology import Topology

PLAN = june_plan(Topology(), 5)
STARTED = 1000.0
NODE = "storage-2"


def receipt(write, **changed):
    """The proxy's word on one damaged request, sent two seconds after the run's start."""
    facts = {
        "seq": 1,
        "toxic": "june",
        "proxy": f"{PLAN.balancer}:{NODE}",
        "link": f"{PLAN.balancer}:{NODE}",
        "direction": Direction.UP,
        "connection": 0,
        "message": "request",
        "ordinal": 0,
        "identity": write.identity,
        "field": "body",
        "field_bit": 0,
        "field_bits": [0],
        "offset": 0,
        "byte_bit": 0,
        "before": 1,
        "after": 3,
        "bytes": [(0, 1, 3)],
        "control": write.verdict == "control",
        "flip": f"1/{PLAN.balancer}:{NODE}/up/request/0/body/0",
        "sent": STARTED + 2.0,
        "delivered": STARTED + 2.001,
    }
    return Receipt(**{**facts, **changed})


def line(kind, write, t=2.01, source="", **fields):
    """A line of a log that names the request."""
    method, target = write.identity.split(" ")
    return Observation(STARTED + t, source, kind, {"method": method, "target": target, **fields})


def refused(write, **changed):
    """A storage node refuses the request by name."""
    return line("refused", write, source=NODE, defence="content-checksum", why="not what was promised", **changed)


def request(write, t=2.02):
    """The balancer's line about the request."""
    return line("request", write, t, source=PLAN.balancer, coordinator=NODE)


def seen(defended, **changed):
    """A June as it must go, undefended or defended."""
    caught = {w.key for w in PLAN.damaged if defended and MODES[w.mode].checksum}
    damaged = {w.key for w in PLAN.damaged} - caught
    answered, scan, lines = {}, [], []
    for w in PLAN.writes:
        body = b"damaged" if w.key in damaged else b"as sent"
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        put = Reply(False, 400, "BadDigest") if w.key in caught else Reply(True, etag=etag)
        answered[w.key] = Answered(2.0, 2.1, put)
        got = Reply(False, 404, "NoSuchKey") if w.key in caught else Reply(True, etag=etag, body=body)
        scan.append(Stored(w.key, "wrong" if w.key in damaged else "right", got))
        lines += [refused(w)] if w.key in caught else []
        lines.append(request(w))
    facts = Seen(
        plan=PLAN,
        answered=answered,
        scan=scan,
        receipts=[receipt(w) for w in (*PLAN.damaged, *PLAN.controls)],
        lines=lines,
        alarms=[Alarm(name="bad-digest-alarm", culprit=PLAN.balancer, at_s=2.5)] if defended else [],
        started=STARTED,
        armed_s=1.5,
        reverted_s=6.0,
        recovered_s=0.1,
        budgets=budgets_with(),
    )
    return msgspec.structs.replace(facts, **changed)


def unread(facts, key):
    """The same, but nobody could read that key afterwards."""
    scan = [Stored(s.key, "error", Reply(False, 0, "gone")) if s.key == key else s for s in facts.scan]
    return msgspec.structs.replace(facts, scan=scan)


def missed(facts):
    """The expectations that were not met."""
    return [e.text for e in expectations(facts, trials(facts)) if not e.met]


def untold(facts):
    """The points of the story that did not come true."""
    return [row[0] for row in story(facts, trials(facts)).rows if row[-1] != "yes"]


COVERED = next(w for w in PLAN.damaged if MODES[w.mode].checksum)
BARE = next(w for w in PLAN.damaged if not MODES[w.mode].checksum)


def test_defended_june_meets_every_expectation():
    """DETECTED with a checksum, an expected SILENT without, MASKED for each control, and nothing is missed."""
    judged = trials(seen(defended=True))
    assert {t.outcome == t.expected for t in judged} == {True}
    assert {t.outcome for t in judged} == {Outcome.DETECTED, Outcome.SILENT, Outcome.MASKED}
    assert missed(seen(defended=True)) == []
    assert list(false_alarms(seen(defended=True))) == []


def test_undefended_june_goes_as_published():
    """Every fault is SILENT, every point of the story comes true, and the expectations of defences are not met."""
    facts = seen(defended=False)
    assert {t.outcome for t in trials(facts) if t.kind is TrialKind.FAULT} == {Outcome.SILENT}
    assert untold(facts) == []
    assert len(missed(facts)) == 3


@pytest.mark.parametrize(
    ("change", "point"),
    [
        (lambda f: {"lines": [*f.lines, refused(BARE)]}, "SILENT"),
        (lambda f: {"lines": [*f.lines, refused(PLAN.writes[0])]}, "nobody notices"),
        (lambda f: {"alarms": [Alarm(name="bad-digest-alarm", culprit="lb-1", at_s=3.0)]}, "nobody notices"),
        (
            lambda f: {"answered": {**f.answered, BARE.key: Answered(2.0, 2.1, Reply(True, etag="other"))}},
            "ETag",
        ),
        (lambda f: {"scan": unread(f, BARE.key).scan}, "SILENT"),
        (
            lambda f: {"scan": [*f.scan, Stored("another", "wrong", Reply(True, body=b"x"))]},
            "reading everything again",
        ),
        (
            lambda f: {"plan": msgspec.structs.replace(PLAN, writes=tuple(w for w in PLAN.writes if w == BARE))},
            "20 at least",
        ),
    ],
)
def test_each_point_of_the_story_can_fail(change, point):
    """A June that goes otherwise is not told as the one that was published."""
    facts = seen(defended=False)
    assert any(point in row for row in untold(msgspec.structs.replace(facts, **change(facts))))


def test_unread_key_is_neither_right_nor_lost():
    """A key that could not be read proves nothing of its trial, does not count as clean, and is told."""
    facts = unread(seen(defended=True), COVERED.key)
    (trial,) = [t for t in trials(facts) if t.id == COVERED.key]
    assert trial.outcome is Outcome.INVALID
    assert "could not read" in trial.why
    told = {e.text: e for e in expectations(facts, trials(facts))}
    assert not told["every key that was written could be read"].met
    assert told["every key that was written could be read"].detail == f"1 of {len(PLAN.writes)} could not"
    assert not told["every damaged write that carried a checksum is refused, and nothing of it is stored"].met
    other = next(w.key for w in PLAN.writes if w.verdict == "pass")
    assert missed(unread(seen(defended=True), other)) == ["every key that was written could be read"]


def test_a_host_that_stood_still_leaves_no_verdict():
    """Time-outs that expired meanwhile say nothing about anybody: INVALID, for that reason, and nothing is expected."""
    facts = seen(defended=True, stalled_s=1.0)
    assert not facts.stalled  # every request was answered all the same
    first = next(iter(facts.answered))
    lost = msgspec.structs.replace(facts.answered[first].reply, status=503)
    unanswered = {**facts.answered, first: msgspec.structs.replace(facts.answered[first], reply=lost)}
    facts = msgspec.structs.replace(facts, answered=unanswered)
    judged = trials(facts)
    assert {t.outcome for t in judged} == {Outcome.INVALID}
    assert all(t.why.startswith(STALLED) for t in judged)
    assert list(expectations(facts, judged)) == []
    assert fold([*judged, *expectations(facts, judged)]).verdict == "no-verdict"


@pytest.mark.parametrize(
    ("alarm", "why"), [(("lb-9", 2.5), "lb-9"), ((PLAN.balancer, 1.0), "before anything was armed")]
)
def test_false_alarms_are_told(alarm, why):
    """An alarm about a good balancer, or before the fault, is a false one, and the run does not meet it."""
    facts = seen(defended=True, alarms=[Alarm(name="bad-digest-alarm", culprit=alarm[0], at_s=alarm[1])])
    (false,) = false_alarms(facts)
    assert why in false.detail
    assert fold([*trials(facts), *expectations(facts, trials(facts)), false]).verdict == "not-met"


def test_blind_monitor_decides_nothing():
    """Where the alarm's monitor may have missed something, nobody is blamed for a missing alarm."""
    assert missed(seen(defended=True, alarms=[])) == [f"bad-digest-alarm names {PLAN.balancer} and no other"]
    assert missed(seen(defended=True, alarms=[], blind=["ValueError: torn"])) == []


def test_receipts_are_felt_when_a_log_says_so():
    """Sent, then felt: by the refusal of the very receiver, or by the balancer's line that names it; nobody else's."""
    sent = receipt(COVERED)
    assert felt_at(sent, [refused(COVERED), request(COVERED)]) == STARTED + 2.01
    assert felt_at(sent, [request(COVERED)]) == STARTED + 2.02
    assert felt_at(sent, [request(COVERED, t=1.9)]) is None
    assert felt_at(sent, [request(BARE), refused(BARE)]) is None
    elsewhere = receipt(COVERED, proxy=f"{PLAN.balancer}:storage-3")
    assert felt_at(elsewhere, [refused(COVERED), request(COVERED)]) is None
    assert felt_at(receipt(COVERED, sent=None), [request(COVERED)]) is None


def test_trials_carry_when_they_were_felt():
    """Each receipt of each trial has its third time, and the phase counts from when it was sent."""
    for trial in trials(seen(defended=True)):
        (told,) = trial.receipts
        assert told.sent <= told.felt
        assert trial.phases.felt_s == pytest.approx(told.felt - told.sent)
    unfelt = [t for t in trials(seen(defended=False, lines=[])) if t.phases.felt_s is not None]
    assert unfelt == []


def test_undelivered_flip_is_invalid():
    """A request that never reached a storage node is no trial."""
    facts = seen(defended=False, receipts=[receipt(w, delivered=None) for w in PLAN.damaged])
    assert {t.outcome for t in trials(facts)} == {Outcome.INVALID}


def test_table_of_modes_adds_up():
    """Each mode with its writes and damaged ones, which were refused or stored."""
    facts = seen(defended=True)
    rows = modes(facts, trials(facts)).rows
    assert [row[0] for row in rows] == list(MODES)
    assert sum(row[2] for row in rows) == len(PLAN.writes)
    assert sum(row[3] for row in rows) == len(PLAN.damaged)
    assert all(row[4 if row[1] != "-" else 5] == row[3] >= 2 for row in rows)


def test_samples_begin_when_their_request_did():
    """Each write is one sample, of its balancer's region, at the second it began."""
    samples = seen(defended=True).samples({"lb-1": "eu", "lb-2": "us", "lb-3": "us"})
    assert len(samples) == len(PLAN.writes)
    assert {s.at_s for s in samples} == {2.0}
    assert {s.region for s in samples} == {"eu", "us"}
