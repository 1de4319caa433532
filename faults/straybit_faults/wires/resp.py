"""The wire `resp`: Redis' protocol, RESP2 and RESP3 (https://redis.io/docs/latest/develop/reference/protocol-spec/).

Kinds: `command` (up), `reply` and `push` (down).
Fields of a command: `count` (of its arguments), `name`, `arg1`, `arg2`, ...
Fields of a reply: `type`, `value` where it is one, otherwise `item0`, `item1`, ... in the order they stand.
Identity of a command: its name and first argument.

A message is held back until the length of its last part is known:
a large value that stands last passes as it comes.
"""

from __future__ import annotations

from collections.abc import Sequence

from straybit_faults.wire import Event, Field, FieldClass, Lost, Message

__all__ = ["MAX_HELD", "WIRE", "RespWire"]

MAX_HELD = 1_048_576
"""Bytes of one message that are held back at most."""

SMALL = 4_096
"""A last value up to this is waited for: it may be the key that an identity needs."""

MAX_LINE = 65_536
MAX_DEPTH = 16
MAX_FIELDS = 256
"""Parts of a message that get a name; the others pass without one."""

_SCALARS = b"+-:,(#_"
_BULKS = b"$!="
_SIZED = b"*~>%|"


class _LostError(Exception):
    """What the parser sees cannot be read on from here."""


class RespParser:
    """One direction; see the module."""

    def __init__(self, *, is_up: bool) -> None:
        self.hold = 0
        self.is_up = is_up
        self._kept = bytearray()  # the message that has not been announced yet
        self._at = 0  # stream offset of its first byte
        self._skip = 0  # bytes of an announced message that are still to come
        self._lost = False
        self._begin()

    def _begin(self) -> None:
        self._pos = 0  # how far `_kept` has been read
        self._stack = [1]  # parts that are missing, by depth
        self._parts: list[tuple[int, int]] = []
        self._counts: list[tuple[int, int]] = []
        self._push = False

    def feed(self, data: bytes | bytearray | memoryview) -> Sequence[Event]:
        """Take the next bytes of the stream and answer what became known by them."""
        events: list[Event] = []
        if self._lost:
            self.hold += len(data)
            return events
        passed = min(self._skip, len(data))
        self._skip -= passed
        if not self._kept:
            self._at += passed
        self._kept += data[passed:]
        try:
            while self._kept and not self._skip and self._read(events):
                pass
        except _LostError as error:
            events.append(Lost(self._at, str(error)))
            self._lost = True
            self._at += len(self._kept)
            self._kept.clear()
        self.hold = self._at
        return events

    def _read(self, events: list[Event]) -> bool:
        """Read one line or part; False when more bytes are needed."""
        stop = self._kept.find(b"\r\n", self._pos)
        if self._pos > MAX_HELD:
            raise _LostError(f"a message of more than {MAX_HELD} bytes")
        if stop < 0:
            if len(self._kept) - self._pos > MAX_LINE:
                raise _LostError(f"a line of more than {MAX_LINE} bytes")
            return False
        kind = self._kept[self._pos : self._pos + 1]
        if self.is_up and not self._pos and kind != b"*":
            self._inline(stop)
        elif kind in _SCALARS and kind:
            self._parts.append((self._pos + 1, stop - self._pos - 1))
            self._pos = stop + 2
            self._stack[-1] -= 1
        elif kind in _BULKS and kind:
            return self._bulk(stop, events)
        elif kind in _SIZED and kind:
            self._sized(kind, stop)
        else:
            raise _LostError(f"{bytes(self._kept[self._pos : self._pos + 20])!r} where a type should be")
        return self._close(events)

    def _inline(self, stop: int) -> None:
        """A command typed by hand: words on a line."""
        at = 0
        for word in bytes(self._kept[:stop]).split():
            at = self._kept.index(word, at)
            self._parts.append((at, len(word)))
            at += len(word)
        self._pos = stop + 2
        self._stack[-1] -= 1

    def _number(self, stop: int) -> int:
        text = bytes(self._kept[self._pos + 1 : stop])
        if not (text.removeprefix(b"-").isdigit() and len(text) < 16):
            raise _LostError(f"{text[:20]!r} where a length should be")
        return int(text)

    def _bulk(self, stop: int, events: list[Event]) -> bool:
        length = max(self._number(stop), -2)
        self._stack[-1] -= 1
        start = stop + 2
        after = start if length < 0 else start + length + 2
        if length >= 0:
            self._parts.append((start, length))
        if after > len(self._kept) and (any(self._stack) or length <= SMALL):
            self._stack[-1] += 1
            if length >= 0:
                self._parts.pop()
            if after > MAX_HELD:
                raise _LostError(f"a message of more than {MAX_HELD} bytes")
            return False
        self._pos = after
        return self._close(events)

    def _sized(self, kind: bytes | bytearray, stop: int) -> None:
        count = max(0, self._number(stop)) * (2 if kind in (b"%", b"|") else 1)
        if len(self._stack) >= MAX_DEPTH:
            raise _LostError(f"nested deeper than {MAX_DEPTH}")
        self._counts.append((self._pos + 1, stop - self._pos - 1))
        self._push = self._push or (kind == b">" and not self._pos)
        self._pos = stop + 2
        if kind != b"|":  # an attribute comes before what it belongs to
            self._stack[-1] -= 1
        if count:
            self._stack.append(count)

    def _close(self, events: list[Event]) -> bool:
        while len(self._stack) > 1 and not self._stack[-1]:
            self._stack.pop()
        if any(self._stack):
            return True
        end = self._pos
        events.append(self._message(end))
        self._skip = max(0, end - len(self._kept))
        self._at += min(end, len(self._kept))
        del self._kept[:end]
        self._begin()
        return True

    def _message(self, end: int) -> Message:
        at = self._at
        fields = [Field("count", at + s, n, FieldClass.LENGTH) for s, n in self._counts[:1]]
        if not self.is_up:
            fields = [Field("type", at, 1, FieldClass.TYPE), *fields]
        single = not self._counts
        names = ["name", *(f"arg{i}" for i in range(1, MAX_FIELDS))] if self.is_up else []
        for index, (start, length) in enumerate(self._parts[:MAX_FIELDS]):
            name = names[index] if self.is_up else "value" if single else f"item{index}"
            cls = FieldClass.TYPE if name == "name" else FieldClass.PAYLOAD
            fields.append(Field(name, at + start, length, cls))
        kind = "command" if self.is_up else "push" if self._push else "reply"
        return Message(kind, at, at + end, tuple(fields), self._identity() if self.is_up else None)

    def _identity(self) -> str:
        words = [bytes(self._kept[s : s + n]).decode("latin-1") for s, n in self._parts[:2] if n <= SMALL]
        return " ".join(words)


class RespConversation:
    """Commands go up, replies and pushes come down."""

    def __init__(self) -> None:
        self.up = RespParser(is_up=True)
        self.down = RespParser(is_up=False)


class RespWire:
    """Redis' protocol."""

    name = "resp"
    kinds = ("command", "reply", "push")

    def open(self) -> RespConversation:
        """A conversation for a new connection."""
        return RespConversation()

    def reseal(self, message: bytearray) -> bool:
        """RESP has no checksum."""
        return False

    def fields(self, kind: str) -> tuple[tuple[str, FieldClass, int | None], ...]:
        """Those that most messages have."""
        if kind == "command":
            names = (("count", FieldClass.LENGTH), ("name", FieldClass.TYPE), ("arg1", FieldClass.PAYLOAD))
        else:
            names = (("type", FieldClass.TYPE), ("value", FieldClass.PAYLOAD), ("item0", FieldClass.PAYLOAD))
        return tuple((name, cls, None) for name, cls in names)


WIRE = RespWire()
