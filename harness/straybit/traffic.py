"""What makes messages flow on the link that a trial looks at, and what the clients on it saw."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Protocol

import msgspec

from straybit.clients import Reply
from straybit.cluster import Cluster
from straybit.control import ControlError
from straybit.ledger import Ledger
from straybit.ledger_client import LedgerClient, Stored
from straybit_faults.flip import Link
from straybit_nodes.topology import Kind

__all__ = ["Answer", "GossipTraffic", "S3Traffic", "Traffic", "traffic_for"]

BUCKET = "straybit-trial"
"""Apart from a workload's objects: a trial may run beside one."""
SIZE = 512
"""Bytes of an object that a trial writes: enough for any bit one would name, little enough for a hexdump."""


class Answer(msgspec.Struct, frozen=True):
    """What a client of the trial saw: the identity of its request, the reply, and the ledger's verdict on it."""

    identity: str
    reply: Reply
    verdict: str


class Traffic(Protocol):
    """One kind of traffic; a test may bring its own."""

    def step(self) -> None:
        """Cause a little more of it, now."""

    def answers(self) -> tuple[Answer, ...]:
        """What clients saw so far."""

    def scan(self) -> tuple[Answer, ...]:
        """Read again what was written, after the fault is gone."""

    def close(self) -> None:
        """Let go of connections."""


class GossipTraffic:
    """Exchanges from `caller` to `callee`, one a step, through the caller's control port."""

    def __init__(self, cluster: Cluster, link: Link) -> None:
        self._control = cluster.control(link.caller)
        self._callee = link.callee

    def step(self) -> None:
        """One exchange; that it may fail is what the trial is about."""
        self._control.exchange(self._callee)

    def answers(self) -> tuple[Answer, ...]:
        """Gossip has no clients."""
        return ()

    def scan(self) -> tuple[Answer, ...]:
        """Views are looked at by the trial itself."""
        return ()

    def close(self) -> None:
        """Nothing is open."""


class S3Traffic:
    """Writes and reads of fresh keys through the balancers of one region, in turn, by unmodified boto3."""

    def __init__(self, cluster: Cluster, balancers: Iterable[str], *, name: str) -> None:
        self._ledger = Ledger(cluster.spec.seed)
        self._clients = [LedgerClient(cluster.s3(b), self._ledger, bucket=BUCKET) for b in balancers]
        self._turns = itertools.cycle(self._clients)
        self._numbers = itertools.count()
        self._name = name
        self._answers: list[Answer] = []
        self._clients[0].create_bucket()

    def step(self) -> None:
        """One write, and one read of the same key."""
        key = f"{self._name}/{next(self._numbers)}"
        client = next(self._turns)
        reply = client.put(key, self._ledger.payload(key, SIZE))
        self._answers.append(Answer(f"PUT /{BUCKET}/{key}", reply, "right" if reply.ok else "error"))
        self._answers.append(_answer(client.get(key)))

    def answers(self) -> tuple[Answer, ...]:
        """Every write and read so far."""
        return tuple(self._answers)

    def scan(self) -> tuple[Answer, ...]:
        """Read every key that was written, through every balancer."""
        found = tuple(_answer(client.get(key)) for key in sorted(self._ledger.keys()) for client in self._clients)
        self._answers += found
        return found

    def close(self) -> None:
        """Close the clients."""
        for client in self._clients:
            client.close()


def _answer(found: Stored) -> Answer:
    return Answer(f"GET /{BUCKET}/{found.key}", found.reply, found.verdict)


def traffic_for(cluster: Cluster, link: Link, *, name: str) -> Traffic:
    """The traffic that makes messages pass on `link`."""
    services = {service.name: service for service in cluster.topology.services()}
    caller, callee = services.get(link.caller), services[link.callee]
    if caller is not None and caller.kind is not Kind.STORAGE and callee.kind is not Kind.STORAGE:
        return GossipTraffic(cluster, link)
    hit = next((s.name for s in (caller, callee) if s is not None and s.kind is Kind.BALANCER), None)
    near = [s.name for s in services.values() if s.kind is Kind.BALANCER and s.region == callee.region]
    return S3Traffic(cluster, [hit] if hit else near, name=name)


def quiet_step(traffic: Traffic) -> None:
    """A step whose failure is an observation, not an error of the harness."""
    try:
        traffic.step()
    except ControlError:
        return
