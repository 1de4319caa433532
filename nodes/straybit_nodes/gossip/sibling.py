"""A storage node's line to the gossip node beside it: what it knows, and places for talking to peers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from straybit_nodes.config import NodeConfig
from straybit_nodes.dial import DialTable
from straybit_nodes.gossip.codec import Bad, Frame, encode
from straybit_nodes.gossip.connection import Connection
from straybit_nodes.gossip.messages import Denied, Entry, Granted, Message, Place, Reason, Release, State, Subscribe
from straybit_nodes.gossip.ring import FrameRing
from straybit_nodes.gossip.seal import Seals, key_of
from straybit_nodes.gossip.view import shown
from straybit_nodes.logs import Log
from straybit_nodes.metrics import Metrics
from straybit_nodes.topology import Role

__all__ = ["Sibling"]

_AGAIN_AFTER_S = 0.02
_AGAIN_AFTER_MAX_S = 0.2


class Sibling:
    """One persistent connection, made again whenever it breaks; what is known stays until it is told otherwise.

    Implements `storage.server.Beside`.
    """

    def __init__(self, config: NodeConfig, *, log: Log, metrics: Metrics, dials: DialTable) -> None:
        self._name = config.service.name
        self._address = config.service.address
        self._sealed = "gossip-crc" in config.defences
        self._seals = Seals(key_of(config.seed)) if "entry-digest" in config.defences else None
        self._log = log
        self._metrics = metrics
        self._dials = dials
        self._entries: dict[str, Entry] = {}
        self._frames = FrameRing()
        self._numbers = 0
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._connection: Connection | None = None
        self._gone = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def entries(self) -> dict[str, dict[str, int]]:
        """What the gossip node told, by owner."""
        return {owner: shown(entry) for owner, entry in self._entries.items()}

    def frames(self, since: int) -> dict[str, Any]:
        """Frames that came from the gossip node, as `Member.frames` gives a member's."""
        return self._frames.since(since)

    @property
    def connected(self) -> bool:
        """Whether the line is up."""
        return self._connection is not None and self._connection.open

    async def start(self) -> None:
        """Connect and stay connected; returns at once."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._stay())

    async def stop(self) -> None:
        """Close the connection; whoever waits for a place is denied it."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        if self._connection is not None:
            self._gone.clear()
            self._connection.abort()
            if self._connection.open:
                await self._gone.wait()
            self._connection = None

    def clear(self) -> None:
        """Forget what was told."""
        self._entries.clear()

    @asynccontextmanager
    async def place(self, peer: str) -> AsyncIterator[int]:
        """Hold a place for talking to the member `peer`; gives its address.

        It is given back at the end, and when the wait for it is cancelled.
        Raises ConnectionError when it is denied or the line is down.
        """
        if not self.connected:
            raise ConnectionError("the gossip node beside this one cannot be reached")
        connection = self._connection
        self._numbers = self._numbers % 0xFFFFFFFF + 1
        number = self._numbers
        granted = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._send(Place(number, peer))
        try:
            yield await granted
        finally:
            self._waiting.pop(number, None)
            denied = granted.done() and not granted.cancelled() and granted.exception() is not None
            if not denied and self._connection is connection:
                self._send(Release(number))

    # The connection

    def made(self, connection: Connection) -> None:
        """See Hearer."""
        self._connection = connection
        self._send(Subscribe())

    def heard(self, connection: Connection, frames: list[Frame | Bad]) -> None:
        """See Hearer."""
        now = time.monotonic()
        for frame in frames:
            self._frames.add(frame, now)
            self._metrics.frames.labels("in", frame.kind).inc()
            if isinstance(frame, Bad):
                self._refuse(frame)
                connection.abort()
            else:
                self._take(frame)

    def gone(self, connection: Connection) -> None:
        """See Hearer."""
        if connection is self._connection or self._connection is None:
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(ConnectionError("the line to the gossip node broke"))
            self._gone.set()

    async def _stay(self) -> None:
        pause_s = _AGAIN_AFTER_S
        loop = asyncio.get_running_loop()
        while True:
            place = self._dials.find(self._address, Role.GOSSIP)
            began = loop.time()
            if place is not None:
                with contextlib.suppress(OSError):
                    self._gone.clear()
                    await loop.create_connection(lambda: Connection(self, checked=self._sealed), *place)
                    await self._gone.wait()
            lasted = loop.time() - began > 1.0
            pause_s = _AGAIN_AFTER_S if lasted else min(2 * pause_s, _AGAIN_AFTER_MAX_S)
            await asyncio.sleep(pause_s)

    def _take(self, frame: Frame) -> None:
        match frame.message:
            case State(entries, _, replace):
                if replace:
                    self._entries.clear()
                self._entries.update((entry.owner, entry) for entry in entries if self._whole(entry, frame))
            case Granted(number, address):
                waiting = self._waiting.get(number)
                if waiting is not None and not waiting.done():
                    waiting.set_result(address)
            case Denied(number, reason):
                waiting = self._waiting.get(number)
                if waiting is not None and not waiting.done():
                    waiting.set_exception(ConnectionError(f"no place for talking: {_words(reason)}"))
            case _:
                pass

    def _whole(self, entry: Entry, frame: Frame) -> bool:
        why = self._seals.check(entry) if self._seals is not None else None
        if why is not None:
            self._refuse(Bad("entry-digest", f"{entry.owner}: {why}", frame.kind, frame.sender, frame.crc))
        return why is None

    def _refuse(self, bad: Bad) -> None:
        self._metrics.detections.labels(bad.by).inc()
        if bad.by == "parse":
            self._log.write("parse-error", crc=bad.crc, why=bad.why, **{"from": bad.sender})
        else:
            self._log.write("refused", defence=bad.by, kind=bad.kind, crc=bad.crc, why=bad.why, **{"from": bad.sender})

    def _send(self, message: Message) -> None:
        if self._connection is not None:
            self._connection.send(encode(message, self._name, sealed=self._sealed))


def _words(reason: int) -> str:
    try:
        return Reason(reason).name.lower()
    except ValueError:
        return f"reason {reason}"
