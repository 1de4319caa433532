"""Requests on virtual time: client, balancer with up to three tries, coordinator, two further replicas.

Each leg but the client's own needs a place, and so an exchange, before it goes.
A request succeeds when two replicas answered within the client's deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from straybit.sim.net import SimNet
from straybit_nodes.gossip.messages import UP, Denied, Granted, Message, Place, Release
from straybit_nodes.topology import Kind

__all__ = ["DEADLINE_S", "Load"]

DEADLINE_S = 1.0
TRIES = 3
REPLICAS = 3
SERVICE_S = 0.002


def _weight(key: int, name: str) -> int:
    """Rendezvous weight of a server for a key."""
    return (key ^ int(name.rpartition("-")[2]) * 0x9E3779B9) * 0x85EBCA6B >> 8 & 0xFFFFFF


class _Request:
    __slots__ = ("began", "deadline", "done", "key", "lb", "load", "number", "region", "tried", "write")

    def __init__(self, load: Load, region: str, lb: str, key: int, write: bool) -> None:
        self.load = load
        self.region = region
        self.lb = lb
        self.key = key
        self.write = write
        self.began = load.net.now
        self.deadline = self.began + DEADLINE_S
        self.done = False
        self.tried: list[str] = []
        self.number = 0


class Load:
    """`rate` requests a second per storage node, in every region; `ends` has (began, region, whether it succeeded)."""

    def __init__(self, net: SimNet, *, rate: float = 3.0, seed: int = 0) -> None:
        self.net = net
        self.rng = Random(seed)
        self.ends: list[tuple[float, str, bool]] = []
        self._numbers = 0
        self._factor = 1.0
        self._legs: dict[tuple[str, int], Callable[[int | None], None]] = {}
        self._conns: dict[str, tuple[object, int]] = {}
        self._regions: dict[str, tuple[list[str], list[str]]] = {}
        for region in net.topology.regions:
            servers = [s.name for s in net.topology.members() if s.region == region.name and s.kind is Kind.GOSSIP]
            balancers = [s.name for s in net.topology.members() if s.region == region.name and s.kind is Kind.BALANCER]
            self._regions[region.name] = (servers, balancers)
            self._later(region.name, rate * len(servers))

    def success(self, region: str, since: float, until: float) -> float:
        """Share of requests begun in that time that succeeded; nan when there were none."""
        ends = [ok for began, where, ok in self.ends if where == region and since <= began < until]
        return sum(ends) / len(ends) if ends else float("nan")

    def scale(self, factor: float) -> None:
        """From now on, that many times the load."""
        self._factor *= factor

    def _later(self, region: str, rate: float) -> None:
        def come() -> None:
            self._begin(region)
            self._later(region, rate)

        self.net.after(self.rng.expovariate(rate * self._factor), come)

    # Client and balancer

    def _begin(self, region: str) -> None:
        _, balancers = self._regions[region]
        request = _Request(
            self, region, self.rng.choice(balancers), self.rng.getrandbits(32), write=self.rng.random() < 0.5
        )
        self.net.at(request.deadline, lambda: self._end(request, False))
        self.net.after(self.net.latency_s, lambda: self._try(request))

    def _end(self, request: _Request, ok: bool) -> None:
        if request.done:
            return
        request.done = True
        if request.number:
            self.net.release(request.lb, request.number)
        self.ends.append((request.began, request.region, ok))

    def _holders(self, member: str, region: str, key: int) -> list[str]:
        servers, _ = self._regions[region]
        entries = self.net.hosts[member].core.view.entries
        serving = [each for each in servers if each in entries and entries[each].status == UP]
        return sorted(serving, key=lambda each: _weight(key, each))[:REPLICAS]

    def _try(self, request: _Request) -> None:
        host = self.net.hosts[request.lb]
        if request.done:
            return
        holders = [each for each in self._holders(request.lb, request.region, request.key) if each not in request.tried]
        if not host.up or not host.core.running or len(request.tried) == TRIES or not holders:
            self._end(request, False)
            return
        good = [each for each in holders if each not in host.core.marks]
        peer = self.rng.choice(good or holders)
        request.tried.append(peer)
        self._numbers += 1
        number = request.number = self._numbers

        def answered(address: int | None) -> None:
            if address is None:
                self._try(request)
            else:
                self._relay(request, number, address)

        self.net.place(request.lb, number, peer, answered)

    def _relay(self, request: _Request, number: int, address: int) -> None:
        """Send it to the storage node at that address; without a reply the next one is tried."""

        def again() -> None:
            self.net.release(request.lb, number)
            self._try(request)

        self._reach(address, again, lambda target: self._coordinate(request, target))

    def _reach(self, address: int, lost: Callable[[], None], there: Callable[[str], None]) -> None:
        """Connect to the storage node at `address`."""
        target = self.net.server_at(address)
        rules = self.net.rules
        if target is None or self.net.hosts[target].paused:
            self.net.after(rules.connect_timeout_s if rules.slow_failure else self.net.latency_s, lost)
        elif not self.net.hosts[target].up:
            self.net.after(self.net.latency_s, lost)
        else:
            self.net.after(2 * self.net.latency_s + SERVICE_S, lambda: there(target))

    # Coordinator

    def _coordinate(self, request: _Request, name: str) -> None:
        host = self.net.hosts[name]
        if request.done or not host.up or not host.core.running:
            return
        others = [each for each in self._holders(name, request.region, request.key) if each != name][: REPLICAS - 1]
        legs = iter(others)
        waiting = 0

        def ended(ok: bool) -> None:
            nonlocal waiting
            waiting -= 1
            if ok:
                self.net.after(self.net.latency_s, lambda: self._end(request, True))
            elif not start(legs) and waiting == 0:
                self.net.after(self.net.latency_s, lambda: self._end(request, False))

        def start(rest: Iterator[str]) -> bool:
            nonlocal waiting
            peer = next(rest, None)
            if peer is None:
                return False
            waiting += 1
            self._leg(name, peer, request.deadline, ended)
            return True

        for _ in range(len(others) if request.write else 1):
            start(legs)
        if not others:
            self._end(request, False)

    def _leg(self, name: str, peer: str, deadline: float, ended: Callable[[bool], None]) -> None:
        conn = self._connection(name)
        self._numbers += 1
        number = self._numbers
        over = False

        def end(ok: bool) -> None:
            nonlocal over
            if not over:
                over = True
                self._legs.pop((name, number), None)
                if self.net.hosts[name].up:
                    self.net.tell(name, conn, f"storage-{name.rpartition('-')[2]}", Release(number))
                ended(ok)

        def granted(address: int | None) -> None:
            if address is None:
                end(False)
            else:
                self._reach(address, lambda: end(False), lambda _: end(True))

        self._legs[name, number] = granted
        self.net.at(deadline, lambda: end(False))
        self.net.tell(name, conn, f"storage-{name.rpartition('-')[2]}", Place(number, peer))

    def _connection(self, name: str) -> int:
        core = self.net.hosts[name].core
        known = self._conns.get(name)
        if known is not None and known[0] is core:
            return known[1]
        conn = self.net.subscribe(name, f"storage-{name.rpartition('-')[2]}", lambda message: self._hear(name, message))
        self._conns[name] = (core, conn)
        return conn

    def _hear(self, name: str, message: Message) -> None:
        match message:
            case Granted(number, address):
                granted = self._legs.get((name, number))
                if granted is not None:
                    granted(address)
            case Denied(number, _):
                granted = self._legs.get((name, number))
                if granted is not None:
                    granted(None)
            case _:
                pass
