"""What a toxic is: attributes that became a record, and stages that bytes of one direction pass through."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import msgspec

from straybit_faults.wire import Direction

__all__ = ["Armed", "Line", "Next", "Stage", "Timer", "Toxic"]


class Timer(Protocol):
    """A callback that waits for its time."""

    def cancel(self) -> None:
        """Forget the callback; harmless when it has run."""


class LeaseLike(Protocol):
    """A time after which a toxic is gone."""

    lease_s: float

    def renew(self) -> None:
        """Start the time again."""

    def cancel(self) -> None:
        """Forget it."""


class Next(Protocol):
    """What a stage hands its bytes to: another stage, or the receiver's socket at the end."""

    def push(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes; a memoryview is only valid during the call."""

    def end(self) -> None:
        """The sender has closed its half."""


class Line(Protocol):
    """One direction of one connection, as a stage sees it."""

    held: int
    """Bytes in all stages; reading stops above `room`."""

    closing: bool
    """Whether the connection is to be closed as soon as the end of this direction reached the receiver."""

    @property
    def number(self) -> int:
        """Which connection of its proxy, from 0."""

    def now(self) -> float:
        """CLOCK_MONOTONIC seconds."""

    def at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call back at `when`."""

    def random(self) -> float:
        """The server's own random number in [0, 1), seeded with the server."""

    def resume(self) -> None:
        """Read on: a stage let bytes go."""

    def reset(self) -> None:
        """Close the whole connection with RST to both ends."""


T = TypeVar("T", bound="Toxic")


class Armed(Generic[T]):
    """A toxic as it stands on a proxy: its name, where and how often it acts, and its attributes.

    `since` is the number of the first connection that came after it was added.
    `source` limits it to clients of an address or network, `connections` to those numbers, counted from `since`.
    """

    source: IPv4Network | IPv6Network | None = None
    connections: frozenset[int] | None = None
    lease: LeaseLike | None = None
    stream = ""
    """The direction as the client spelled it, which the API answers; empty where no client did."""

    def __init__(
        self, name: str, kind: str, direction: Direction, attributes: T, *, toxicity: float, since: int
    ) -> None:
        self.name = name
        self.kind = kind
        self.direction = direction
        self.attributes = attributes
        self.toxicity = toxicity
        self.since = since

    def concerns(self, number: int, source: str) -> bool:
        """Whether connection `number`, from the address `source`, is among those it is limited to."""
        if self.connections is not None and number - self.since not in self.connections:
            return False
        return self.source is None or ip_address(source) in self.source


class Stage(Generic[T]):
    """One toxic in one direction of one connection.

    This one passes everything on; a toxic's stage overrides what it changes.
    """

    room: ClassVar[int] = 65_536
    """Bytes that may wait in this direction before its sender is made to wait."""

    def __init__(self, armed: Armed[T], line: Line) -> None:
        self.armed = armed
        self.line = line
        self.next: Next

    @property
    def toxic(self) -> T:
        """The attributes as they are now: an update takes effect on live connections."""
        return self.armed.attributes

    def push(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes; keep a copy of what is not handed on during the call."""
        self.next.push(data)

    def end(self) -> None:
        """The sender has closed its half."""
        self.next.end()

    def finish(self) -> None:
        """Close the connection once what has gone on before is sent."""
        self.line.closing = True
        self.next.end()

    def update(self) -> None:
        """The toxic's attributes may have changed."""

    def release(self) -> None:
        """The toxic is gone: let go at once of all that is held."""

    def drop(self) -> None:
        """The connection is gone: cancel timers."""


class Toxic(msgspec.Struct, kw_only=True):
    """Attributes of a toxic, checked when it is created; unknown ones are ignored, as Toxiproxy does."""

    def stage(self, armed: Armed[Any], line: Line) -> Stage[Any]:
        """A stage for one direction of a connection."""
        return Stage(armed, line)

    def check(self) -> None:
        """Refuse attributes that contradict each other: ValueError says what, why and what to do."""

    def listed(self) -> dict[str, Any]:
        """The attributes as the API lists them: those that are set."""
        return {key: value for key, value in msgspec.to_builtins(self).items() if value is not None}
