"""A TCP proxy: one listener, and a connection to the upstream for each client."""

from __future__ import annotations

import errno
import os
import socket
import time
from typing import TYPE_CHECKING, Any

from straybit_faults.proxy.address import family_of
from straybit_faults.proxy.connection import Connection
from straybit_faults.proxy.errors import ApiError
from straybit_faults.proxy.proxy import Proxy
from straybit_faults.toxics import Armed, Content
from straybit_faults.toxics.delay import Delay
from straybit_faults.toxics.reorder import Reorder
from straybit_faults.wire import Direction

if TYPE_CHECKING:
    from straybit_faults.proxy.server import Server

__all__ = ["TcpProxy"]

BACKLOG = 4_096
"""Connections that may wait to be accepted; the kernel cuts it to net.core.somaxconn."""

_ACCEPTS = 64  # of one listener before others get their turn
_BREATH_S = 0.1  # pause after the descriptor table was full

_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_STREAM_IS_NONBLOCKING = hasattr(socket, "SOCK_NONBLOCK")
_STREAM = socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0)
_WAITING = (0, errno.EINPROGRESS)


class TcpProxy(Proxy):
    """See the module."""

    protocol = "tcp"

    def __init__(self, server: Server, name: str, listen: str, upstream: str) -> None:
        super().__init__(server, name, listen, upstream)
        self.connections: dict[int, Connection] = {}
        self.is_breathing = False

    # -- the listener --------------------------------------------------------------------------------------------

    def check(self, armed: Armed[Any]) -> None:
        """A stream has no datagrams, and keeps its order. Raises ApiError."""
        toxic = armed.attributes
        if isinstance(toxic, Delay | Reorder) or (isinstance(toxic, Content) and toxic.wire == "datagram"):
            raise ApiError.bad_body("the wire datagram and the toxics delay and reorder are for udp links")

    def open_listener(self, host: str, port: int) -> socket.socket:
        """A listening socket. Raises OSError."""
        return _listen(host, port)

    def ready(self) -> None:
        """Accept whoever waits."""
        self._accept()

    @property
    def is_busy(self) -> bool:
        """Whether bytes are on their way through."""
        return any(stream.is_busy for c in self.connections.values() for stream in (c.up, c.down))

    def stop(self) -> None:
        """Close the listener and every connection."""
        super().stop()
        for connection in tuple(self.connections.values()):
            connection.close()

    def _accept(self) -> None:
        for _ in range(_ACCEPTS):
            if self.listener is None or self.is_breathing:
                return
            try:
                client, address = self.listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _FULL:
                    self._full(os.strerror(error.errno))
                    return
                continue  # the client gave up while it waited
            client.setblocking(False)
            if client.fileno() >= self.server.most_descriptors:
                client.close()
                self._full("no descriptors left but those the API needs")
                return
            self._dial(client, address[0])
        self.server.loop.soon.append(self._accept)

    def _full(self, reason: str) -> None:
        self.event("full", reason=f"no connection accepted: {reason}")
        self.is_breathing = True
        self.server.loop.at(time.monotonic() + _BREATH_S, self._breathe)

    def _breathe(self) -> None:
        self.is_breathing = False
        self._accept()

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
            self.event("refused", connection=number, reason=f"{self.upstream}: {found}")
            client.close()
        else:
            self._connect(client, number, source, found, self.target[1])

    def _connect(self, client: socket.socket, number: int, source: str, host: str, port: int) -> None:
        try:
            upstream = socket.socket(family_of(host), _STREAM)
        except OSError as error:
            self.event("full", connection=number, reason=f"no socket for the upstream: {error}")
            client.close()
            return
        if not _STREAM_IS_NONBLOCKING:
            upstream.setblocking(False)
        upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = upstream.connect_ex((host, port))
        if code not in _WAITING:
            self.event("refused", connection=number, reason=f"{self.upstream}: {os.strerror(code)}")
            client.close()
            upstream.close()
            return
        connection = Connection(self, client, upstream, number=number, source=source)
        if not connection.closed:
            self.connections[number] = connection

    def refused(self, connection: Connection, error: OSError) -> None:
        """The upstream of a connection cannot be reached."""
        self.event("refused", connection=connection.number, reason=f"{self.upstream}: {error.strerror}")

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

    def rearm(self) -> None:
        """Bring live connections in line with the toxics."""
        for connection in tuple(self.connections.values()):
            connection.arm()


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
