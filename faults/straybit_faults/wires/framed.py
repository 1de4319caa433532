"""The wire `framed`: frames with a length prefix and fields at fixed offsets, told by a declaration.

`Framed(...)` makes a wire for any such protocol; the one that is shipped as `framed` has four bytes of length,
big-endian, that count the bytes behind them, and a payload.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import ClassVar, Literal

import google_crc32c
import msgspec

from straybit_faults.wire import Event, Field, FieldClass, Lost, Message

__all__ = ["WIRE", "Checksum", "Framed", "Part"]


class Part(msgspec.Struct, frozen=True):
    """A field at byte `at` of every frame, `size` bytes long (None: up to the frame's end)."""

    name: str
    at: int
    size: int | None = None
    cls: FieldClass = FieldClass.PAYLOAD
    number: bool = False


class Checksum(msgspec.Struct, frozen=True):
    """Four big-endian bytes at `at`: CRC32 or CRC32C over the whole frame with themselves as zeros."""

    at: int
    algorithm: Literal["crc32", "crc32c"] = "crc32c"


class Framed(msgspec.Struct, frozen=True, kw_only=True):
    """A declaration of frames.

    `length_at` and `length_size` say where the length is, big-endian unless `little`;
    a whole frame has its value plus `length_adds` bytes, `largest` at most.
    `kind_at` is the byte that tells kinds apart, `kind_names` their names by its value (others: `frame`).
    """

    name: str
    parts: tuple[Part, ...]
    length_at: int = 0
    length_size: int = 4
    length_adds: int = 4
    little: bool = False
    largest: int = 16_777_216
    kind_at: int | None = None
    kind_names: dict[int, str] = {}
    checksum: Checksum | None = None

    closed: ClassVar[bool] = True

    @property
    def kinds(self) -> tuple[str, ...]:
        """The declared names, and `frame` for all others."""
        return (*self.kind_names.values(), "frame")

    @property
    def header(self) -> int:
        """Bytes that must be there before a frame can be named."""
        last = self.length_at + self.length_size
        return last if self.kind_at is None else max(last, self.kind_at + 1)

    def open(self) -> FramedConversation:
        """A conversation for a new connection."""
        return FramedConversation(self)

    def reseal(self, message: bytearray) -> bool:
        """Recompute the declared checksum."""
        if self.checksum is None or len(message) < self.checksum.at + 4:
            return False
        at = self.checksum.at
        message[at : at + 4] = bytes(4)
        text = bytes(message)
        value = google_crc32c.value(text) if self.checksum.algorithm == "crc32c" else zlib.crc32(text)
        message[at : at + 4] = value.to_bytes(4, "big")
        return True

    def fields(self, kind: str) -> tuple[tuple[str, FieldClass, int | None], ...]:
        """The declared parts."""
        return tuple((part.name, part.cls, None if part.size is None else 8 * part.size) for part in self.parts)


class FramedConversation:
    """Both directions, which know nothing of each other."""

    def __init__(self, framed: Framed) -> None:
        self.up = FramedParser(framed)
        self.down = FramedParser(framed)


class FramedParser:
    """One direction: a frame is announced as soon as its length is there, and only so much is held back."""

    def __init__(self, framed: Framed) -> None:
        self.framed = framed
        self.hold = 0
        self._need = framed.header
        self._order: Literal["little", "big"] = "little" if framed.little else "big"
        self._start = bytearray()  # the beginning of a frame whose header is not complete
        self._skip = 0  # bytes of announced frames that are still to come
        self._end = 0
        self._lost = False

    def feed(self, data: bytes | bytearray | memoryview) -> Sequence[Event]:
        """Take the next bytes of the stream and answer the frames that begin in them."""
        self._end += len(data)
        events: list[Event] = []
        if not self._lost:
            if self._start:
                data, self._start = bytes(self._start) + bytes(data), bytearray()
            at = self._skip
            while at + self._need <= len(data) and not self._lost:
                at += self._announce(data, at, events)
            self._skip = max(0, at - len(data))
            if at < len(data) and not self._lost:
                self._start += data[at:]
        self.hold = self._end - len(self._start)
        return events

    def _announce(self, data: bytes | bytearray | memoryview, at: int, events: list[Event]) -> int:
        """Name the frame that begins at `data[at]`; answers its length."""
        framed = self.framed
        first = at + framed.length_at
        size = int.from_bytes(data[first : first + framed.length_size], self._order) + framed.length_adds
        begin = self._end - len(data) + at
        if not self._need <= size <= framed.largest:
            events.append(Lost(begin, f"a frame of {size} bytes, where {self._need}..{framed.largest} can be"))
            self._lost = True
            return 0
        kind = "frame" if framed.kind_at is None else framed.kind_names.get(data[at + framed.kind_at], "frame")
        fields = tuple(
            Field(part.name, begin + part.at, size - part.at if part.size is None else part.size, part.cls, part.number)
            for part in framed.parts
            if part.at + (part.size or 1) <= size
        )
        events.append(Message(kind, begin, begin + size, fields))
        return size


WIRE = Framed(
    name="framed",
    parts=(Part("length", 0, 4, FieldClass.LENGTH, number=True), Part("payload", 4)),
)
