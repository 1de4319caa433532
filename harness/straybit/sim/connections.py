"""Connections between members on virtual time: dialled, lost, cut, closed; messages as objects, or as flipped bytes.

Theory of operation.
Messages travel as objects, which costs a tenth of encoding them;
on a link that has a toxic they travel as the bytes that the real nodes send, through the proxy's own editor,
and the receiver's framer judges what comes out, an early end of the stream included.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from straybit.sim.half import Half
from straybit.sim.host import End, Host, Line
from straybit.sim.weather import Weather
from straybit_faults.receipt import Receipt
from straybit_nodes.gossip import effects as fx
from straybit_nodes.gossip.codec import Bad, Frame
from straybit_nodes.gossip.messages import Message, Subscribe

if TYPE_CHECKING:
    from straybit.sim.net import SimNet

__all__ = ["Connections"]


class Connections:
    """All of `net`, under `weather`, whose draws come from the net's seed. `latency_s` is one way."""

    def __init__(self, net: SimNet, weather: Weather) -> None:
        self.net = net
        self._weather = weather
        self._uneven = bool(weather.jitter_s or weather.loss)
        self._draw = Random(f"{net.seed}/weather").random
        self._subscribed: dict[tuple[str, int], Callable[[Message], None]] = {}

    # What a core wants done

    def dial(self, host: Host, effect: fx.Dial) -> None:
        """A member wants a connection to an address; nobody may be there."""
        net, conn = self.net, effect.id
        target = net.server_at(effect.address)
        if target is None and net.rules.slow_failure:
            return
        if target is None or not net.hosts[target].up:
            net.call(host, lambda: host.core.lost(conn, net.now, "refused"))
            return
        if not (self._uneven and self._draw() < self._weather.loss):
            there = net.hosts[target]
            net.call(there, lambda: self._accept(host, conn, there), self._delay())

    def transmit(self, host: Host, effect: fx.Send) -> None:
        """A member sends a message on a connection, which may be gone."""
        message = effect.message
        end = host.ends.get(effect.id)
        if end is None:
            self._tell_subscriber(host, effect.id, message)
        elif end.half is not None:
            self._transmit_bytes(host, end, end.half, message)
        else:
            name = host.service.name
            self._arrive(end, lambda peer, far: self._received(peer, far, name, message))

    def close(self, host: Host, effect: fx.Close) -> None:
        """A member ends a connection; what was sent before comes before the end."""
        end = host.ends.pop(effect.id, None)
        if end is None:
            return
        found, receipts = end.half.close() if end.half is not None else ([], [])
        self._arrive(end, lambda peer, far: self._closed(peer, far, found, receipts))

    def break_all(self, host: Host) -> None:
        """A member's process is gone: its peers see a reset, its subscriber nothing more."""
        net = self.net
        ends, host.ends = host.ends, {}
        for end in ends.values():
            peer = net.hosts[end.peer]
            if peer.ends.pop(end.far, None) is not None:
                net.call(peer, lambda p=peer, f=end.far: p.core.lost(f, net.now, "reset"))  # type: ignore[misc]
        for key in [each for each in self._subscribed if each[0] == host.service.name]:
            del self._subscribed[key]

    def subscribe(self, host: Host, sender: str, hear: Callable[[Message], None]) -> int:
        """The storage node beside `host` connects to it; the connection's number there."""
        net = self.net
        conn = host.core.accepted(net.now)
        self._subscribed[host.service.name, conn] = hear
        net.call(host, lambda: host.core.received(conn, sender, Subscribe(), net.now))
        return conn

    def _tell_subscriber(self, host: Host, conn: int, message: Message) -> None:
        hear = self._subscribed.get((host.service.name, conn))
        if hear is not None:
            self.net.after(self.net.latency_s, lambda: hear(message))

    # What comes

    def _accept(self, host: Host, conn: int, there: Host) -> None:
        net = self.net
        far = there.core.accepted(net.now)
        line = Line(f"{host.service.name}:{there.service.name}")
        up, down = self._halves(host, there)
        host.ends[conn] = End(there.service.name, far, line, up)
        there.ends[far] = End(host.service.name, conn, line, down)
        net.call(host, lambda: host.core.connected(conn, net.now), self._delay())

    def _halves(self, host: Host, there: Host) -> tuple[Half[Frame | Bad] | None, Half[Frame | Bad] | None]:
        proxies = self.net.proxies
        if proxies.idle:
            return None, None
        return proxies.open(host.service.name, there.service.name) or (None, None)

    def _closed(self, peer: Host, far: int, found: list[Frame | Bad], receipts: list[Receipt]) -> None:
        if found or receipts:
            self._hear(peer, far, found, receipts)
        if peer.ends.pop(far, None) is not None:
            peer.core.lost(far, self.net.now, "closed")

    def _received(self, peer: Host, far: int, sender: str, message: Message) -> None:
        peer.heard += 1
        peer.core.received(far, sender, message, self.net.now)

    def _transmit_bytes(self, host: Host, end: End, half: Half[Frame | Bad], message: Message) -> None:
        net = self.net
        frame = net.parts.encode(message, host.service.name, sealed=net.sealed)
        net.proxies.passed(end.line.link, half.direction, frame, type(message).__name__.lower())
        found, receipts = half.carry(frame)
        self._arrive(end, lambda peer, far: self._hear(peer, far, found, receipts))

    def _hear(self, peer: Host, far: int, found: list[Frame | Bad], receipts: list[Receipt]) -> None:
        """Frames that came as bytes, as the real edge takes them."""
        now = self.net.now
        for receipt in receipts:
            receipt.delivered = now
        for frame in found:
            peer.heard += 1
            peer.frames.append((peer.framed, now, frame.sender, frame.kind, frame.crc))
            peer.framed += 1
            if far not in peer.ends:
                continue
            if isinstance(frame, Bad):
                peer.core.refused(far, frame, now)
            else:
                peer.core.received(far, frame.sender, frame.message, now, frame.crc)

    # The network between

    def _delay(self) -> float:
        usual = self.net.latency_s
        return usual + self._draw() * self._weather.jitter_s if self._uneven else usual

    def _arrive(self, end: End, call: Callable[[Host, int], None]) -> None:
        """What `end` sent comes to the other side, in order, unless the network loses it and the connection with it."""
        net = self.net
        peer, far = net.hosts[end.peer], end.far
        if not self._uneven:
            net.call(peer, lambda: call(peer, far))
            return
        line = end.line
        line.lost = line.lost or self._draw() < self._weather.loss
        if not line.lost:
            end.clear_at = max(end.clear_at, net.now + self._delay())
            net.at(end.clear_at, lambda: net.serve(peer, lambda: call(peer, far)))
