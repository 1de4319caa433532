"""Gossip cores on virtual time: a network with latency, weather, black holes, crashes, pauses and flips.

Theory of operation.
Every event is a call at a time, in one heap; ties are served in the order they were made, and nothing else decides.
All that is drawn comes from the net's seed. So two runs of a seed do the same in the same order, to the last bit.
Messages travel as objects, which costs a tenth of encoding them;
on a link that has a toxic they travel as the bytes that the real nodes send, through the proxy's own editor,
and the receiver's framer judges what comes out, an early end of the stream included.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from random import Random

import msgspec

from straybit.sim.pipe import Half, SimProxies
from straybit.sim.weak import SOUND, Weak
from straybit.sim.weather import CALM, Weather
from straybit_faults.receipt import Receipt
from straybit_nodes.gossip import effects as fx
from straybit_nodes.gossip.codec import Bad, Frame
from straybit_nodes.gossip.core import Core, Origin
from straybit_nodes.gossip.messages import Message, Subscribe
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.gossip.seal import key_of
from straybit_nodes.topology import GENERATION, Kind, Service, Topology

__all__ = ["SETTLE_EVENTS", "Host", "SimNet"]

NEVER = float("inf")
FRAMES_KEPT = 4096
SETTLE_EVENTS = 200_000
"""Events that `settle` lets happen at most: far beyond what one exchange sets off, far below an endless storm."""


class _Line:
    """One connection: whether the network lost it, and the link and number it has."""

    __slots__ = ("link", "lost")

    def __init__(self, link: str) -> None:
        self.link = link
        self.lost = False


class _End:
    """One side of a connection: who is on the other side and under which number, and what carries its bytes there."""

    __slots__ = ("clear_at", "far", "half", "line", "peer")

    def __init__(self, peer: str, far: int, line: _Line, half: Half | None) -> None:
        self.peer = peer
        self.far = far
        self.line = line
        self.half = half
        self.clear_at = 0.0


class Host:
    """One member and what survives its crashes. `up` False: nobody listens; `paused`: everything waits.

    `frames` are the last that came as bytes, by number: when, from whom, of which kind, and the CRC32C of all of it.
    """

    __slots__ = (
        "answers",
        "calls",
        "core",
        "ends",
        "framed",
        "frames",
        "generation",
        "heard",
        "heartbeats",
        "left",
        "origin",
        "over",
        "paused",
        "service",
        "state",
        "up",
        "wake_at",
    )

    def __init__(self, service: Service, core: Core, origin: Origin) -> None:
        self.service = service
        self.core = core
        self.origin = origin
        self.up = True
        self.paused = False
        self.state = "held"
        self.calls: deque[Callable[[], None]] = deque()
        self.ends: dict[int, _End] = {}
        self.wake_at = NEVER
        self.generation: int | None = None
        self.heartbeats = 0
        self.left = 0
        self.heard = 0
        self.framed = 0
        self.frames: deque[tuple[int, float, str, str, int]] = deque(maxlen=FRAMES_KEPT)
        self.answers: dict[int, Callable[[int | None], None]] = {}
        self.over: dict[int, Callable[[str | None], None]] = {}


class SimNet:
    """All members of `topology`, not running yet. `now` is virtual seconds, and begins at `start`.

    `ticks` False turns the members' timers off: rounds are stepped.
    `parts` are what every node is made of.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        rules: Rules,
        defences: Iterable[str] = (),
        seed: int = 0,
        weather: Weather = CALM,
        ticks: bool = True,
        parts: Weak = SOUND,
        bytewise: bool = False,
        record: bool = False,
        start: float = 0.0,
    ) -> None:
        self.topology = topology
        self.rules = rules
        self.defences = frozenset(defences)
        self.seed = seed
        self.now = start
        self._start = start
        self.latency_s = weather.latency_s
        self.ticks = ticks
        self.parts = parts
        self.log: list[tuple[float, str, str, dict[str, object]]] = []
        self.exits: list[tuple[float, str, str]] = []
        self._weather = weather
        self._uneven = bool(weather.jitter_s or weather.loss)
        self._draw = Random(f"{seed}/weather").random
        self._heap: list[tuple[float, int, Callable[[], None], Host | None]] = []
        self._seq = 0
        self._numbers = 0
        self._members = {s.name: s for s in topology.members()}
        self._by_address = {s.address: s.name for s in self._members.values()}
        self._sealed = "gossip-crc" in self.defences
        self.proxies = SimProxies(self, parts, checked=self._sealed, bytewise=bytewise, record=record)
        self.subscribed: dict[tuple[str, int], Callable[[Message], None]] = {}
        self._carry = {
            fx.Send: self._transmit,
            fx.Close: self._close,
            fx.Dial: self._dial,
            fx.Answer: self._answer,
            fx.Done: self._done,
            fx.Keep: self._keep,
            fx.Left: self._left,
            fx.Beat: self._beat,
            fx.Log: self._write,
        }
        self.hosts = {name: self._host(service) for name, service in self._members.items()}

    # Time

    def at(self, time: float, call: Callable[[], None]) -> None:
        """Call at `time`."""
        self._seq += 1
        heappush(self._heap, (time, self._seq, call, None))

    def after(self, delay_s: float, call: Callable[[], None]) -> None:
        """Call in `delay_s`."""
        self.at(self.now + delay_s, call)

    def run(self, until: float) -> None:
        """Let virtual time pass."""
        while self.step(until):
            pass
        self.now = max(self.now, until)

    def step(self, until: float = NEVER) -> bool:
        """Let the next thing happen; False when nothing does up to `until`."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            at, _, call, host = heappop(heap)
            if host is None or self._due(host, at):
                self.now = at
                call()
                return True
        return False

    def settle(self) -> None:
        """Let time pass until nothing is under way; for nets without ticks. Raises RuntimeError for a storm."""
        for _ in range(SETTLE_EVENTS):
            if not self.step():
                return
        raise RuntimeError(f"the net did not come to rest within {SETTLE_EVENTS} events; is a timer on?")

    # What operators and faults do

    def resume(self, names: Iterable[str] | None = None, contacts: Iterable[str] | None = None) -> None:
        """Start members: all, or those named."""
        contacts = None if contacts is None else tuple(contacts)
        for name in names if names is not None else self.hosts:
            host = self.hosts[name]
            host.state = "running"
            host.core.resume(self.now, contacts, ticks=self.ticks)
            self._carry_out(host)

    def stop(self, name: str) -> None:
        """As the control port does."""
        host = self.hosts[name]
        host.state = "stopped"
        host.core.stop(self.now)
        self._carry_out(host)

    def clear(self, name: str) -> None:
        """As the control port does."""
        self.hosts[name].core.clear()
        self._carry_out(self.hosts[name])

    def exchange(self, name: str, peer: str, over: Callable[[str | None], None] = lambda _: None) -> None:
        """One exchange now; `over` hears what went wrong, or None."""
        host = self.hosts[name]
        if not host.up:
            over(f"{name} is not running")
            return
        self._numbers += 1
        host.over[self._numbers] = over
        host.core.round(self.now, peer, done=self._numbers)
        self._carry_out(host)

    def heartbeat(self, name: str) -> None:
        """One rise of the own version."""
        host = self.hosts[name]
        if host.up:
            host.core.heartbeat()
            self._carry_out(host)

    def tick(self, name: str, *, on: bool) -> None:
        """Turn a member's rounds and heartbeats on or off."""
        self.hosts[name].core.tick(self.now, on=on)
        self._carry_out(self.hosts[name])

    def carry_out(self, name: str) -> None:
        """Do what a member's core wants done; after a call to it from outside."""
        self._carry_out(self.hosts[name])

    def crash(self, name: str) -> None:
        """SIGKILL: connections break, nobody listens."""
        host = self.hosts[name]
        host.up = False
        host.calls.clear()
        host.wake_at = NEVER
        ends, host.ends = host.ends, {}
        for end in ends.values():
            peer = self.hosts[end.peer]
            if peer.ends.pop(end.far, None) is not None:
                self._call(peer, lambda p=peer, f=end.far: p.core.lost(f, self.now, "reset"))  # type: ignore[misc]
        for key in [each for each in self.subscribed if each[0] == name]:
            del self.subscribed[key]
        answers, host.answers = host.answers, {}
        over, host.over = host.over, {}
        for answer in answers.values():
            answer(None)
        for ended in over.values():
            ended(f"{name} ended")

    def restart(self, name: str) -> None:
        """Start again what crashed: memory is new, what was on disk is not."""
        host = self.hosts[name]
        host.core = self._core(host)
        host.up = True
        host.paused = False
        host.wake_at = NEVER
        self.resume([name])

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
        host = self.hosts[name]
        self._call(host, lambda: host.core.received(conn, sender, message, self.now))

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

    # Hosts

    def _host(self, service: Service) -> Host:
        origin = Origin(
            name=service.name,
            address=service.address,
            generation=GENERATION,
            balancer=service.kind is Kind.BALANCER,
            key=key_of(self.seed),
        )
        host = Host(service, self._make(origin), origin)
        self._carry_out(host)
        return host

    def _core(self, host: Host) -> Core:
        return self._make(
            msgspec.structs.replace(
                host.origin,
                generation=host.origin.generation + host.left,
                heartbeats=host.heartbeats,
                kept_generation=host.generation,
                age_s=self.now - self._start,
            )
        )

    def _make(self, origin: Origin) -> Core:
        others = {s.name: s.address for s in self._members.values() if s.name != origin.name}
        rng = Random(f"{self.seed}/{origin.name}")
        return self.parts.core(origin, others, self.rules, self.defences, rng, now=self.now)

    def _call(self, host: Host, call: Callable[[], None], delay_s: float | None = None) -> None:
        self.at(self.now + (self.latency_s if delay_s is None else delay_s), lambda: self._serve(host, call))

    def _serve(self, host: Host, call: Callable[[], None]) -> None:
        if host.paused:
            host.calls.append(call)
        elif host.up:
            try:
                call()
            except Exception as error:
                if self.parts is SOUND:
                    raise
                self._died(host, error)
            else:
                self._carry_out(host)

    def _died(self, host: Host, error: Exception) -> None:
        """A weak node's code raised: its process is gone."""
        self.exits.append((self.now, host.service.name, f"{type(error).__name__}: {error}"))
        self.crash(host.service.name)

    def _due(self, host: Host, at: float) -> bool:
        """Whether a wake at that time still stands; one that moved away is set anew."""
        if host.wake_at != at:
            return False
        host.wake_at = NEVER
        due = host.core.wake_at
        if due is None or due > at:
            self._set_wake(host)
            return False
        return True

    def _set_wake(self, host: Host) -> None:
        at = host.core.wake_at
        if at is not None and at < host.wake_at:
            host.wake_at = at
            self._seq += 1
            core = host.core
            call = lambda: self._serve(host, lambda: core.wake(self.now) if core is host.core else None)  # noqa: E731
            heappush(self._heap, (at, self._seq, call, host))

    def _carry_out(self, host: Host) -> None:
        core = host.core
        while effects := core.drain():
            for effect in effects:
                self._carry[type(effect)](host, effect)  # type: ignore[operator]
        self._set_wake(host)

    # Effects

    def _answer(self, host: Host, effect: fx.Answer) -> None:
        answer = host.answers.pop(effect.number, None)
        if answer is not None:
            self.at(self.now, lambda: answer(effect.address))

    def _done(self, host: Host, effect: fx.Done) -> None:
        over = host.over.pop(effect.number, None)
        if over is not None:
            self.at(self.now, lambda: over(effect.error))

    def _keep(self, host: Host, effect: fx.Keep) -> None:
        host.generation = effect.generation

    def _left(self, host: Host, _: fx.Left) -> None:
        host.left += 1

    def _beat(self, host: Host, effect: fx.Beat) -> None:
        host.heartbeats = effect.heartbeats

    def _write(self, host: Host, effect: fx.Log) -> None:
        self.log.append((self.now, host.service.name, effect.event, effect.fields))

    def _dial(self, host: Host, effect: fx.Dial) -> None:
        target = self._by_address.get(effect.address)
        if target is None and self.rules.slow_failure:
            return
        conn = effect.id
        if target is None or not self.hosts[target].up:
            self._call(host, lambda: host.core.lost(conn, self.now, "refused"))
            return
        if not (self._uneven and self._draw() < self._weather.loss):
            there = self.hosts[target]
            self._call(there, lambda: self._accept(host, conn, there), self._delay())

    def _accept(self, host: Host, conn: int, there: Host) -> None:
        far = there.core.accepted(self.now)
        line = _Line(f"{host.service.name}:{there.service.name}")
        up, down = self._halves(host, there)
        host.ends[conn] = _End(there.service.name, far, line, up)
        there.ends[far] = _End(host.service.name, conn, line, down)
        self._call(host, lambda: host.core.connected(conn, self.now), self._delay())

    def _halves(self, host: Host, there: Host) -> tuple[Half | None, Half | None]:
        if self.proxies.idle:
            return None, None
        return self.proxies.open(host.service.name, there.service.name) or (None, None)

    def _close(self, host: Host, effect: fx.Close) -> None:
        end = host.ends.pop(effect.id, None)
        if end is None:
            return
        found, receipts = end.half.close() if end.half is not None else ([], [])
        self._arrive(end, lambda peer, far: self._closed(peer, far, found, receipts))

    def _closed(self, peer: Host, far: int, found: list[Frame | Bad], receipts: list[Receipt]) -> None:
        if found or receipts:
            self._hear(peer, far, found, receipts)
        if peer.ends.pop(far, None) is not None:
            peer.core.lost(far, self.now, "closed")

    def _transmit(self, host: Host, effect: fx.Send) -> None:
        message = effect.message
        end = host.ends.get(effect.id)
        if end is None:
            hear = self.subscribed.get((host.service.name, effect.id))
            if hear is not None:
                self.after(self.latency_s, lambda: hear(message))
            return
        if end.half is not None:
            self._transmit_bytes(host, end, end.half, message)
            return
        name = host.service.name
        self._arrive(end, lambda peer, far: self._received(peer, far, name, message))

    def _received(self, peer: Host, far: int, sender: str, message: Message) -> None:
        peer.heard += 1
        peer.core.received(far, sender, message, self.now)

    def _transmit_bytes(self, host: Host, end: _End, half: Half, message: Message) -> None:
        frame = self.parts.encode(message, host.service.name, sealed=self._sealed)
        self.proxies.passed(end.line.link, half.direction, frame, type(message).__name__.lower())
        found, receipts = half.carry(frame)
        self._arrive(end, lambda peer, far: self._hear(peer, far, found, receipts))

    def _hear(self, peer: Host, far: int, found: list[Frame | Bad], receipts: list[Receipt]) -> None:
        """Frames that came as bytes, as the real edge takes them."""
        for receipt in receipts:
            receipt.delivered = self.now
        for frame in found:
            peer.heard += 1
            peer.frames.append((peer.framed, self.now, frame.sender, frame.kind, frame.crc))
            peer.framed += 1
            if far not in peer.ends:
                continue
            if isinstance(frame, Bad):
                peer.core.refused(far, frame, self.now)
            else:
                peer.core.received(far, frame.sender, frame.message, self.now, frame.crc)

    # The network

    def _delay(self) -> float:
        return self.latency_s + self._draw() * self._weather.jitter_s if self._uneven else self.latency_s

    def _arrive(self, end: _End, call: Callable[[Host, int], None]) -> None:
        """What `end` sent comes to the other side, in order, unless the network loses it and the connection with it."""
        peer, far = self.hosts[end.peer], end.far
        if not self._uneven:
            self.at(self.now + self.latency_s, lambda: self._serve(peer, lambda: call(peer, far)))
            return
        line = end.line
        line.lost = line.lost or self._draw() < self._weather.loss
        if not line.lost:
            end.clear_at = max(end.clear_at, self.now + self._delay())
            self.at(end.clear_at, lambda: self._serve(peer, lambda: call(peer, far)))
