"""Gossip cores on virtual time: a network with latency, black holes, crashes, pauses and flips, the same for a seed.

Every event is a call at a time; ties are served in the order they were made.
Messages travel as objects; only one that is flipped becomes a frame on its way, and is judged as the receiver would.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from random import Random

import msgspec

from straybit_faults import wire
from straybit_nodes.gossip import effects as fx
from straybit_nodes.gossip.codec import Bad, Framer, encode
from straybit_nodes.gossip.core import Core, Origin
from straybit_nodes.gossip.messages import Message, State, Subscribe
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.gossip.wire import WIRE
from straybit_nodes.topology import GENERATION, Kind, Service, Topology

__all__ = ["FieldFlip", "Host", "SimNet"]

LATENCY_S = 0.001
"""One way, through a proxy on one machine."""


class FieldFlip(msgspec.Struct, frozen=True):
    """Flip `bit` of `owner`'s `field` in the next state from `sender` to `receiver` that carries it."""

    sender: str
    receiver: str
    owner: str
    field: str
    bit: int
    repair: bool = False


class Host:
    """One member and what survives its crashes. `up` False: nobody listens; `paused`: everything waits."""

    __slots__ = ("answers", "calls", "core", "generation", "heartbeats", "origin", "paused", "service", "up", "wake_at")

    def __init__(self, service: Service, core: Core, origin: Origin) -> None:
        self.service = service
        self.core = core
        self.origin = origin
        self.up = True
        self.paused = False
        self.calls: deque[Callable[[], None]] = deque()
        self.wake_at = float("inf")
        self.generation: int | None = None
        self.heartbeats = 0
        self.answers: dict[int, Callable[[int | None], None]] = {}


class SimNet:
    """All members of `topology`, not running yet. `now` is virtual seconds since the start."""

    def __init__(
        self,
        topology: Topology,
        *,
        rules: Rules,
        defences: Iterable[str] = (),
        seed: int = 0,
        latency_s: float = LATENCY_S,
    ) -> None:
        self.topology = topology
        self.rules = rules
        self.defences = frozenset(defences)
        self.rng = Random(seed)
        self.now = 0.0
        self.latency_s = latency_s
        self.log: list[tuple[float, str, str, dict[str, object]]] = []
        self.flips: list[FieldFlip] = []
        self.flipped: list[tuple[float, FieldFlip]] = []
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._seq = 0
        self._links: dict[tuple[str, int], tuple[str, int]] = {}
        self._members = {s.name: s for s in topology.members()}
        self._by_address = {s.address: s.name for s in self._members.values()}
        self.subscribed: dict[tuple[str, int], Callable[[Message], None]] = {}
        self.hosts = {name: self._host(service) for name, service in self._members.items()}

    # Time

    def at(self, time: float, call: Callable[[], None]) -> None:
        """Call at `time`."""
        self._seq += 1
        heappush(self._heap, (time, self._seq, call))

    def after(self, delay_s: float, call: Callable[[], None]) -> None:
        """Call in `delay_s`."""
        self.at(self.now + delay_s, call)

    def run(self, until: float) -> None:
        """Let virtual time pass."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            self.now, _, call = heappop(heap)
            call()
        self.now = until

    # What operators and faults do

    def resume(self, names: Iterable[str] | None = None, contacts: Iterable[str] | None = None) -> None:
        """Start members: all, or those named."""
        contacts = None if contacts is None else tuple(contacts)
        for name in names if names is not None else self.hosts:
            self.hosts[name].core.resume(self.now, contacts)
            self._carry_out(self.hosts[name])

    def stop(self, name: str) -> None:
        """As the control port does."""
        self.hosts[name].core.stop(self.now)
        self._carry_out(self.hosts[name])

    def clear(self, name: str) -> None:
        """As the control port does."""
        self.hosts[name].core.clear()
        self._carry_out(self.hosts[name])

    def exchange(self, name: str, peer: str) -> None:
        """One exchange now, as far as `name` has a place for it."""
        if self.hosts[name].up:
            self.hosts[name].core.round(self.now, peer)
            self._carry_out(self.hosts[name])

    def crash(self, name: str) -> None:
        """SIGKILL: connections break, nobody listens."""
        host = self.hosts[name]
        host.up = False
        host.calls.clear()
        for (owner, conn), (peer, far) in [*self._links.items()]:
            if owner == name:
                del self._links[owner, conn]
                if self._links.pop((peer, far), None) is not None:
                    self._call(peer, lambda p=peer, f=far: self.hosts[p].core.lost(f, self.now, "reset"))  # type: ignore[misc]
        for key in [each for each in self.subscribed if each[0] == name]:
            del self.subscribed[key]
        answers, host.answers = host.answers, {}
        for answer in answers.values():
            answer(None)

    def restart(self, name: str) -> None:
        """Start again what crashed: memory is new, what was on disk is not."""
        host = self.hosts[name]
        host.core = self._core(host)
        host.up = True
        host.wake_at = float("inf")
        host.core.resume(self.now)
        self._carry_out(host)

    def pause(self, name: str) -> None:
        """SIGSTOP: the kernel still accepts, and everything waits."""
        self.hosts[name].paused = True

    def unpause(self, name: str) -> None:
        """SIGCONT."""
        host = self.hosts[name]
        host.paused = False
        while host.calls and not host.paused:
            host.calls.popleft()()
            self._carry_out(host)

    def server_at(self, address: int) -> str | None:
        """The member whose server really is at `address`."""
        return self._by_address.get(address)

    # What requests need

    def subscribe(self, name: str, sender: str, hear: Callable[[Message], None]) -> int:
        """The storage node beside `name` connects to it; the connection's number there."""
        host = self.hosts[name]
        conn = host.core.accepted(self.now)
        self.subscribed[name, conn] = hear
        self.tell(name, conn, sender, Subscribe())
        return conn

    def tell(self, name: str, conn: int, sender: str, message: Message) -> None:
        """A message from the storage node beside `name`, on its connection."""
        self._call(name, lambda: self.hosts[name].core.received(conn, sender, message, self.now))

    def place(self, name: str, number: int, peer: str, answer: Callable[[int | None], None]) -> None:
        """A balancer asks its own core for a place."""
        host = self.hosts[name]
        host.answers[number] = answer
        host.core.request(number, peer, self.now)
        self._carry_out(host)

    def release(self, name: str, number: int) -> None:
        """A balancer gives its place back."""
        host = self.hosts[name]
        host.answers.pop(number, None)
        if host.up:
            host.core.release(number, self.now)
            self._carry_out(host)

    # The network

    def _host(self, service: Service) -> Host:
        origin = Origin(
            name=service.name,
            address=service.address,
            generation=GENERATION,
            balancer=service.kind is Kind.BALANCER,
        )
        host = Host(service, self._make(origin), origin)
        self._carry_out(host)
        return host

    def _core(self, host: Host) -> Core:
        return self._make(
            msgspec.structs.replace(
                host.origin, heartbeats=host.heartbeats, kept_generation=host.generation, age_s=self.now
            )
        )

    def _make(self, origin: Origin) -> Core:
        others = {s.name: s.address for s in self._members.values() if s.name != origin.name}
        rng = Random(self.rng.getrandbits(64))
        return Core(origin, others, self.rules, self.defences, rng, now=self.now)

    def _call(self, name: str, call: Callable[[], None]) -> None:
        self.at(self.now + self.latency_s, lambda: self._serve(name, call))

    def _serve(self, name: str, call: Callable[[], None]) -> None:
        host = self.hosts[name]
        if host.paused:
            host.calls.append(call)
        elif host.up:
            call()
            self._carry_out(host)

    def _wake(self, host: Host, at: float) -> None:
        if host.wake_at == at:
            host.wake_at = float("inf")
            core = host.core
            self._serve(host.service.name, lambda: core.wake(self.now) if core is host.core else None)

    def _carry_out(self, host: Host) -> None:
        core = host.core
        while effects := core.drain():
            for effect in effects:
                self._effect(host, effect)
        at = core.wake_at
        if at is not None and at < host.wake_at:
            host.wake_at = at
            self.at(at, lambda: self._wake(host, at))

    def _effect(self, host: Host, effect: fx.Effect) -> None:
        name = host.service.name
        match effect:
            case fx.Send(conn, message):
                self._transmit(name, conn, message)
            case fx.Close(conn):
                self._close(name, conn)
            case fx.Dial(conn, address):
                self._dial(name, conn, address)
            case fx.Answer(number, address, _):
                answer = host.answers.pop(number, None)
                if answer is not None:
                    self.at(self.now, lambda: answer(address))
            case fx.Keep(generation):
                host.generation = generation
            case fx.Beat(heartbeats):
                host.heartbeats = heartbeats
            case fx.Log(event, fields):
                self.log.append((self.now, name, event, fields))
            case fx.Done():
                pass

    def _dial(self, name: str, conn: int, address: int) -> None:
        target = self._by_address.get(address)
        if target is None and self.rules.slow_failure:
            return
        if target is None or not self.hosts[target].up:
            self._call(name, lambda: self.hosts[name].core.lost(conn, self.now, "refused"))
            return
        self._call(target, lambda: self._accept(name, conn, target))

    def _accept(self, name: str, conn: int, target: str) -> None:
        far = self.hosts[target].core.accepted(self.now)
        self._links[name, conn] = (target, far)
        self._links[target, far] = (name, conn)
        self._call(name, lambda: self.hosts[name].core.connected(conn, self.now))

    def _close(self, name: str, conn: int) -> None:
        link = self._links.pop((name, conn), None)
        if link is not None:
            peer, far = link
            self._call(peer, lambda: self._closed(peer, far))

    def _closed(self, peer: str, far: int) -> None:
        self._links.pop((peer, far), None)
        self.hosts[peer].core.lost(far, self.now, "closed")

    def _transmit(self, name: str, conn: int, message: Message) -> None:
        hear = self.subscribed.get((name, conn))
        if hear is not None:
            self.after(self.latency_s, lambda: hear(message))
            return
        link = self._links.get((name, conn))
        if link is None:
            return
        peer, far = link
        carried: Message | Bad = message
        if self.flips and isinstance(message, State):
            carried = self._tamper(name, peer, message)
        if isinstance(carried, Bad):
            bad = carried
            self._call(peer, lambda: self.hosts[peer].core.refused(far, bad, self.now))
        else:
            good = carried
            self._call(peer, lambda: self.hosts[peer].core.received(far, name, good, self.now))

    def _tamper(self, sender: str, receiver: str, message: State) -> Message | Bad:
        for flip in self.flips:
            if (flip.sender, flip.receiver) == (sender, receiver) and any(
                entry.owner == flip.owner for entry in message.entries
            ):
                self.flips.remove(flip)
                self.flipped.append((self.now, flip))
                return self._flip(flip, message)
        return message

    def _flip(self, flip: FieldFlip, message: State) -> Message | Bad:
        sealed = "gossip-crc" in self.defences
        frame = bytearray(encode(message, flip.sender, sealed=sealed))
        (found,) = WIRE.open().up.feed(bytes(frame))
        assert isinstance(found, wire.Message)
        field = found.field(f"{flip.owner}.{flip.field}")
        assert field is not None
        byte, bit = field.locate(flip.bit)
        frame[field.at + byte] ^= 1 << bit
        if flip.repair:
            WIRE.reseal(frame)
        (judged,) = Framer(checked=sealed).feed(frame)
        return judged if isinstance(judged, Bad) else judged.message
