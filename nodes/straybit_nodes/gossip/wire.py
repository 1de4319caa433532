"""The wire description of gossip: every field of every frame by name, drawn from the layout.

Fields of the header, and of a message about one thing, have the layout's names;
fields of an entry, a digest row or a wanted owner are named `OWNER.field`.
A whole frame is held until its last byte, so a flip anywhere in it can still be repaired.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from straybit_faults.wire import Event, Field, FieldClass, Lost, Message
from straybit_nodes.gossip.codec import Bad, Framer, reseal
from straybit_nodes.gossip.layout import BODIES, HEADER, NAME_SIZE, Item, Table

__all__ = ["WIRE", "GossipWire"]

_HEADER_SIZE = HEADER.packed.size


class _Parser:
    """One direction; both are read alike."""

    def __init__(self) -> None:
        self._framer = Framer(checked=False)
        self._held = bytearray()
        self._start = 0
        self._fed = 0
        self._lost = False

    @property
    def hold(self) -> int:
        """The first byte of the frame that is not whole yet."""
        return self._fed if self._lost else self._start

    def feed(self, data: bytes | bytearray | memoryview) -> Sequence[Event]:
        self._fed += len(data)
        if self._lost:
            return ()
        self._held += data
        events: list[Event] = []
        for frame in self._framer.feed(data):
            if isinstance(frame, Bad):
                self._lost = True
                events.append(Lost(self._start, frame.why))
                self._held.clear()
                break
            events.append(_message(bytes(self._held[: frame.size]), self._start, frame.kind, frame.sender))
            del self._held[: frame.size]
            self._start += frame.size
        return events


class _Conversation:
    def __init__(self) -> None:
        self.up = _Parser()
        self.down = _Parser()


class GossipWire:
    """The entry point's object; stateless."""

    name = "gossip"
    kinds = tuple(BODIES)

    def open(self) -> _Conversation:
        """A conversation for a new connection."""
        return _Conversation()

    def reseal(self, message: bytearray) -> bool:
        """Recompute the frame's CRC32C in place; False where it carries none."""
        return reseal(message)

    def fields(self, kind: str) -> tuple[tuple[str, FieldClass, int | None], ...]:
        """Name, class and bits of every field of that kind. Raises ValueError on an unknown kind."""
        if kind not in BODIES:
            raise ValueError(f"gossip has no message {kind!r}; it has {', '.join(BODIES)}")
        body = BODIES[kind]
        tables = [HEADER, body.fixed, *(table for _, table in body.lists)]
        return tuple((item.name, item.cls, 8 * item.size) for table in tables for item in table.items)


def _message(frame: bytes, start: int, kind: str, sender: str) -> Message:
    fields = (*_fields(HEADER, start), *_body(frame, start, kind))
    return Message(kind, start, start + len(frame), fields, None, sender)


def _body(frame: bytes, start: int, kind: str) -> Iterator[Field]:
    body = BODIES[kind]
    at = _HEADER_SIZE
    yield from _fields(body.fixed, start + at)
    fixed = dict(zip((i.name for i in body.fixed.items), body.fixed.packed.unpack_from(frame, at), strict=True))
    at += body.fixed.packed.size
    for count, table in body.lists:
        size = table.packed.size
        for _ in range(fixed[count]):
            owner = frame[at : at + NAME_SIZE].rstrip(b"\0").decode()
            yield from _fields(table, start + at, owner + ".")
            at += size


def _fields(table: Table, at: int, prefix: str = "") -> Iterator[Field]:
    for item in table.items:
        yield _field(item, at, prefix)
        at += item.size


def _field(item: Item, at: int, prefix: str) -> Field:
    return Field(prefix + item.name, at, item.size, item.cls, item.number)


WIRE = GossipWire()
