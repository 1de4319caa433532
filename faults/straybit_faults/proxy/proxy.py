"""A proxy: one listener, one upstream, its toxics and its live connections."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from straybit_faults.draw import draw
from straybit_faults.proxy.address import family_of, format_address, is_numeric, parse_address
from straybit_faults.proxy.connection import Connection
from straybit_faults.proxy.errors import ApiError
from straybit_faults.proxy.lease import Lease
from straybit_faults.toxics import Armed, Content, Matcher
from straybit_faults.wire import Direction

if TYPE_CHECKING:
    from straybit_faults.proxy.server import Server

__all__ = ["Proxy"]

BACKLOG = 4_096
"""Connections that may wait to be accepted; the kernel cuts it to net.core.somaxconn."""

_ACCEPTS = 64  # of one listener before others get their turn
_BREATH_S = 0.1  # pause after the descriptor table was full

_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_STREAM_IS_NONBLOCKING = hasattr(socket, "SOCK_NONBLOCK")
_STREAM = socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0)
_WAITING = (0, errno.EINPROGRESS)


class Proxy:
    """`listen` carries the real port once the proxy was enabled. Only the data thread may touch it."""

    def __init__(self, server: Server, name: str, listen: str, upstream: str) -> None:
        self.server = server
        self.name = name
        self.listen = listen
        self.upstream = upstream
        self.armed: dict[str, Armed[Any]] = {}
        self.matchers: dict[str, Matcher] = {}
        self.connections: dict[int, Connection] = {}
        self.number = 0  # of the next connection
        self.listener: socket.socket | None = None
        self.lease: Lease | None = None
        self.past = {direction: [0, 0] for direction in Direction}  # received and sent on connections that ended

    @property
    def upstream(self) -> str:
        """Where connections lead."""
        return self._upstream

    @upstream.setter
    def upstream(self, upstream: str) -> None:
        self._upstream = upstream
        self.target = parse_address(upstream)
        self.is_numeric = is_numeric(self.target[0])

    @property
    def enabled(self) -> bool:
        """Whether it listens."""
        return self.listener is not None

    # -- the listener --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen. Raises ApiError with Toxiproxy's text when the address cannot be had."""
        if self.listener is not None:
            return
        host, port = parse_address(self.listen)
        try:
            listener = _listen(host, port)
        except OSError as error:
            reason = os.strerror(error.errno).lower() if error.errno else str(error)
            raise ApiError(500, f"listen tcp {format_address(host, port)}: bind: {reason}") from error
        self.listener = listener
        self.listen = format_address(*listener.getsockname()[:2])
        self.server.loop.add(listener.fileno(), lambda _: self._accept())

    @property
    def is_busy(self) -> bool:
        """Whether bytes are on their way through."""
        return any(stream.is_busy for c in self.connections.values() for stream in (c.up, c.down))

    def quiesce(self) -> None:
        """Close the listener only."""
        if self.listener is not None:
            self.server.loop.remove(self.listener.fileno())
            self.listener.close()
            self.listener = None

    def stop(self) -> None:
        """Close the listener and every connection."""
        self.quiesce()
        for connection in tuple(self.connections.values()):
            connection.close()

    def _accept(self) -> None:
        for _ in range(_ACCEPTS):
            if self.listener is None:
                return
            try:
                client, address = self.listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _FULL:
                    self._event("full", reason=f"no connection accepted: {os.strerror(error.errno)}")
                    self.server.loop.at(time.monotonic() + _BREATH_S, self._accept)
                    return
                continue  # the client gave up while it waited
            client.setblocking(False)
            self._dial(client, address[0])
        self.server.loop.soon.append(self._accept)

    def _dial(self, client: socket.socket, source: str) -> None:
        number = self.number
        self.number += 1
        host, port = self.target
        if self.is_numeric:
            self._connect(client, number, source, host, port)
        else:
            self.server.resolve(host, lambda found: self._resolved(client, number, source, found))

    def _resolved(self, client: socket.socket, number: int, source: str, found: str | OSError) -> None:
        if isinstance(found, OSError) or self.listener is None:
            self._event("refused", connection=number, reason=f"{self.upstream}: {found}")
            client.close()
        else:
            self._connect(client, number, source, found, self.target[1])

    def _connect(self, client: socket.socket, number: int, source: str, host: str, port: int) -> None:
        try:
            upstream = socket.socket(family_of(host), _STREAM)
        except OSError as error:
            self._event("full", connection=number, reason=f"no socket for the upstream: {error}")
            client.close()
            return
        if not _STREAM_IS_NONBLOCKING:
            upstream.setblocking(False)
        upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = upstream.connect_ex((host, port))
        if code not in _WAITING:
            self._event("refused", connection=number, reason=f"{self.upstream}: {os.strerror(code)}")
            client.close()
            upstream.close()
            return
        connection = Connection(self, client, upstream, number=number, source=source)
        if not connection.closed:
            self.connections[number] = connection

    def refused(self, connection: Connection, error: OSError) -> None:
        """The upstream of a connection cannot be reached."""
        self._event("refused", connection=connection.number, reason=f"{self.upstream}: {error.strerror}")

    def gone(self, connection: Connection) -> None:
        """A connection ended: its counts stay."""
        self.connections.pop(connection.number, None)
        for stream in (connection.up, connection.down):
            past = self.past[stream.direction]
            past[0] += stream.received
            past[1] += stream.sent

    def counts(self, direction: Direction) -> tuple[int, int]:
        """Bytes received and sent, on live connections as well."""
        live = [c.up if direction is Direction.UP else c.down for c in self.connections.values()]
        past = self.past[direction]
        return past[0] + sum(s.received for s in live), past[1] + sum(s.sent for s in live)

    # -- toxics --------------------------------------------------------------------------------------------------

    def add(self, armed: Armed[Any]) -> None:
        """Arm a toxic, on live connections as well."""
        self.armed[armed.name] = armed
        if isinstance(armed.attributes, Content):
            self.matchers[armed.name] = Matcher(armed, self.name)
        self.rearm()

    def remove(self, name: str) -> None:
        """Disarm a toxic; what it held back goes on."""
        armed = self.armed.pop(name)
        if armed.lease is not None:
            armed.lease.cancel()
        self.matchers.pop(name, None)
        self.rearm()

    def rearm(self) -> None:
        """Bring live connections in line with the toxics."""
        for connection in tuple(self.connections.values()):
            connection.arm()

    def matchers_for(self, connection: Connection, direction: Direction) -> list[Matcher]:
        """Content toxics that act on a direction of a connection."""
        return [self.matchers[a.name] for a in self._active(connection, direction) if a.name in self.matchers]

    def timing_for(self, connection: Connection, direction: Direction) -> list[Armed[Any]]:
        """The other toxics that act there, in the order they were added."""
        return [armed for armed in self._active(connection, direction) if armed.name not in self.matchers]

    def _active(self, connection: Connection, direction: Direction) -> Iterator[Armed[Any]]:
        for armed in self.armed.values():
            here = armed.direction is direction and armed.concerns(connection.number, connection.source)
            if here and self._chance(connection, armed):
                yield armed

    def _chance(self, connection: Connection, armed: Armed[Any]) -> bool:
        """One draw for each connection and toxic: an update of the toxic does not draw again."""
        if armed.toxicity >= 1:
            return True
        one = draw(self.server.seed, armed.direction, f"{self.name}/{armed.name}/{connection.number}")
        return one.verdict(armed.toxicity) == "hit"

    def _event(self, event: str, *, connection: int | None = None, reason: str) -> None:
        self.server.events.add(event, proxy=self.name, connection=connection, reason=reason)


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(family_of(host), socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setblocking(False)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
