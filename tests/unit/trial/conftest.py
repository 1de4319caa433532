"""A cluster of thin air: what a trial asks of one, answered by fields that a test sets."""

import itertools
import time
from functools import partial
from types import SimpleNamespace

import pytest

from straybit import trial as trial_module
from straybit.control import Entry, Frame, Frames, Health, NodeSilentError, Originated, View
from straybit.driver import LIVE
from straybit.observe import HostWatch, Observation
from straybit_faults.client import ProxyError
from straybit_faults.receipt import Receipt
from straybit_nodes.topology import Topology

CRC = 0x1234ABCD


class FakeProxy:
    """Flips whatever is armed as soon as traffic flows, and keeps the receipts, as the real one does."""

    def __init__(self):
        self.armed = {}
        self.book = []
        self.refuses = ()
        self.acknowledges = True

    def add_toxic(self, link, kind, attributes, *, stream, name):
        if len(self.armed) in self.refuses:
            raise ProxyError("no")
        self.armed[name] = (link, attributes, stream)

    def remove_toxic(self, link, name):
        if self.armed.pop(name, None) is None:
            raise ProxyError("toxic not found")

    def receipts(self, link):
        return [r for r in self.book if r.proxy == link]

    def flow(self):
        done = {r.toxic for r in self.book}
        for name, (link, attributes, stream) in self.armed.items():
            if name not in done:
                now = time.monotonic()
                self.book.append(
                    Receipt(
                        seq=len(self.book),
                        toxic=name,
                        proxy=link,
                        link=link,
                        direction="up" if stream == "upstream" else "down",
                        connection=0,
                        message=attributes["message"],
                        ordinal=0,
                        identity=None,
                        field=attributes["field"],
                        field_bit=attributes["bits"][0],
                        field_bits=attributes["bits"],
                        offset=9,
                        byte_bit=0,
                        before=0,
                        after=1,
                        bytes=[(9, 0, 1)],
                        control=attributes.get("control", False),
                        flip=f"1/{link}/up/state/0/version/62",
                        crc=CRC + len(self.book),
                        sent=now,
                        delivered=now if self.acknowledges else None,
                    )
                )


class FakeControl:
    """One node's control port; `cluster.dead` are those that do not answer."""

    def __init__(self, cluster, name):
        self.cluster = cluster
        self.name = name

    def alive(self):
        if self.name in self.cluster.dead:
            raise NodeSilentError(f"no answer from {self.name}")

    def exchange(self, peer):
        self.alive()
        if self.cluster.flows:
            self.cluster.proxy.flow()
        self.cluster.after_flow()
        return SimpleNamespace(ok=True)

    def frames(self, since=0):
        self.alive()
        seen = [r for r in self.cluster.proxy.book if r.seq >= min(since, 1 << 30) and not self.cluster.deaf]
        frames = [Frame(seq=r.seq, t=r.sent + 0.001, sender="gossip-1", kind="state", crc=r.crc) for r in seen]
        return Frames(next=len(self.cluster.proxy.book), frames=frames)

    def healthz(self):
        self.alive()
        return Health(name=self.name, state="running")


class FakeCluster:
    """Three gossip nodes; a test sets what they believe, log and do."""

    driver = LIVE

    def __init__(self):
        self.topology = Topology.gossip_only(3)
        self.proxy = FakeProxy()
        self.serials = itertools.count()
        self.dead = set()
        self.flows = True
        self.doubt = ()
        self.missing = ()
        self.lines = []
        self.ended = []
        self.host = ""
        self.fronted = False
        self.late_s = 0.0
        self.deaf = False
        self.beliefs = {}
        self.after_flow = lambda: None
        self.observers = SimpleNamespace(mark=lambda: len(self.lines), seen=self.seen)

    def seen(self, kind=None, since=0):
        return [line for line in self.lines[since:] if kind in (None, line.kind)]

    def log(self, kind, **fields):
        """A node writes a line."""
        self.lines.append(Observation(t=time.monotonic(), source="gossip-2", kind=kind, fields=fields))

    def control(self, name):
        return FakeControl(self, name)

    def exits(self):
        return tuple(SimpleNamespace(service=name, host=self.host) for name in self.ended)

    def doubts(self):
        return self.doubt

    def watch_host(self):
        """A watch on a machine that stands still for `late_s`."""
        naps = iter((self.late_s,))
        clock = SimpleNamespace(now=0.0)

        def sleep(_):
            nap = next(naps, None)
            clock.now += nap or 0.0
            return nap is None

        return HostWatch(0.3, sleep=sleep, clock=lambda: clock.now)

    def disagreements(self, names=None):
        return self.missing

    def endpoints(self):
        return {}

    def side_by_side(self, work, names):
        return {name: work(name) for name in names}

    def each(self, call, names=None):
        def one(name):
            try:
                return call(self.control(name))
            except NodeSilentError as error:
                return error

        return {s.name: one(s.name) for s in self.topology.services()}

    def originated(self):
        return {m.name: Originated(m.address, 1, 100, 7) for m in self.topology.members()}

    def views(self):
        truth = {m.name: Entry(m.address, 1, 0, 100, 7) for m in self.topology.members()}
        return {
            m.name: View(
                name=m.name,
                now=0.0,
                state="running",
                entries={**truth, **self.beliefs.get(m.name, {})},
                marked=[],
                originated=None,
                busy=0,
                queued=0,
                exchanges={},
                inflight=0,
            )
            for m in self.topology.members()
        }

    def believe(self, holder, owner="gossip-3"):
        """A node holds an address that its owner never said."""
        self.beliefs[holder] = {owner: Entry(99, 1, 0, 100, 7)}


@pytest.fixture
def cluster(monkeypatch):
    """A cluster of thin air, on which the quiet time and the probes' spacing are short."""
    monkeypatch.setattr(trial_module, "QUIET_S", 0.05)
    monkeypatch.setattr(trial_module, "SENT_BUDGET_S", 0.3)
    monkeypatch.setattr(trial_module, "wait_steady", partial(trial_module.wait_steady, every_s=0.01))
    return FakeCluster()
