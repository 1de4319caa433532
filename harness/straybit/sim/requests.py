"""Requests on virtual time: client, balancer with up to three tries, coordinator, replicas, and what they hold.

Each leg but the client's own needs a place, and so an exchange, before it goes.
Placement, the order of tries and the numbers are those of the real nodes; what is said on their links is not:
a body is an object that is handed over, so nothing here can be flipped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import msgspec

from straybit.sim.net import SimNet
from straybit_nodes.gossip.messages import UP, Denied, Granted, Message, Place, Release
from straybit_nodes.storage.gathering import HEDGE, LEGS
from straybit_nodes.storage.placement import holders, quorum
from straybit_nodes.storage.suspects import Suspects
from straybit_nodes.topology import Kind

__all__ = ["Answer", "Load", "Requests", "Storage"]

TRIES = 3
SERVICE_S = 0.002
HOLDERS_KEPT = 65_536
"""Keys whose holders are remembered; more than any run has, and a bound all the same."""


class Answer(msgspec.Struct, frozen=True):
    """What a client gets: an HTTP status, 0 where no reply came in time, and the body of what it read."""

    status: int
    body: bytes = b""


Kept = tuple[float, int, bytes]
"""When a version was written, by the how manieth write, and what."""


class Storage:
    """One storage node: whether it runs, and the objects on its disk."""

    __slots__ = ("conn", "core", "objects", "paused", "state", "up")

    def __init__(self) -> None:
        self.up = True
        self.paused = False
        self.state = "held"
        self.objects: dict[str, Kept] = {}
        self.core: object = None
        self.conn = 0


class _Request:
    __slots__ = ("body", "deadline", "done", "key", "lb", "number", "over", "region", "tried")

    def __init__(self, lb: str, region: str, key: str, body: bytes | None, deadline: float) -> None:
        self.lb = lb
        self.region = region
        self.key = key
        self.body = body
        self.deadline = deadline
        self.over = False
        self.tried: list[str] = []
        self.number = 0
        self.done: Callable[[Answer], None] = lambda _: None


class Requests:
    """Storage nodes and balancers beside the members of `net`; a storage node is named by its gossip node."""

    def __init__(self, net: SimNet) -> None:
        self.net = net
        self.storage = {s.name: Storage() for s in net.topology.members() if s.kind is Kind.GOSSIP}
        self._nodes: dict[str, tuple[str, ...]] = {}
        self._regions = {s.name: s.region for s in net.topology.members()}
        for region in net.topology.regions:
            self._nodes[region.name] = tuple(name for name in self.storage if self._regions[name] == region.name)
        self._suspects = {s.name: Suspects(lambda: net.now) for s in net.topology.members()}
        self._holders_of: dict[tuple[str, str], tuple[str, ...]] = {}
        self._numbers = 0
        self._legs: dict[tuple[str, int], Callable[[int | None], None]] = {}

    def send(self, lb: str, key: str, body: bytes | None, done: Callable[[Answer], None]) -> None:
        """A PUT of `body`, or a GET where it is None, through a balancer; `done` hears the answer."""
        net = self.net
        request = _Request(lb, self._regions[lb], key, body, net.now + net.rules.deadline_s)
        request.done = done
        net.at(request.deadline, lambda: self._end(request, Answer(0)))
        net.after(net.latency_s, lambda: self._try(request))

    def under_way(self, name: str) -> int:
        """Legs of the storage node beside that member."""
        return sum(owner == name for owner, _ in self._legs)

    # Balancer

    def _end(self, request: _Request, answer: Answer) -> None:
        if request.over:
            return
        request.over = True
        if request.number:
            self.net.release(request.lb, request.number)
        request.done(answer)

    def _try(self, request: _Request) -> None:
        host = self.net.hosts[request.lb]
        if request.over or host.paused:
            return
        if not host.up:
            self._end(request, Answer(0))
            return
        candidates = [each for each in self._order(request.lb, request) if each not in request.tried]
        if not host.core.running or len(request.tried) == TRIES or not candidates:
            self._end(request, Answer(503))
            return
        peer = candidates[0]
        request.tried.append(peer)
        self._numbers += 1
        number = request.number = self._numbers

        def again() -> None:
            self._suspects[request.lb].failed(peer)
            self.net.release(request.lb, number)
            self._try(request)

        def answered(address: int | None) -> None:
            if address is None:
                again()
            else:
                self._reach(address, again, lambda target: self._coordinate(request, target))

        self.net.place(request.lb, number, peer, answered)

    def _order(self, member: str, request: _Request) -> Sequence[str]:
        """Holders of the key as `member` would talk to them: those up, unmarked ones first, late failures last."""
        core = self.net.hosts[member].core
        entries = core.view.entries
        known = [each for each in self._holders(request) if each not in entries or entries[each].status == UP]
        ordered = self._suspects[member].order(known)
        return sorted(ordered, key=lambda each: each in core.marks or each not in entries)

    def _holders(self, request: _Request) -> tuple[str, ...]:
        where = (request.region, request.key)
        found = self._holders_of.get(where)
        if found is None:
            bucket, _, key = request.key.partition("/")
            found = holders(self._nodes[request.region], bucket, key)
            if len(self._holders_of) >= HOLDERS_KEPT:
                self._holders_of.clear()
            self._holders_of[where] = found
        return found

    def _reach(self, address: int, lost: Callable[[], None], there: Callable[[str], None]) -> None:
        """Connect to the storage node at `address`, and have the reply on its way back."""
        target = self.net.server_at(address)
        node = self.storage.get(target) if target is not None else None
        rules = self.net.rules
        if target is None or node is None or node.paused:
            self.net.after(rules.connect_timeout_s if rules.slow_failure else self.net.latency_s, lost)
        elif not node.up:
            self.net.after(self.net.latency_s, lost)
        else:
            self.net.after(2 * self.net.latency_s + SERVICE_S, lambda: there(target))

    # Coordinator

    def _coordinate(self, request: _Request, name: str) -> None:
        node = self.storage[name]
        if request.over or not node.up:
            return
        if node.state == "stopped":
            self._reply(request, Answer(503))
        elif request.body is None:
            self._read(request, name)
        else:
            self._write(request, name, request.body)

    def _reply(self, request: _Request, answer: Answer) -> None:
        self.net.after(self.net.latency_s, lambda: self._end(request, answer))

    def _write(self, request: _Request, name: str, body: bytes) -> None:
        """To every holder at once; acknowledged by a quorum."""
        holding = self._holders(request)
        self._numbers += 1
        kept: Kept = (self.net.now, self._numbers, body)
        acks = failures = 0

        def ended(ok: bool) -> None:
            nonlocal acks, failures
            acks, failures = acks + ok, failures + (not ok)
            if acks == quorum(holding) and ok:
                self._reply(request, Answer(200))
            elif failures > len(holding) - quorum(holding):
                self._reply(request, Answer(503))

        for peer in holding:
            if peer == name:
                self._keep(name, request.key, kept)
                ended(True)
            else:
                self._leg(name, peer, lambda peer=peer: self._keep(peer, request.key, kept), ended)  # type: ignore[misc]

    def _read(self, request: _Request, name: str) -> None:
        """From a quorum of the holders, another one for each that fails or is slow; the newest wins."""
        holding = self._holders(request)
        found: list[Kept | None] = []
        left = iter([name, *(each for each in self._order(name, request) if each != name)])
        waiting = 0

        def ended(ok: bool) -> None:
            nonlocal waiting
            waiting -= 1
            if len(found) >= quorum(holding):
                newest = max((each for each in found if each is not None), default=None)
                self._reply(request, Answer(200, newest[2]) if newest is not None else Answer(404))
            elif not ok and not ask() and not waiting:
                self._reply(request, Answer(503))

        def ask() -> bool:
            nonlocal waiting
            peer = next(left, None)
            if peer is None:
                return False
            waiting += 1
            if peer == name:
                found.append(self.storage[name].objects.get(request.key))
                ended(True)
            else:
                self._leg(name, peer, lambda: found.append(self.storage[peer].objects.get(request.key)), ended)
            return True

        def hedge() -> None:
            if not request.over and len(found) < quorum(holding):
                ask()

        for _ in range(quorum(holding)):
            ask()
        self.net.after(HEDGE * self.net.rules.deadline_s, hedge)

    def _keep(self, name: str, key: str, kept: Kept) -> None:
        objects = self.storage[name].objects
        if key not in objects or objects[key] < kept:
            objects[key] = kept

    def _leg(self, name: str, peer: str, work: Callable[[], None], ended: Callable[[bool], None]) -> None:
        node = self.storage[name]
        if not self.net.hosts[name].up:
            self.net.after(0.0, lambda: ended(False))
            return
        conn = self._connection(name)
        self._numbers += 1
        number = self._numbers

        def end(ok: bool) -> None:
            if self._legs.pop((name, number), None) is None:
                return
            if self.net.hosts[name].up:
                self.net.tell(name, conn, f"storage-{name.rpartition('-')[2]}", Release(number))
            if ok:
                work()
            else:
                self._suspects[name].failed(peer)
            if node.up:
                ended(ok)

        def granted(address: int | None) -> None:
            if address is None:
                end(False)
            else:
                self._reach(address, lambda: end(False), lambda _: end(True))

        self._legs[name, number] = granted
        self.net.after(LEGS * self.net.rules.deadline_s, lambda: end(False))
        self.net.tell(name, conn, f"storage-{name.rpartition('-')[2]}", Place(number, peer))

    def _connection(self, name: str) -> int:
        node, core = self.storage[name], self.net.hosts[name].core
        if node.core is not core:
            sender = f"storage-{name.rpartition('-')[2]}"
            node.conn = self.net.subscribe(name, sender, lambda message: self._hear(name, message))
            node.core = core
        return node.conn

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
        body = b"." if self.rng.random() < 0.5 else None

        def done(answer: Answer) -> None:
            self.ends.append((began, region, answer.status in {200, 404}))

        self.requests.send(balancer, f"load/{self.rng.getrandbits(32)}", body, done)
