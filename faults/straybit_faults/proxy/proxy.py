"""What every proxy is: a listener, an upstream and toxics; how bytes pass is told by its protocol."""

from __future__ import annotations

import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from straybit_faults.draw import draw
from straybit_faults.proxy.address import format_address, is_numeric, parse_address
from straybit_faults.proxy.errors import ApiError
from straybit_faults.proxy.lease import Lease
from straybit_faults.toxics import Armed, Content, Matcher
from straybit_faults.wire import Direction

if TYPE_CHECKING:
    from straybit_faults.proxy.server import Server

__all__ = ["Client", "Proxy"]


class Client(Protocol):
    """Who came through a proxy, as toxics tell clients apart."""

    number: int
    source: str


class Proxy(ABC):
    """`listen` and `upstream` are as the client wrote them, but `listen` is the real address once it was enabled.

    Only the data thread may touch it.
    """

    protocol: ClassVar[str]

    def __init__(self, server: Server, name: str, listen: str, upstream: str) -> None:
        self.server = server
        self.name = name
        self.listen = listen
        self.upstream = upstream
        self.armed: dict[str, Armed[Any]] = {}
        self.matchers: dict[str, Matcher] = {}
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
        host, port = self.server.listen_address(self.listen)
        try:
            listener = self.open_listener(host, port)
        except OSError as error:
            reason = os.strerror(error.errno).lower() if error.errno else str(error)
            where = f"listen {self.protocol} {format_address(host, port)}"
            raise ApiError(500, f"{where}: bind: {reason}") from error
        self.listener = listener
        self.listen = format_address(*listener.getsockname()[:2])
        self.server.loop.add(listener.fileno(), lambda _: self.ready())

    def quiesce(self) -> None:
        """Close the listener only."""
        if self.listener is not None:
            self.server.loop.remove(self.listener.fileno())
            self.listener.close()
            self.listener = None

    def stop(self) -> None:
        """Close the listener, and whatever came through it."""
        self.quiesce()

    @abstractmethod
    def open_listener(self, host: str, port: int) -> socket.socket:
        """A socket that clients can reach. Raises OSError."""

    @abstractmethod
    def ready(self) -> None:
        """Clients are waiting at the listener."""

    @property
    @abstractmethod
    def is_busy(self) -> bool:
        """Whether bytes are on their way through."""

    @abstractmethod
    def counts(self, direction: Direction) -> tuple[int, int]:
        """Bytes received and sent, on live connections as well."""

    @abstractmethod
    def rearm(self) -> None:
        """Bring what is live in line with the toxics."""

    @abstractmethod
    def check(self, armed: Armed[Any]) -> None:
        """Refuse a toxic that makes no sense here. Raises ApiError."""

    # -- toxics --------------------------------------------------------------------------------------------------

    def add(self, armed: Armed[Any]) -> None:
        """Arm a toxic, on live connections as well."""
        self.armed[armed.name] = armed
        self.aim(armed)
        self.rearm()

    def aim(self, armed: Armed[Any]) -> None:
        """Count anew, from here on, what a toxic whose aim is new meets."""
        if isinstance(armed.attributes, Content):
            self.matchers[armed.name] = Matcher(armed, self.name)

    def remove(self, name: str) -> None:
        """Disarm a toxic; what it held back goes on."""
        armed = self.armed.pop(name)
        if armed.lease is not None:
            armed.lease.cancel()
        self.matchers.pop(name, None)
        self.rearm()

    def matchers_for(self, connection: Client, direction: Direction) -> list[Matcher]:
        """Content toxics that act on a direction of a connection."""
        return [self.matchers[a.name] for a in self._active(connection, direction) if a.name in self.matchers]

    def timing_for(self, connection: Client, direction: Direction) -> list[Armed[Any]]:
        """The other toxics that act there, in the order they were added."""
        return [armed for armed in self._active(connection, direction) if armed.name not in self.matchers]

    def _active(self, connection: Client, direction: Direction) -> Iterator[Armed[Any]]:
        for armed in self.armed.values():
            here = armed.direction is direction and armed.concerns(connection.number, connection.source)
            if here and self._chance(connection, armed):
                yield armed

    def _chance(self, connection: Client, armed: Armed[Any]) -> bool:
        """One draw for each connection and toxic: an update of the toxic does not draw again."""
        if armed.toxicity >= 1:
            return True
        one = draw(self.server.seed, armed.direction, f"{self.name}/{armed.name}/{connection.number}")
        return one.verdict(armed.toxicity) == "hit"

    def event(self, event: str, *, connection: int | None = None, reason: str) -> None:
        """Note what happened, and why."""
        self.server.events.add(event, proxy=self.name, connection=connection, reason=reason)
