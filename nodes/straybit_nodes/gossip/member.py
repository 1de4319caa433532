"""A gossip member on real sockets: the edge that carries out what its core asks for.

A gossip node is one of these with a port; a balancer has one inside.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from straybit_nodes.config import NodeConfig
from straybit_nodes.control import ControlError
from straybit_nodes.dial import DialTable
from straybit_nodes.gossip import effects as fx
from straybit_nodes.gossip.codec import Bad, Frame, encode
from straybit_nodes.gossip.connection import Connection
from straybit_nodes.gossip.core import Core, Origin
from straybit_nodes.gossip.kept import Kept
from straybit_nodes.gossip.measures import Measures
from straybit_nodes.gossip.messages import Reason
from straybit_nodes.gossip.ring import FrameRing
from straybit_nodes.gossip.seal import key_of
from straybit_nodes.gossip.view import shown
from straybit_nodes.listening import end_listening
from straybit_nodes.logs import Log
from straybit_nodes.metrics import Metrics
from straybit_nodes.topology import Kind, Role

__all__ = ["GossipMember"]

INBOUND_MAX = 1024
"""Connections from others at a time; one more is closed at once."""
_BACKLOG = 256
_SILENT_WITHIN_S = 2.0


class GossipMember:
    """The member that `config.service` is, held until `resume`. Implements `control.Member`.

    Raises OSError when `config.data_dir` cannot be used.
    """

    def __init__(self, config: NodeConfig, *, log: Log, metrics: Metrics, dials: DialTable) -> None:
        service = config.service
        self._config = config
        self._log = log
        self._dials = dials
        self._kept = Kept(Path(config.data_dir))
        self._sealed = "gossip-crc" in config.defences
        self._ticks = config.ticks
        self._state = "held"
        self.core = Core(
            Origin(
                name=service.name,
                address=service.address,
                generation=config.generation + self._kept.left,
                balancer=service.kind is Kind.BALANCER,
                heartbeats=self._kept.heartbeats,
                kept_generation=self._kept.generation,
                age_s=self._kept.age_s,
                key=key_of(config.seed),
            ),
            {each.name: each.address for each in config.members if each.name != service.name},
            config.rules,
            config.defences,
            Random(f"{config.seed}/{service.name}"),
            now=time.monotonic(),
        )
        self._measures = Measures(metrics)
        self._server: asyncio.Server | None = None
        self._closing = False
        self._connections: dict[int, Connection] = {}
        self._open: set[Connection] = set()
        self._dialling: dict[int, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._frames = FrameRing()
        self._numbers = 0
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._ending: dict[int, asyncio.Future[str | None]] = {}
        self._silent = asyncio.Event()
        self._carry_out()

    # Life

    @property
    def port(self) -> int:
        """Where it listens, once open."""
        if self._server is None:
            raise RuntimeError("the member is not open yet; await open() first")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def state(self) -> str:
        """`held`, `running` or `stopped`."""
        return self._state

    async def open(self, host: str, port: int) -> None:
        """Listen for other members. Raises OSError when the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._incoming, host, port, reuse_address=True, backlog=_BACKLOG)

    async def close(self) -> None:
        """End everything: listener, connections, timers."""
        self._closing = True
        if self._server is not None:
            await end_listening(self._server)
        self.core.stop(time.monotonic())
        self._carry_out()
        if self._timer is not None:
            self._timer.cancel()
        for connection in [*self._open]:
            connection.abort()
        for task in [*self._dialling.values()]:
            task.cancel()
        await self._silence(subscribers=True)
        self._kept.close()

    async def resume(self, contacts: tuple[str, ...] | None) -> None:
        """Run; `contacts` are the configured members that may be spoken to before they are in the view."""
        self._enter("running")
        self.core.resume(time.monotonic(), contacts, ticks=self._ticks)
        self._carry_out()

    async def stop(self) -> None:
        """End all talk with other members; returns when every such connection is closed."""
        self._enter("stopped")
        self.core.stop(time.monotonic())
        self._carry_out()
        await self._silence()

    async def leave(self) -> None:
        """Say to a few others that this member leaves, then stop. Raises ControlError 409 unless it runs."""
        if self._state != "running":
            raise ControlError(409, f"this member is {self._state}; only a running one can leave")
        audience = self.core.leave()
        await asyncio.gather(*(self._round(peer) for peer in audience))
        await self.stop()

    async def clear(self) -> None:
        """Forget every entry and mark, in memory and on disk. Raises ControlError 409 while running."""
        if self._state == "running":
            raise ControlError(409, "this member is running; stop it before it is cleared")
        self.core.clear()
        self._carry_out()
        self._log.write("state", state=self._state, cleared=True)

    async def ticks(self, on: bool) -> None:
        """Turn rounds and heartbeats by time on or off."""
        self._ticks = on
        self.core.tick(time.monotonic(), on=on)
        self._carry_out()

    # What others ask of it

    def entries(self) -> dict[str, dict[str, int]]:
        """What is known of every member, itself included."""
        return {owner: shown(entry) for owner, entry in self.core.view.entries.items()}

    def marked(self) -> frozenset[str]:
        """Members that could not be reached when they were last tried."""
        return frozenset(self.core.marks)

    def view(self) -> dict[str, Any]:
        """As `GET /view` shows it."""
        core = self.core
        return {
            "name": core.name,
            "now": time.monotonic(),
            "state": self._state,
            "entries": self.entries(),
            "marked": sorted(core.marks),
            "originated": {
                "address": core.address,
                "status": core.status,
                "generation": core.generation,
                "heartbeats": core.heartbeats,
            },
            "busy": len(core.places.busy),
            "queued": len(core.places.waiting),
            "exchanges": dict(core.exchanges),
            "inflight": core.inflight,
        }

    def frames(self, since: int) -> dict[str, Any]:
        """Frames received, refused ones too, from sequence number `since` on, as far as they are kept."""
        return self._frames.since(since)

    async def exchange(self, peer: str) -> str | None:
        """One exchange with `peer` now; None when it went well. Raises ControlError."""
        return await self._round(peer)

    async def round(self, peer: str | None) -> None:
        """One round, with `peer` or a random member; over when it returns. Raises ControlError."""
        await self._round(peer)

    async def heartbeat(self) -> None:
        """One rise of the own version."""
        self.core.heartbeat()
        self._carry_out()

    async def originate(self, status: int) -> None:
        """Set the own status. Raises ControlError 400 when it is none."""
        if not 0 <= status <= 0xFF:
            raise ControlError(400, f"status must be 0 to 255, not {status}")
        self.core.originate(status)
        self._carry_out()

    @asynccontextmanager
    async def place(self, peer: str) -> AsyncIterator[int]:
        """Hold a place for a request leg to `peer`; gives its address. Raises ConnectionError when it is denied."""
        self._numbers += 1
        number = self._numbers
        granted = self._waiting[number] = asyncio.get_running_loop().create_future()
        self.core.request(number, peer, time.monotonic())
        self._carry_out()
        try:
            yield await granted
        finally:
            self._waiting.pop(number, None)
            self.core.release(number, time.monotonic())
            self._carry_out()

    async def _round(self, peer: str | None) -> str | None:
        if self._state != "running":
            raise ControlError(409, f"this member is {self._state}; resume it first")
        if peer is not None and (peer == self.core.name or self.core.peers.address(peer) is None):
            raise ControlError(400, f"{peer!r} is no other member; there are {', '.join(self.core.peers.known())}")
        self._numbers += 1
        over: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._ending[self._numbers] = over
        self.core.round(time.monotonic(), peer, done=self._numbers)
        self._carry_out()
        return await over

    # Connections

    def made(self, connection: Connection) -> None:
        """See Hearer."""
        now = time.monotonic()
        self._open.add(connection)
        if self._closing:
            connection.abort()
        elif connection.id:
            self._dialling.pop(connection.id, None)
            self._connections[connection.id] = connection
            self.core.connected(connection.id, now)
        elif len(self._open) > INBOUND_MAX:
            connection.abort()
        else:
            connection.id = self.core.accepted(now)
            self._connections[connection.id] = connection
        self._carry_out()

    def heard(self, connection: Connection, frames: list[Frame | Bad]) -> None:
        """See Hearer."""
        now = time.monotonic()
        for frame in frames:
            self._measures.received(frame.kind)
            self._frames.add(frame, now)
            if connection.id not in self._connections:
                continue
            if isinstance(frame, Bad):
                self.core.refused(connection.id, frame, now)
            else:
                self.core.received(connection.id, frame.sender, frame.message, now, frame.crc)
        self._carry_out()

    def gone(self, connection: Connection) -> None:
        """See Hearer."""
        self._open.discard(connection)
        if self._connections.pop(connection.id, None) is not None:
            self.core.lost(connection.id, time.monotonic(), "closed by the other side")
            self._carry_out()
        self._silent.set()

    def _incoming(self) -> Connection:
        return Connection(self, checked=self._sealed)

    async def _silence(self, *, subscribers: bool = False) -> None:
        """Wait until no connection is left, but those of subscribers unless they count too."""
        kept = 0 if subscribers else 1
        try:
            async with asyncio.timeout(_SILENT_WITHIN_S):
                while self._dialling or len(self._open) > kept * self.core.subscribers:
                    self._silent.clear()
                    await self._silent.wait()
        except TimeoutError:
            self._log.write("state", state=self._state, why=f"{len(self._open)} connections would not close")

    def _dial(self, number: int, address: int) -> None:
        place = self._dials.find(address, Role.GOSSIP)
        if place is not None:
            self._dialling[number] = asyncio.get_running_loop().create_task(self._connect(number, place))
        elif not self._config.rules.slow_failure:
            asyncio.get_running_loop().call_soon(self._undone, number, "nobody has that address")

    async def _connect(self, number: int, place: tuple[str, int]) -> None:
        connection = Connection(self, checked=self._sealed, number=number)
        try:
            await asyncio.get_running_loop().create_connection(lambda: connection, *place)
        except OSError as error:
            self._undone(number, str(error))
        finally:
            self._dialling.pop(number, None)
            self._silent.set()

    def _undone(self, number: int, why: str) -> None:
        self.core.lost(number, time.monotonic(), why)
        self._carry_out()

    # Effects

    def _wake(self) -> None:
        self._timer = None
        self.core.wake(time.monotonic())
        self._carry_out()

    def _carry_out(self) -> None:
        core = self.core
        for effect in core.drain():
            self._effect(effect)
        self._measures.measure(core)
        at = core.wake_at
        if at is None or (self._timer is not None and self._timer.when() <= at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(at, self._wake)

    def _effect(self, effect: fx.Effect) -> None:
        match effect:
            case fx.Send(number, message):
                connection = self._connections.get(number)
                if connection is not None:
                    connection.send(encode(message, self.core.name, sealed=self._sealed))
                    self._measures.sent(type(message).__name__.lower())
            case fx.Close(number):
                self._drop(number)
            case fx.Dial(number, address):
                self._dial(number, address)
            case fx.Answer(number, address, reason):
                self._answer(number, address, reason)
            case fx.Done(number, error):
                over = self._ending.pop(number, None)
                if over is not None and not over.done():
                    over.set_result(error)
            case fx.Beat(heartbeats):
                self._kept.beat(heartbeats)
            case fx.Left():
                self._kept.leave()
            case fx.Keep(generation):
                self._kept.keep(generation)
            case fx.Log(event, fields):
                self._measures.noticed(event, fields)
                self._log.write(event, **fields)

    def _drop(self, number: int) -> None:
        connection = self._connections.pop(number, None)
        if connection is not None:
            connection.close()
        task = self._dialling.pop(number, None)
        if task is not None:
            task.cancel()

    def _answer(self, number: int, address: int | None, reason: int) -> None:
        waiting = self._waiting.get(number)
        if waiting is None or waiting.done():
            return
        if address is None:
            waiting.set_exception(ConnectionError(f"no place for talking: {Reason(reason).name.lower()}"))
        else:
            waiting.set_result(address)

    def _enter(self, state: str) -> None:
        if self._state != state:
            self._state = state
            self._log.write("state", state=state)
