"""The monitor of June's balancers: one scrape a look, one alarm a culprit, and nothing it trips over is lost."""

import threading
from itertools import count

import pytest

from straybit.control import NodeSilentError, Sample
from straybit.driver import LIVE
from straybit.observe import alarm as alarm_module
from straybit.observe.alarm import BadDigestMonitor
from straybit_nodes.topology import Topology

REQUESTS, REJECTED = "straybit_checksum_requests_total", "straybit_checksum_rejected_total"


class FakeControl:
    """A balancer's metrics: each scrape takes the next pair, or raises it."""

    def __init__(self, pairs):
        self.pairs = pairs
        self.scrapes = 0

    def metrics(self):
        self.scrapes += 1
        pair = next(self.pairs)
        if isinstance(pair, Exception):
            raise pair
        return [Sample(REQUESTS, {}, pair[0]), Sample(REJECTED, {"code": "a"}, pair[1]), Sample("other", {}, 1e9)]


class FakeCluster:
    """Three balancers, asked one after the other."""

    topology = Topology()
    driver = LIVE

    def __init__(self, *, on=True, **pairs):
        self.defences = frozenset({"bad-digest-alarm"} if on else ())
        self.controls = {f"lb-{n}": FakeControl(pairs.get(f"lb{n}") or clean()) for n in (1, 2, 3)}

    def each(self, call, names):
        def one(name):
            try:
                return call(self.controls[name])
            except NodeSilentError as error:
                return error

        return {name: one(name) for name in names}


def clean():
    """A hundred requests with a digest, and none refused, at every scrape."""
    return ((100.0, 0.0) for _ in count())


def faulty():
    """Half the requests refused, at every scrape."""
    return ((100.0, 50.0) for _ in count())


def named(monitor):
    """Whom the monitor has named so far."""
    return [alarm.culprit for alarm in monitor.alarms]


def test_each_culprit_is_named_once():
    """However often the monitor looks, a balancer is named once, at the second it was first seen."""
    seconds = count(7)
    monitor = BadDigestMonitor(FakeCluster(lb2=faulty()), clock=lambda: next(seconds))
    for _ in range(5):
        monitor.look()
    assert named(monitor) == ["lb-2"]
    assert monitor.alarms[0].at_s == 7


def test_good_balancers_are_not_named():
    """Where all are alike nobody is named."""
    monitor = BadDigestMonitor(FakeCluster(lb1=faulty(), lb2=faulty(), lb3=faulty()), clock=lambda: 0.0)
    monitor.look()
    assert named(monitor) == []


def test_switched_off_it_does_nothing():
    """Without the defence nobody is asked, by hand or by the thread."""
    cluster = FakeCluster(on=False, lb2=faulty())
    with BadDigestMonitor(cluster, clock=lambda: 0.0) as monitor:
        monitor.look()
    assert named(monitor) == []
    assert [control.scrapes for control in cluster.controls.values()] == [0, 0, 0]


def test_both_counts_come_from_one_scrape():
    """A look asks each balancer once: of two scrapes the second could know of more refusals than requests."""
    growing = ((float(n), float(n)) for n in count(1))
    cluster = FakeCluster(lb2=growing)
    monitor = BadDigestMonitor(cluster, clock=lambda: 0.0)
    for _ in range(9):
        monitor.look()
    assert monitor.errors == []
    assert named(monitor) == ["lb-2"]
    assert [control.scrapes for control in cluster.controls.values()] == [9, 9, 9]


def test_silent_balancer_does_not_hide_the_others():
    """One that does not answer is left out of the look."""
    silent = (NodeSilentError("lb-1: no answer") for _ in count())
    monitor = BadDigestMonitor(FakeCluster(lb1=silent, lb2=faulty()), clock=lambda: 0.0)
    monitor.look()
    assert (named(monitor), monitor.errors) == (["lb-2"], [])


def test_errors_are_kept_once_and_the_monitor_goes_on():
    """What it trips over is told once for each, with a limit, and the next look may succeed."""
    rubbish = iter([ValueError("rubbish"), ValueError("rubbish"), (1.0, 2.0), *[(100.0, 50.0)] * 3])
    monitor = BadDigestMonitor(FakeCluster(lb2=rubbish), clock=lambda: 0.0)
    for _ in range(4):
        monitor.look()
    assert [error.partition(":")[0] for error in monitor.errors] == ["ValueError"] * 2
    assert "rubbish" in monitor.errors[0]
    assert "lb-2" in monitor.errors[1]
    assert named(monitor) == ["lb-2"]
    different = (ValueError(str(n)) for n in count())
    monitor = BadDigestMonitor(FakeCluster(lb2=different), clock=lambda: 0.0)
    for _ in range(3 * alarm_module.ERRORS):
        monitor.look()
    assert len(monitor.errors) == alarm_module.ERRORS


def test_two_looks_at_a_time_name_a_culprit_once():
    """Where the watch and somebody else look at the same moment, the alarm is raised once all the same."""
    both = threading.Barrier(2)

    class Meeting(FakeControl):
        def metrics(self):
            both.wait(10)
            return [Sample(REQUESTS, {}, 100.0), Sample(REJECTED, {}, 50.0)]

    cluster = FakeCluster()
    cluster.controls["lb-2"] = Meeting(clean())
    monitor = BadDigestMonitor(cluster, clock=lambda: 0.0)
    other = threading.Thread(target=monitor.look)
    other.start()
    monitor.look()
    other.join()
    assert (named(monitor), monitor.errors) == (["lb-2"], [])


@pytest.mark.parametrize("first", [None, ValueError("rubbish")])
def test_the_thread_looks_by_itself(monkeypatch, first):
    """Inside its block the monitor looks again and again, also after a look that failed."""
    monkeypatch.setattr(alarm_module, "EVERY_S", 0.001)
    enough = threading.Event()

    def pairs():
        if first is not None:
            yield first
        for n in count():
            if n == 3:
                enough.set()
            yield (100.0, 50.0)

    with BadDigestMonitor(FakeCluster(lb3=pairs()), clock=lambda: 0.0) as monitor:
        assert enough.wait(10)
    assert named(monitor) == ["lb-3"]
    assert len(monitor.errors) == (first is not None)
