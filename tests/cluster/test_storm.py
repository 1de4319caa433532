"""Operations under kills and rot: nothing acknowledged is lost, nothing wrong is served, all copies are equal at last.

A small form for every day; `make storage-long` makes 10,000 operations,
with a SIGKILL of a random storage node every second and a flipped bit at rest every ten.
"""

import os
import random
import threading
import time

import pytest

from straybit.clients import S3
from straybit.control import ControlError
from straybit.host import BitRot, Kill, heal, strike
from straybit.ledger import Ledger, Verdict
from straybit.steady import wait_steady
from straybit_nodes.defences import GROUPS
from straybit_nodes.storage.placement import holders
from straybit_nodes.topology import Region, Topology

pytestmark = [pytest.mark.alone, pytest.mark.proof, pytest.mark.timeout(3600)]

OPERATIONS = int(os.environ.get("STRAYBIT_OPERATIONS", "600"))
KILL_EVERY_S = 1.0
ROT_EVERY = int(os.environ.get("STRAYBIT_ROT_EVERY", "2"))
"""A bit rots at every so many kills."""
DOWN_S = 0.3
WRITERS = 4
KEYS = 12
"""Of each writer: few enough that most operations meet what came before."""
BUCKET = "storm"
TOPOLOGY = Topology((Region("eu", 4, 2),))


class Writer(threading.Thread):
    """One client with keys of its own, so that the order of its operations is theirs."""

    def __init__(self, number, cluster, ledger, left):
        super().__init__(name=f"writer-{number}")
        self.random = random.Random(f"storm/{number}")
        self.ledger = ledger
        self.left = left
        self.clients = [S3(url) for url in cluster.endpoints().values()]
        self.keys = [f"{number}/{key}" for key in range(KEYS)]
        self.read = dict.fromkeys(Verdict, 0)
        self.acked = 0
        self.failed = 0
        self.wrong = []

    def run(self):
        number = 0
        while self.left.take():
            number += 1
            client, key = self.random.choice(self.clients), self.random.choice(self.keys)
            what = self.random.random()
            if what < 0.45:
                self.note_read(key, get(client, key))
            else:
                self.write(client, key, number, delete=what > 0.9)
        for client in self.clients:
            client.close()

    def write(self, client, key, number, *, delete):
        body = None if delete else self.ledger.payload(key, self.random.choice([10, 3_000, 70_000]), number)
        write = self.ledger.begin(key, body)
        reply = client.delete(BUCKET, key) if delete else client.put(BUCKET, key, body)
        if reply.ok:
            self.ledger.ack(write)
            self.acked += 1
        else:
            assert reply.status in {0, 503}, f"{reply.status} {reply.code} is no answer to an operation that can be"
            self.failed += 1

    def note_read(self, key, outcome):
        verdict = self.ledger.check(key, outcome)
        self.read[verdict] += 1
        if verdict in {Verdict.WRONG, Verdict.LOST}:
            self.wrong.append((key, verdict))


class Left:
    """Operations that are still to be made, by all writers together."""

    def __init__(self, count):
        self._count = count
        self._lock = threading.Lock()

    def take(self):
        with self._lock:
            self._count -= 1
            return self._count >= 0


def get(client, key):
    reply = client.get(BUCKET, key)
    if reply.ok:
        return reply.body
    return None if reply.code == "NoSuchKey" else RuntimeError(f"{reply.status} {reply.code}")


class Storm(threading.Thread):
    """Kills a random storage node every second and starts it again; a bit of another one rots now and then."""

    def __init__(self, cluster):
        super().__init__(name="storm")
        self.cluster = cluster
        self.random = random.Random("storm")
        self.ended = threading.Event()
        self.kills = 0
        self.receipts = []
        self.error = None

    def run(self):
        try:
            while not self.ended.wait(KILL_EVERY_S - DOWN_S):
                self.strike()
        except Exception as error:
            self.error = error

    def strike(self):
        names = [service.name for service in self.cluster.services() if service.name.startswith("storage")]
        victim, rotten = self.random.sample(names, 2)
        self.kills += 1
        if self.kills % ROT_EVERY == 0:
            self.rot(rotten)
        fault = Kill(victim)
        strike(self.cluster, fault)
        self.ended.wait(DOWN_S)
        heal(self.cluster, fault)

    def rot(self, name):
        objects = [o for o in self.cluster.control(name).objects() if o.bucket == BUCKET and o.size]
        if objects:
            aim = self.random.choice(objects)
            bit = self.random.randrange(8 * aim.size)
            try:
                self.receipts.append(strike(self.cluster, BitRot(name, BUCKET, aim.key, bit // 8, bit % 8)))
            except ControlError:
                return  # overwritten or in quarantine in between


def mended(cluster, names):
    """Every node says that nothing is damaged and nothing waits."""
    for name in names:
        cluster.control(name).scrub()
    states = [cluster.control(name).mend() for name in names]
    health = [cluster.control(name).health() for name in names]
    return all(state.done for state in states) and not any(h.damaged or h.waiting for h in health)


def copies(cluster, names):
    """For each key, what each node has of it."""
    found = {}
    for name in names:
        for item in cluster.control(name).objects():
            if item.bucket == BUCKET:
                found.setdefault(item.key, {})[name] = (item.stamp, item.size, item.crc, item.etag)
    return found


def test_nothing_is_lost_in_a_storm(backend, until, capsys):
    """Every read gave an acknowledged value or an error, and in the end three holders have the same of every key."""
    with backend.start(TOPOLOGY, defences=GROUPS["all"], seed=7) as cluster:
        ledger, left = Ledger(seed=7), Left(OPERATIONS)
        first = S3(cluster.endpoint("lb-1"))
        assert first.create_bucket(BUCKET).ok
        writers = [Writer(number, cluster, ledger, left) for number in range(WRITERS)]
        storm = Storm(cluster)
        began = time.monotonic()
        for thread in (storm, *writers):
            thread.start()
        for writer in writers:
            writer.join()
        storm.ended.set()
        storm.join()
        took_s = time.monotonic() - began
        assert storm.error is None
        wait_steady(cluster, budget_s=30)
        names = [service.name for service in TOPOLOGY.services() if service.name.startswith("storage")]
        until(lambda: mended(cluster, names), timeout_s=60)
        lost = [(key, verdict) for writer in writers for key, verdict in writer.wrong]
        finally_read = {key: ledger.check(key, get(first, key)) for key in sorted(ledger.keys())}
        found = copies(cluster, names)
        first.close()
    acked, failed = (sum(getattr(w, name) for w in writers) for name in ("acked", "failed"))
    with capsys.disabled():
        print(
            f"\n{OPERATIONS} operations in {took_s:.0f} s: {acked} writes acknowledged, {failed} unanswered, "
            f"{storm.kills} kills, {len(storm.receipts)} bits rotted"
        )
    assert storm.kills >= 1
    assert storm.receipts
    assert lost == []
    assert set(finally_read.values()) == {Verdict.RIGHT}
    for key, held in found.items():
        assert set(held) == set(holders(names, BUCKET, key)), key
        assert len(set(held.values())) == 1, (key, held)
