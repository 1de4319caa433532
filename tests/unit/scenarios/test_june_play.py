"""How June is played: who writes, what is read at once, and what the scan afterwards goes by."""

from itertools import count
from types import SimpleNamespace

import msgspec
import pytest

from straybit.budgets import budgets_with
from straybit.clients import Reply
from straybit.driver import LIVE
from straybit.ledger import Ledger
from straybit.ledger_client import Stored
from straybit.records import Alarm, Error, FalseAlarm
from straybit.scenarios import june_2008
from straybit.scenarios._june_plan import june_plan
from straybit.scenarios.june_2008 import GOLDEN, June, put_on_record
from straybit_nodes.topology import Topology

REGIONS = {"lb-1": "eu", "lb-2": "us", "lb-3": "us"}


class FakeRun:
    """A run in which every write is acknowledged, but for those whose key `refuses` names."""

    topology = Topology()
    budgets = budgets_with()
    replay = ""
    started = 0.0
    cluster = SimpleNamespace(
        observers=SimpleNamespace(catch_up=lambda: None, seen=lambda _: []),
        proxy=SimpleNamespace(receipts=lambda _: []),
    )

    def __init__(self, refuses=lambda _: False):
        self.ledger = Ledger(1)
        self.told = []
        self.homes = {}
        self.gets = []
        self.scanned = None
        self.refuses = refuses
        self._seconds = count()

    def now(self):
        return float(next(self._seconds))

    def together(self, *calls, at_once=None):
        return LIVE.together(calls, at_once=at_once)

    def record(self, record):
        self.told.append(record)

    def put(self, key, body, *, balancer, mode):
        self.homes[key] = REGIONS[balancer]
        write = self.ledger.begin(key, body)
        if self.refuses(key):
            self.ledger.refuse(write)
            return Reply(False, 400, "BadDigest")
        self.ledger.ack(write)
        return Reply(True)

    def get(self, key, *, balancer, mode):
        self.gets.append(key)
        return Stored(key, "right", Reply(True))

    def regions(self):
        return ("eu", "us")

    def balancers(self, region=None):
        return [name for name, home in REGIONS.items() if region in (None, home)]

    def record_samples(self, samples):
        self.told += samples

    def home(self, key):
        return self.homes[key]

    def scan(self, pairs):
        self.scanned = dict(pairs)
        return tuple(Stored(key, "right", Reply(True)) for key in self.scanned)


@pytest.fixture
def plan():
    return june_plan(Topology(), 2)


def test_every_third_acknowledged_key_is_read_at_once(plan):
    """Refused writes are not read back, and of the others one in three is, whatever balancer it went through."""
    refused = {write.key for write in plan.damaged}
    run = FakeRun(refused.__contains__)
    june = June(run, plan)
    june.load(plan.writes)
    assert len(run.gets) == (len(plan.writes) - len(refused)) // 3
    assert not refused & set(run.gets)
    assert {write.balancer for write in plan.writes if write.key in run.gets} == set(REGIONS)
    assert june.answered.keys() == {write.key for write in plan.writes}


def test_scan_reads_what_the_ledger_knows(plan):
    """Every key tried under the fault, refused ones too, and golden ones not; the plan has no say in it."""
    run = FakeRun(lambda key: key.startswith("2008-md5"))
    june = June(run, plan)
    june.golden()
    june.load(plan.writes)
    run.put("of somebody else", b"x", balancer="lb-1", mode="2008-plain")
    june.plan = msgspec.structs.replace(plan, balancer="lb-2", writes=())
    june.scan([])
    assert run.scanned.keys() == {*(write.key for write in plan.writes), "of somebody else"}
    assert {(run.homes[key], REGIONS[lb]) for key, lb in run.scanned.items()} == {("eu", "eu"), ("us", "us")}


def test_scan_uses_every_balancer_in_turn_but_those_that_were_named(plan):
    """What the alarm named is left out where its region has another; without an alarm nobody is left out."""
    run = FakeRun()
    june = June(run, plan)
    june.load(plan.writes)
    june.scan(iter([]))
    assert set(run.scanned.values()) == {"lb-1", "lb-2", "lb-3"}
    june.scan(iter(["lb-3"]))
    assert set(run.scanned.values()) == {"lb-1", "lb-2"}
    june.scan(iter(["lb-1"]))
    assert set(run.scanned.values()) == {"lb-1", "lb-2", "lb-3"}


def test_golden_failure_is_a_reason_for_no_verdict(plan, monkeypatch):
    """One golden write that fails is put on record as an error; none, and nothing is said."""
    monkeypatch.setattr(june_2008, "GOLDEN_S", 0.05)
    run = FakeRun()
    good = June(run, plan)
    assert good.golden()
    assert run.told == []
    assert len(good.answered) >= GOLDEN
    key = next(iter(good.answered))
    run = FakeRun(key.__eq__)
    bad = June(run, plan)
    assert not bad.golden()
    assert [type(record) for record in run.told] == [Error]
    assert key in run.told[0].what


def test_what_the_monitor_tripped_over_is_on_record(plan):
    """Errors of its thread are reasons for no verdict, and an alarm about a good balancer is told as a false one."""
    run = FakeRun()
    june = June(run, plan)
    june.load(plan.writes)
    innocent = next(name for name in REGIONS if name != plan.balancer)
    alarm = Alarm(name="bad-digest-alarm", culprit=innocent, at_s=5.0)
    monitor = SimpleNamespace(alarms=[alarm], errors=["ValueError: torn"])
    put_on_record(run, june.seen((), monitor, SimpleNamespace(late_s=0.0, stalled=False)))
    (error,) = [record for record in run.told if isinstance(record, Error)]
    assert "ValueError: torn" in error.what
    assert alarm in run.told
    (false,) = [record for record in run.told if isinstance(record, FalseAlarm)]
    assert innocent in false.detail
    assert sum(type(record).__module__ == "straybit.load" for record in run.told) == len(plan.writes)
