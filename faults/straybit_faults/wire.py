"""What a wire description is: bytes in, messages with named fields out; no sockets, no clock.

Theory of operation.
A wire opens one `Conversation` per connection, with a parser for each direction.
A parser is fed every byte of its direction in order, cut anywhere,
and answers with events whose offsets count from the first byte fed.
It never changes bytes.
Whoever feeds it may forward all bytes before `hold` at once;
bytes from `hold` on must wait until more has been fed, because a field among them has no name yet.
A fault finds its target in a `Message` or `Part` event, whose bytes have then not left,
so the same bit is hit however TCP cut the stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

__all__ = [
    "GUARD_CLASSES",
    "Conversation",
    "Direction",
    "End",
    "Event",
    "Field",
    "FieldClass",
    "Lost",
    "Message",
    "Parser",
    "Part",
    "Wire",
]


class Direction(StrEnum):
    """Which way along a link: `up` is from caller to callee."""

    UP = "up"
    DOWN = "down"


class FieldClass(StrEnum):
    """What a field is for, and so how dangerous it is to draw bits from it unasked."""

    PAYLOAD = "payload"
    LENGTH = "length"
    TYPE = "type"
    PROTOCOL = "protocol"
    FLAGS = "flags"
    CHECKSUM = "checksum"
    ADDRESS = "address"


GUARD_CLASSES = frozenset(
    {FieldClass.LENGTH, FieldClass.TYPE, FieldClass.PROTOCOL, FieldClass.FLAGS, FieldClass.CHECKSUM}
)
"""The classes whose bits decide whether a check runs at all."""


class Field(msgspec.Struct, frozen=True):
    """A named run of bytes in one message.

    `at` is the stream offset of its first byte, `length` its bytes (None: not known yet, as in a chunked body).
    A `number` is a big-endian integer whose bit 0 is its least significant; any other field is a byte string
    whose bit 0 is the least significant of its first byte (byte = bit // 8).
    `cls` is the field's class.
    """

    name: str
    at: int
    length: int | None
    cls: FieldClass = FieldClass.PAYLOAD
    number: bool = False

    def locate(self, bit: int) -> tuple[int, int]:
        """Byte of the field (counted from its first) and bit 0..7 in that byte, where `bit` of its value lives.

        Raises ValueError when the field has no such bit.
        """
        if bit < 0 or (self.length is not None and bit >= 8 * self.length):
            raise ValueError(f"field {self.name} has bits 0..{8 * (self.length or 0) - 1}, not {bit}")
        if self.number:
            if self.length is None:
                raise ValueError(f"number {self.name} has no known length")
            return self.length - 1 - bit // 8, bit % 8
        return bit // 8, bit % 8


class Message(msgspec.Struct, frozen=True):
    """One message, announced before any byte of its `fields` may leave.

    `end` is the stream offset behind its last byte, None while that is unknown.
    `identity` names the message independently of scheduling where the protocol can (http1: `PUT /bucket/key`).
    `sender` is the owner a bare field name stands for; entries' fields are named `OWNER.field`.
    """

    kind: str
    at: int
    end: int | None
    fields: tuple[Field, ...]
    identity: str | None = None
    sender: str | None = None

    def field(self, name: str) -> Field | None:
        """The field of that name; a bare name means the sender's own entry where the message has one."""
        own = f"{self.sender}.{name}" if self.sender is not None else None
        for field in self.fields:
            if field.name in (name, own):
                return field
        return None


class Part(msgspec.Struct, frozen=True):
    """A further run of an open field's bytes: `length` bytes at stream offset `at`, the field's byte `start` first.

    A field whose `Message` gave its length has no parts; a chunked body has one for each run inside a chunk.
    """

    field: str
    start: int
    at: int
    length: int


class End(msgspec.Struct, frozen=True):
    """The open message, whose `end` was not known, ends at stream offset `at`."""

    at: int


class Lost(msgspec.Struct, frozen=True):
    """The parser cannot read this stream from `at` on: `reason` says why. It stays silent from then on."""

    at: int
    reason: str


Event = Message | Part | End | Lost


class Parser(Protocol):
    """One direction of one connection."""

    @property
    def hold(self) -> int:
        """Stream offset from which bytes must wait for more to be fed; everything before may leave."""

    def feed(self, data: bytes | bytearray | memoryview) -> Sequence[Event]:
        """Take the next bytes of the stream and answer what became known by them."""


class Conversation(Protocol):
    """One connection: what goes up may decide how to read what comes down (a reply to HEAD has no body)."""

    @property
    def up(self) -> Parser:
        """Parser of caller to callee."""

    @property
    def down(self) -> Parser:
        """Parser of callee to caller."""


class Wire(Protocol):
    """A protocol description, found by the entry point group `straybit.wires`."""

    @property
    def name(self) -> str:
        """As in a toxic's `wire` attribute."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Every message kind it can name."""

    def open(self) -> Conversation:
        """A conversation for a new connection."""

    def reseal(self, message: bytearray) -> bool:
        """Recompute the message's own checksum in place, as `repair` asks; False where it has none."""

    def fields(self, kind: str) -> tuple[tuple[str, FieldClass, int | None], ...]:
        """Name, class and size in bits (None: it varies) of the fields a message of that kind may have."""
