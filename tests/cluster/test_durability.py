"""No acknowledged object is lost, whichever storage node dies in the middle of writes."""

import threading

import pytest

from straybit.clients import S3
from straybit.ledger import Ledger, Verdict
from straybit.steady import wait_steady

BUCKET = "durability"
WRITERS = 4
BEFORE, AFTER = 15, 40
"""Writes acknowledged before the kill, and in all."""


class Writers:
    """Threads that write new keys through every balancer and enter them in the ledger."""

    def __init__(self, cluster, ledger):
        self.ledger = ledger
        self.clients = [S3(url) for url in cluster.endpoints().values()]
        self.clients[0].create_bucket(BUCKET)
        self.clients[-1].create_bucket(BUCKET)
        self.acked = []
        self.changed = threading.Condition()
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.write, args=(number,)) for number in range(WRITERS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join()

    def write(self, writer):
        number = 0
        while not self.ended.is_set():
            number += 1
            client = self.clients[number % len(self.clients)]
            key = f"{number % len(self.clients)}/{writer}-{number}"
            body = self.ledger.payload(key, 20_000)
            write = self.ledger.begin(key, body)
            reply = client.put(BUCKET, key, body)
            if reply.ok:
                self.ledger.ack(write)
                with self.changed:
                    self.acked.append(key)
                    self.changed.notify_all()
            elif 400 <= reply.status < 500:
                self.ledger.refuse(write)

    def wait(self, count):
        with self.changed:
            return self.changed.wait_for(lambda: len(self.acked) >= count, 30)

    def read(self, key):
        reply = self.clients[int(key.partition("/")[0])].get(BUCKET, key)
        if reply.ok:
            return reply.body
        return None if reply.code == "NoSuchKey" else RuntimeError(reply.code)

    def close(self):
        for client in self.clients:
            client.close()


@pytest.mark.parametrize("victim", ["storage-1", "storage-6"])
def test_killing_a_storage_node_loses_no_acknowledged_object(cluster, victim):
    """With a storage node killed in the middle of writes, every acknowledged object is read back whole."""
    writers = Writers(cluster, Ledger(seed=3))
    with writers:
        assert writers.wait(BEFORE)
        cluster.kill(victim)
        assert writers.wait(AFTER)
    acknowledged = writers.ledger.acknowledged()
    assert len(acknowledged) >= AFTER
    verdicts = {key: writers.ledger.check(key, writers.read(key)) for key in acknowledged}
    assert set(verdicts.values()) == {Verdict.RIGHT}
    cluster.restart(victim)
    wait_steady(cluster, budget_s=20)
    verdicts = {key: writers.ledger.check(key, writers.read(key)) for key in acknowledged}
    assert set(verdicts.values()) == {Verdict.RIGHT}
    writers.close()
