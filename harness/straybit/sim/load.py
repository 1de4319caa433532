"""A light load for simulations without a harness: bare requests, by rate, and how each ended."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from straybit.sim.net import SimNet
from straybit.sim.requests import Requests, get, put
from straybit_nodes.storage.calls import Answer
from straybit_nodes.topology import Kind

__all__ = ["Load"]

KEYS = 1024
"""Objects that are written and read: a working set, since finding out who holds a key takes a hash for each node."""


class Load:
    """`rate` requests a second per storage node, in every region; `ends` has (began, region, whether it succeeded)."""

    def __init__(self, net: SimNet, *, rate: float = 3.0, seed: int = 0) -> None:
        self.net = net
        self.requests = Requests(net)
        self.rng = Random(f"{seed}/load")
        self.ends: list[tuple[float, str, bool]] = []
        self._factor = 1.0
        members = net.topology.members()
        for region in net.topology.regions:
            balancers = [s.name for s in members if s.region == region.name and s.kind is Kind.BALANCER]
            self._later(region.name, balancers, rate * region.servers)

    def success(self, region: str, since: float, until: float) -> float:
        """Share of requests begun in that time that succeeded; nan when there were none."""
        ends = [ok for began, where, ok in self.ends if where == region and since <= began < until]
        return sum(ends) / len(ends) if ends else float("nan")

    def scale(self, factor: float) -> None:
        """From now on, that many times the load."""
        self._factor *= factor

    def _later(self, region: str, balancers: Sequence[str], rate: float) -> None:
        def come() -> None:
            self._begin(region, self.rng.choice(balancers))
            self._later(region, balancers, rate)

        self.net.after(self.rng.expovariate(rate * self._factor), come)

    def _begin(self, region: str, balancer: str) -> None:
        began = self.net.now
        writes = self.rng.random() < 0.5

        def done(answer: Answer | None) -> None:
            self.ends.append((began, region, answer is not None and answer.status in {200, 404}))

        target = f"/load/{self.rng.randrange(KEYS)}"
        self.requests.send(balancer, put(target, b".") if writes else get(target), done)
