"""A UDP proxy: each client is a flow with a socket of its own to the upstream, and each datagram meets the toxics.

A flow ends when it was idle for `IDLE_S`, or when it is the oldest of too many.
A datagram is read by a new conversation of each wire, as a stream of its own.
`latency` delays each by itself, so jitter reorders; of Toxiproxy's other toxics only `timeout` has a meaning here.
What a socket does not take is lost, as UDP has it, and that is an event.
"""

from __future__ import annotations

import socket
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from straybit_faults.proxy.address import family_of
from straybit_faults.proxy.application import Reader
from straybit_faults.proxy.editor import Editor
from straybit_faults.proxy.errors import ApiError
from straybit_faults.proxy.proxy import Proxy
from straybit_faults.receipt import Receipt
from straybit_faults.toxics import Armed, Content, Matcher, Timer
from straybit_faults.toxics.delay import Delay
from straybit_faults.toxics.latency import Latency
from straybit_faults.toxics.timeout import Timeout
from straybit_faults.wire import Direction
from straybit_faults.wires import find_wire

if TYPE_CHECKING:
    from straybit_faults.proxy.server import Server

__all__ = ["IDLE_S", "MAX_FLOWS", "UdpProxy"]

MAX_FLOWS = 1_024
"""Clients of one proxy; the one that was silent longest makes room."""

IDLE_S = 60.0
"""A flow without a datagram for so long is forgotten."""

MAX_WAITING = 16_384
"""Datagrams of one proxy that toxics hold; beyond, `latency` loses them, and other toxics pass them on at once."""

_DATAGRAM = 65_536
_ROUNDS = 64
_SETTLED_S = 0.005  # after which a datagram was taken or counted as dropped by a receiver on this machine

Address = tuple[Any, ...]


class UdpProxy(Proxy):
    """See the module."""

    protocol = "udp"

    def __init__(self, server: Server, name: str, listen: str, upstream: str) -> None:
        super().__init__(server, name, listen, upstream)
        self.flows: OrderedDict[Address, Flow] = OrderedDict()
        self.waiting = 0
        self._sweeper: Timer | None = None

    def open_listener(self, host: str, port: int) -> socket.socket:
        """A bound socket. Raises OSError, and ApiError for an upstream that would have to be resolved."""
        if not self.is_numeric:
            raise ApiError.bad_body(f"the upstream of a udp proxy needs a numeric address, not {self.upstream}")
        listener = socket.socket(family_of(host), socket.SOCK_DGRAM)
        try:
            listener.setblocking(False)
            listener.bind((host, port))
        except OSError:
            listener.close()
            raise
        self._sweep()
        return listener

    def stop(self) -> None:
        """Close the listener and every flow."""
        super().stop()
        for flow in tuple(self.flows.values()):
            flow.close()
        self.flows.clear()
        if self._sweeper is not None:
            self._sweeper.cancel()

    def check(self, armed: Armed[Any]) -> None:
        """Datagrams have no stream offset, and most of Toxiproxy's toxics are about streams. Raises ApiError."""
        toxic = armed.attributes
        if isinstance(toxic, Delay) and toxic.wire != "datagram":
            raise ApiError.bad_body("delay holds whole datagrams: aim it by the wire datagram")
        if isinstance(toxic, Content) and toxic.offset is not None:
            raise ApiError.bad_body("a udp link has no stream offset; aim by wire and message")
        if not isinstance(toxic, Content | Latency | Timeout):
            raise ApiError.bad_body(f"toxic {armed.kind} has no meaning on a udp link")

    @property
    def is_busy(self) -> bool:
        """Whether a datagram is waiting for its time."""
        return self.waiting > 0

    def counts(self, direction: Direction) -> tuple[int, int]:
        """Bytes received and sent."""
        received, sent = self.past[direction]
        return received, sent

    def rearm(self) -> None:
        """Nothing: each datagram asks anew."""

    def ready(self) -> None:
        """Take what clients sent."""
        for _ in range(_ROUNDS):
            if self.listener is None:
                return
            try:
                data, address = self.listener.recvfrom(_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                continue  # an earlier answer could not be delivered
            flow = self._flow(address)
            if flow is not None:
                flow.pass_on(bytearray(data), Direction.UP)
        self.server.loop.soon.append(self.ready)

    def _flow(self, address: Address) -> Flow | None:
        flow = self.flows.get(address)
        if flow is None:
            if len(self.flows) >= MAX_FLOWS:
                self.flows.popitem(last=False)[1].close()
                self.event("full", reason=f"more than {MAX_FLOWS} flows: the oldest was forgotten")
            try:
                flow = Flow(self, address, self.number)
            except OSError as error:
                self.event("full", reason=f"no socket for the upstream: {error}")
                return None
            self.flows[address] = flow
            self.number += 1
        self.seen(flow)
        return flow

    def seen(self, flow: Flow) -> None:
        """A datagram came, from either side: the flow that was silent longest stays in front."""
        self.flows.move_to_end(flow.address)
        flow.used = time.monotonic()

    def _sweep(self) -> None:
        now = time.monotonic()
        while self.flows and next(iter(self.flows.values())).used < now - IDLE_S:
            self.flows.popitem(last=False)[1].close()
        self._sweeper = self.server.loop.at(now + IDLE_S / 4, self._sweep)


class Flow:
    """One client and its socket to the upstream."""

    def __init__(self, proxy: UdpProxy, address: Address, number: int) -> None:
        self.proxy = proxy
        self.address = address
        self.number = number
        self.source = str(address[0])
        self.used = 0.0
        host, port = proxy.target
        self.upstream = socket.socket(family_of(host), socket.SOCK_DGRAM)
        self.upstream.setblocking(False)
        self.upstream.connect((host, port))
        self.closed = False
        self.behind: deque[Callable[[], None]] = deque()
        """What waits for the datagram that is passing."""
        proxy.server.loop.add(self.upstream.fileno(), lambda _: self._ready())

    def close(self) -> None:
        """Forget the client; what is still delayed is lost."""
        self.closed = True
        self.proxy.server.loop.remove(self.upstream.fileno())
        self.upstream.close()

    def _ready(self) -> None:
        for _ in range(_ROUNDS):
            if self.closed:
                return
            try:
                data = self.upstream.recv(_DATAGRAM)
            except BlockingIOError:
                return
            except OSError as error:
                self.proxy.event("refused", connection=self.number, reason=f"{self.proxy.upstream}: {error.strerror}")
                continue
            self.proxy.seen(self)
            self.pass_on(bytearray(data), Direction.DOWN)
        self.proxy.server.loop.soon.append(self._ready)

    def pass_on(self, data: bytearray, direction: Direction) -> None:
        """One datagram through the toxics."""
        self.proxy.past[direction][0] += len(data)
        matchers = self.proxy.matchers_for(self, direction)
        wires = dict.fromkeys(matcher.armed.attributes.wire for matcher in matchers)
        self._read(
            data, direction, [(name, [m for m in matchers if m.armed.attributes.wire == name]) for name in wires]
        )
        self.catch_up()

    def catch_up(self) -> None:
        """Do what waited for a datagram to pass."""
        while self.behind and not self.closed:
            self.behind.popleft()()

    def _read(self, data: bytearray, direction: Direction, todo: list[tuple[str, list[Matcher]]]) -> None:
        """Wire by wire; what one makes of a datagram is read by the next."""
        if not todo:
            self._delay(bytes(data), direction, [])
            return
        (name, matchers), rest = todo[0], todo[1:]
        datagram = Datagram(
            self, direction, lambda d, r: self._read(d, direction, rest) if rest else self._delay(d, direction, r)
        )
        datagram.read(name, matchers, data)

    def _delay(self, data: bytes | bytearray, direction: Direction, receipts: list[Receipt]) -> None:
        wait = 0.0
        for armed in self.proxy.timing_for(self, direction):
            if isinstance(armed.attributes, Timeout):
                return
            wait += armed.attributes.delay_s(self.proxy.server.random.random())
        if not wait:
            self._send(data, direction, receipts)
        elif self.proxy.waiting < MAX_WAITING:
            self.proxy.waiting += 1
            self.proxy.server.loop.at(time.monotonic() + wait, lambda: self._late(data, direction, receipts))
        else:
            self.proxy.event("full", connection=self.number, reason=f"more than {MAX_WAITING} datagrams waiting")

    def _late(self, data: bytes | bytearray, direction: Direction, receipts: list[Receipt]) -> None:
        self.proxy.waiting -= 1
        self._send(data, direction, receipts)

    def _send(self, data: bytes | bytearray, direction: Direction, receipts: list[Receipt]) -> None:
        listener = self.proxy.listener
        if self.closed or listener is None:
            return
        port = self.proxy.target[1] if direction is Direction.UP else int(self.address[1])
        dropped = _drops(port) if receipts else 0
        try:
            if direction is Direction.UP:
                self.upstream.send(data)
            else:
                listener.sendto(data, self.address)
        except OSError as error:
            self.proxy.event("dropped", connection=self.number, reason=f"not sent: {error.strerror}")
            return
        self.proxy.past[direction][1] += len(data)
        self._certify(receipts, port, dropped)

    def _certify(self, receipts: list[Receipt], port: int, dropped: int) -> None:
        """Sent; and delivered, unless the receiver's socket counted a drop meanwhile."""
        now = time.monotonic()
        for receipt in receipts:
            receipt.sent = now

        def settle() -> None:
            for receipt in receipts:
                receipt.delivered = now if _drops(port) == dropped else None

        if receipts:
            self.proxy.server.loop.at(now + _SETTLED_S, settle)


class Datagram:
    """One datagram as an editor's stream: what comes out is handed to `done`, each message by itself."""

    closing = False
    accepted = 0

    def __init__(self, flow: Flow, direction: Direction, done: Callable[[bytearray, list[Receipt]], None]) -> None:
        self.flow = flow
        self.direction = direction
        self.number = flow.number
        self.done = done
        self.receipts: list[Receipt] = []
        self.joined: bytearray | None = None

    def read(self, wire: str, matchers: list[Matcher], data: bytearray) -> None:
        """Have one wire and its toxics at it; pieces of one datagram are put together again."""
        server = self.flow.proxy.server
        editor = Editor(self, server.book, server.events, proxy=self.flow.proxy.name, base=0, watch=self)
        editor.next = self
        found = find_wire(wire)
        conversation = found.open()
        editor.add_reader(Reader(found, conversation.up if self.direction is Direction.UP else conversation.down, 0))
        editor.arm(matchers)
        self.joined = None if wire == "datagram" else bytearray()
        editor.push(memoryview(data))
        if self.joined is not None:
            editor.end()
            self.done(self.joined, self.receipts)

    def push(self, data: bytes | bytearray | memoryview) -> None:
        """Bytes that come out."""
        if self.joined is not None:
            self.joined += data
        else:
            receipts, self.receipts = self.receipts, []
            self.done(bytearray(data), receipts)

    def end(self) -> None:
        """A datagram has no end of its own."""

    def add(self, offset: int, receipt: Receipt) -> None:
        """Certified once it is sent."""
        self.receipts.append(receipt)

    def now(self) -> float:
        """CLOCK_MONOTONIC seconds."""
        return time.monotonic()

    def at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call back at `when`, or at once where too many datagrams wait."""
        proxy = self.flow.proxy
        if proxy.waiting >= MAX_WAITING:
            proxy.event("full", connection=self.number, reason=f"more than {MAX_WAITING} datagrams waiting")
            when = 0.0
        return _Wait(proxy, when, callback)

    def later(self, callback: Callable[[], None]) -> None:
        """Call back behind the datagram that is passing, unless the flow is gone by then."""
        self.flow.behind.append(callback)
        self.flow.proxy.server.loop.soon.append(self.flow.catch_up)


class _Wait:
    """A datagram that a toxic holds: counted until its time has come, or somebody takes it."""

    def __init__(self, proxy: UdpProxy, when: float, callback: Callable[[], None]) -> None:
        self.proxy = proxy
        self.callback = callback
        self.waits = True
        proxy.waiting += 1
        self.timer = proxy.server.loop.at(when, self._due)

    def cancel(self) -> None:
        """Forget the callback; harmless when it has run."""
        self.timer.cancel()
        self._end()

    def _due(self) -> None:
        self._end()
        self.callback()

    def _end(self) -> None:
        self.proxy.waiting -= self.waits
        self.waits = False


def _drops(port: int) -> int:
    """Datagrams that sockets of this machine bound to `port` had no room for (proc(5), /proc/net/udp)."""
    try:
        lines = Path("/proc/net/udp").read_text().splitlines()[1:]
    except OSError:
        return 0
    suffix = f":{port:04X}"
    return sum(int(line.split()[-1]) for line in lines if line.split()[1].endswith(suffix))
