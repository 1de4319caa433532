"""One direction of one simulated connection: the proxy's own editor between a sender's bytes and what reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from straybit_faults.proxy.editor import Editor
from straybit_faults.receipt import Receipt
from straybit_faults.wire import Direction

__all__ = ["Clock", "Framer", "Half", "Raw"]

F = TypeVar("F")
F_co = TypeVar("F_co", covariant=True)


class Clock(Protocol):
    """Whoever keeps virtual time."""

    now: float

    def after(self, delay_s: float, call: Callable[[], None]) -> None:
        """Call in `delay_s`."""


class Framer(Protocol[F_co]):
    """What a receiver makes of the bytes of one direction."""

    def feed(self, data: bytes | bytearray | memoryview) -> Sequence[F_co]:
        """Take the next bytes and answer what became whole."""

    def end(self) -> F_co | None:
        """The stream is over: what was cut short."""


class Raw:
    """A receiver that takes bytes as they come."""

    def feed(self, data: bytes | bytearray | memoryview) -> Sequence[bytes]:
        """See Framer."""
        return (bytes(data),)

    def end(self) -> None:
        """See Framer."""


class _Timer:
    """A callback of virtual time."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self._call = None

    def __call__(self) -> None:
        if self._call is not None:
            self._call()


class Half(Generic[F]):
    """What the editor stands on, and what it hands its bytes to; `F` is what the receiver makes of them."""

    def __init__(self, clock: Clock, direction: Direction, number: int, framer: Framer[F]) -> None:
        self.direction = direction
        self.number = number
        self.closing = False
        self.accepted = 0
        self.editor: Editor | None = None
        self._clock = clock
        self._framer = framer
        self._found: list[F] = []
        self._receipts: list[Receipt] = []

    # What goes through

    def carry(self, data: bytes) -> tuple[list[F], list[Receipt]]:
        """Send bytes: what the receiver makes of what comes out, and the receipts of what was done to it."""
        if self.editor is None:
            self.push(data)
        else:
            self.editor.push(memoryview(bytearray(data)))
        return self._take()

    def close(self) -> tuple[list[F], list[Receipt]]:
        """The sender closed: what the receiver makes of the end, a frame that was cut short above all."""
        if self.editor is None:
            self.end()
        else:
            self.editor.end()
        return self._take()

    def _take(self) -> tuple[list[F], list[Receipt]]:
        found, self._found = self._found, []
        receipts, self._receipts = self._receipts, []
        for receipt in receipts:
            receipt.sent = self._clock.now
        return found, receipts

    # The editor's next, and its watch

    def push(self, data: bytes | bytearray | memoryview) -> None:
        """Bytes that the receiver gets."""
        self.accepted += len(data)
        self._found += self._framer.feed(data)

    def end(self) -> None:
        """The receiver gets no more."""
        bad = self._framer.end()
        if bad is not None:
            self._found.append(bad)

    def add(self, offset: int, receipt: Receipt) -> None:
        """The bytes of this receipt are on their way."""
        self._receipts.append(receipt)

    # The editor's stream

    def now(self) -> float:
        """Virtual seconds."""
        return self._clock.now

    def at(self, when: float, callback: Callable[[], None]) -> _Timer:
        """Call back at `when`."""
        timer = _Timer(callback)
        self._clock.after(max(0.0, when - self._clock.now), timer)
        return timer

    def later(self, callback: Callable[[], None]) -> None:
        """Call back soon."""
        self._clock.after(0.0, callback)
