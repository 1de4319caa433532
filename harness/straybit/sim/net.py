"""Gossip cores on virtual time: a network with latency, weather, black holes, crashes, pauses and flips.

Theory of operation.
Every event is a call at a time, and all that is drawn comes from the net's seed.
So two runs of a seed do the same in the same order, to the last bit.
A core is called with what came and the time, and then drained of what it wants done; connections carry that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random

import msgspec

from straybit.sim.connections import Connections
from straybit.sim.host import Host
from straybit.sim.pipe import SimProxies
from straybit.sim.timeline import NEVER, Timeline
from straybit.sim.weak import SOUND, Weak
from straybit.sim.weather import CALM, Weather
from straybit_nodes.gossip import effects as fx
from straybit_nodes.gossip.core import Core, Origin
from straybit_nodes.gossip.messages import Message
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.gossip.seal import key_of
from straybit_nodes.topology import GENERATION, Kind, Service, Topology

__all__ = ["SimNet"]


class SimNet(Timeline):
    """All members of `topology`, not running yet, on a time of their own that begins at `start`.

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
        super().__init__(start)
        self.topology = topology
        self.rules = rules
        self.defences = frozenset(defences)
        self.seed = seed
        self.latency_s = weather.latency_s
        self.ticks = ticks
        self.parts = parts
        self.log: list[tuple[float, str, str, dict[str, object]]] = []
        self.exits: list[tuple[float, str, str]] = []
        self.sealed = "gossip-crc" in self.defences
        self.proxies = SimProxies(self, parts, checked=self.sealed, bytewise=bytewise, record=record)
        self._connections = Connections(self, weather)
        self._numbers = 0
        self._members = {s.name: s for s in topology.members()}
        self._by_address = {s.address: s.name for s in self._members.values()}
        self._carry = {
            fx.Send: self._connections.transmit,
            fx.Close: self._connections.close,
            fx.Dial: self._connections.dial,
            fx.Answer: self._answer,
            fx.Done: self._done,
            fx.Keep: self._keep,
            fx.Left: self._left,
            fx.Beat: self._beat,
            fx.Log: self._write,
        }
        self.hosts = {name: self._host(service) for name, service in self._members.items()}

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
        self._connections.break_all(host)
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
        return self._connections.subscribe(self.hosts[name], sender, hear)

    def tell(self, name: str, conn: int, sender: str, message: Message) -> None:
        """A message from the storage node beside `name`, on its connection."""
        host = self.hosts[name]
        self.call(host, lambda: host.core.received(conn, sender, message, self.now))

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
                age_s=self.now - self.start,
            )
        )

    def _make(self, origin: Origin) -> Core:
        others = {s.name: s.address for s in self._members.values() if s.name != origin.name}
        rng = Random(f"{self.seed}/{origin.name}")
        return self.parts.core(origin, others, self.rules, self.defences, rng, now=self.now)

    def call(self, host: Host, call: Callable[[], None], delay_s: float | None = None) -> None:
        """Something comes to a member: after the latency, or after `delay_s`."""
        self.at(self.now + (self.latency_s if delay_s is None else delay_s), lambda: self.serve(host, call))

    def serve(self, host: Host, call: Callable[[], None]) -> None:
        """Something has come to a member: now, when it wakes up, or never."""
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
            core = host.core
            call = lambda: self.serve(host, lambda: core.wake(self.now) if core is host.core else None)  # noqa: E731
            self.at(at, call, lambda due: self._due(host, due))

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
