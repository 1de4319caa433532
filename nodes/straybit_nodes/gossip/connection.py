"""One TCP connection that carries gossip frames, as an asyncio protocol."""

from __future__ import annotations

import asyncio
from typing import Protocol

from straybit_nodes.gossip.codec import Bad, Frame, Framer

__all__ = ["Connection", "Hearer"]

_UNREAD_MAX = 4 << 20
"""Bytes that may wait for a peer that does not read; one that lets more pile up is cut off."""


class Hearer(Protocol):
    """Who owns connections."""

    def made(self, connection: Connection) -> None:
        """It is up."""

    def heard(self, connection: Connection, frames: list[Frame | Bad]) -> None:
        """Frames came; a `Bad` is the last."""

    def gone(self, connection: Connection) -> None:
        """It ended, by whoever's doing."""


class Connection(asyncio.Protocol):
    """`id` is the owner's number for it; `checked` wants checksums on what comes."""

    __slots__ = ("_framer", "_hearer", "id", "open", "transport")

    def __init__(self, hearer: Hearer, *, checked: bool, number: int = 0) -> None:
        self._hearer = hearer
        self._framer = Framer(checked=checked)
        self.id = number
        self.open = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.open = True
        self._hearer.made(self)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        frames = self._framer.feed(data)
        if frames:
            self._hearer.heard(self, frames)

    def eof_received(self) -> bool:
        """See asyncio.Protocol."""
        bad = self._framer.end()
        if bad is not None:
            self._hearer.heard(self, [bad])
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self.open = False
        self._hearer.gone(self)

    def send(self, frame: bytes) -> None:
        """Send, or cut the peer off when it does not read."""
        if self.transport is None or self.transport.is_closing():
            return
        self.transport.write(frame)
        if self.transport.get_write_buffer_size() > _UNREAD_MAX:
            self.transport.abort()

    def close(self) -> None:
        """Close once what was sent is out."""
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Close now."""
        if self.transport is not None:
            self.transport.abort()
