"""Frames to messages and back, cut anywhere, with or without a checksum.

With checksums on, a whole frame is judged by its raw bytes before anything in it is believed,
its flags byte included, so no bit of the frame can switch the check off.
Without `length` there would be no frame to judge, so what comes before the end of `guard` is judged first, by that.
With checksums off, a length that cannot be, or that contradicts the counts in the body, is a parse error
as soon as it can be seen.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable
from functools import lru_cache
from struct import Struct
from typing import Any

import google_crc32c
import msgspec

from straybit_nodes.gossip import messages as m
from straybit_nodes.gossip.layout import BODIES, CHECKSUM_AT, GUARD_AT, HEADER, MAGIC, MAX_BODY, PROTOCOL, Body, by_type

__all__ = ["Bad", "Frame", "Framer", "checksum", "encode", "implied_length", "reseal"]

_HEADER = HEADER.packed
_CHECKSUM_END = CHECKSUM_AT + 4
_ZERO = b"\0\0\0\0"
_NAME = re.compile(rb"([A-Za-z0-9._-]{1,16})\0*")
_FIXED = {kind: body.fixed.packed for kind, body in BODIES.items()}
_ROWS = {kind: tuple(table.packed for _, table in body.lists) for kind, body in BODIES.items()}
_SEALED = 1


class Frame(msgspec.Struct, frozen=True):
    """One good frame; `crc` is the CRC32C of its raw bytes, `size` their number."""

    kind: str
    sender: str
    message: m.Message
    crc: int
    size: int


class Bad(msgspec.Struct, frozen=True):
    """A frame that was not taken, and `by` what: `gossip-crc` or `parse`. `kind` is empty where it cannot be known."""

    by: str
    why: str
    kind: str
    sender: str
    crc: int


class _Malformed(Exception):
    """The frame is not as the layout says."""


def checksum(frame: bytes | bytearray) -> int:
    """CRC32C of the frame with its checksum field as 0."""
    crc = google_crc32c.extend(google_crc32c.value(bytes(frame[:CHECKSUM_AT])), _ZERO)
    return int(google_crc32c.extend(crc, bytes(frame[_CHECKSUM_END:])))


def reseal(frame: bytearray) -> bool:
    """Recompute the frame's guard and checksum in place; False when it carries none or is too short to."""
    if len(frame) < _HEADER.size or not frame[_FLAGS_AT] & _SEALED:
        return False
    frame[GUARD_AT:CHECKSUM_AT] = _guard(frame)
    frame[CHECKSUM_AT:_CHECKSUM_END] = checksum(frame).to_bytes(4)
    return True


def encode(message: m.Message, sender: str, *, sealed: bool) -> bytes:
    """The frame of `message`; `sealed` puts a checksum on it. Raises ValueError on a name or number that cannot go."""
    kind, pack = _PACK[type(message)]
    try:
        body = pack(message)
        flags = _SEALED if sealed else 0
        head = (MAGIC, PROTOCOL, BODIES[kind].type, flags, 0, len(body))
        frame = _HEADER.pack(*head, 0, 0, _packed_name(sender)) + body
    except struct.error as error:
        raise ValueError(f"{kind} message does not fit its frame: {error}") from error
    if len(body) > MAX_BODY:
        raise ValueError(f"a {kind} message of {len(body)} bytes is over the bound of {MAX_BODY}")
    if not sealed:
        return frame
    made = bytearray(frame)
    reseal(made)
    return bytes(made)


def _guard(frame: bytes | bytearray) -> bytes:
    return int(google_crc32c.value(bytes(frame[:GUARD_AT]))).to_bytes(4)


class Framer:
    """One direction of one connection: bytes in, frames out. After a bad frame it takes nothing more."""

    __slots__ = ("_buffer", "_checked", "_lost")

    def __init__(self, *, checked: bool) -> None:
        self._checked = checked
        self._buffer = bytearray()
        self._lost = False

    def feed(self, data: bytes | bytearray | memoryview) -> list[Frame | Bad]:
        """Take the next bytes and answer the frames that became whole; a `Bad` is the last there will be."""
        if self._lost:
            return []
        self._buffer += data
        found: list[Frame | Bad] = []
        while self._buffer and not self._lost:
            frame = self._next()
            if frame is None:
                break
            self._lost = isinstance(frame, Bad)
            found.append(frame)
        return found

    def end(self) -> Bad | None:
        """The stream is over: a frame that was cut short."""
        if self._lost or not self._buffer:
            return None
        self._lost = True
        return self._bad("parse", f"cut short after {len(self._buffer)} bytes", bytes(self._buffer))

    def _next(self) -> Frame | Bad | None:
        buffer = self._buffer
        if self._checked and len(buffer) >= CHECKSUM_AT and (right := _guard(buffer)) != buffer[GUARD_AT:CHECKSUM_AT]:
            why = f"guard {buffer[GUARD_AT:CHECKSUM_AT].hex()}, header has {right.hex()}"
            return self._bad("gossip-crc", why, bytes(buffer))
        if len(buffer) < _HEADER.size:
            return self._early(_HEADER.size)
        length = int.from_bytes(buffer[_LENGTH_AT : _LENGTH_AT + 4])
        if length > MAX_BODY:
            return self._bad("parse", f"length {length} is over the bound of {MAX_BODY}", bytes(buffer))
        size = _HEADER.size + length
        if len(buffer) < size:
            return self._early(size)
        raw = bytes(buffer[:size])
        del buffer[:size]
        return self._judge(raw)

    def _early(self, size: int) -> Bad | None:
        """What is wrong already, though fewer than `size` bytes are here; a checked frame is judged when whole."""
        if self._checked:
            return None
        raw = bytes(self._buffer)
        if not MAGIC.startswith(raw[:2]):
            return self._bad("parse", "magic is wrong", raw)
        implied = implied_length(raw)
        if implied is not None and _HEADER.size + implied != size:
            return self._bad("parse", f"length {size - _HEADER.size} contradicts the counts: {implied}", raw)
        return None

    def _judge(self, raw: bytes) -> Frame | Bad:
        crc = google_crc32c.value(raw)
        if self._checked:
            stored = int.from_bytes(raw[CHECKSUM_AT:_CHECKSUM_END])
            right = checksum(raw)
            if stored != right or not raw[_FLAGS_AT] & _SEALED:
                return self._bad("gossip-crc", f"checksum {stored:08x}, bytes have {right:08x}", raw)
        try:
            kind, sender, message = _parse(raw)
        except _Malformed as error:
            return self._bad("parse", str(error), raw)
        return Frame(kind, sender, message, crc, len(raw))

    def _bad(self, by: str, why: str, raw: bytes) -> Bad:
        kind, sender = "", ""
        if len(raw) >= _HEADER.size:
            _, _, number, *_, packed = _HEADER.unpack_from(raw)
            body = by_type(number)
            kind = body.kind if body is not None else ""
            found = _NAME.fullmatch(packed)
            sender = found[1].decode() if found else ""
        return Bad(by, why, kind, sender, int(google_crc32c.value(raw)))


_LENGTH_AT = HEADER.offset("length")
_FLAGS_AT = HEADER.offset("flags")
_TYPE_AT = HEADER.offset("type")


def implied_length(frame: bytes | bytearray) -> int | None:
    """The body's length by its kind and the counts in it; None when they are not there yet or the kind is unknown."""
    if len(frame) < _HEADER.size:
        return None
    body = by_type(frame[_TYPE_AT])
    if body is None:
        return None
    fixed = _FIXED[body.kind]
    if not body.lists:
        return fixed.size
    if len(frame) < _HEADER.size + fixed.size:
        return None
    return fixed.size + sum(count * row.size for count, row in _lists(body, fixed.unpack_from(frame, _HEADER.size)))


def _lists(body: Body, fixed: tuple[Any, ...]) -> Iterable[tuple[int, Struct]]:
    """Each list's count and row: the counts are the last fixed fields, in the lists' order."""
    rows = _ROWS[body.kind]
    return zip(fixed[len(fixed) - len(rows) :], rows, strict=True)


@lru_cache(maxsize=4096)
def _packed_name(name: str) -> bytes:
    packed = name.encode()
    if not _NAME.fullmatch(packed) or len(packed) > 16:
        raise ValueError(f"{name!r} cannot be a member's name; use 1 to 16 of A-Za-z0-9._-")
    return packed


@lru_cache(maxsize=4096)
def _name(packed: bytes) -> str:
    found = _NAME.fullmatch(packed)
    if found is None:
        raise _Malformed(f"{packed!r} is not a name")
    return found[1].decode()


def _parse(raw: bytes) -> tuple[str, str, m.Message]:
    magic, protocol, number, *_, sender = _HEADER.unpack_from(raw)
    if magic != MAGIC or protocol != PROTOCOL:
        raise _Malformed(f"magic {magic.hex()} or protocol {protocol} is not ours")
    body = by_type(number)
    if body is None:
        raise _Malformed(f"there is no type {number}")
    return body.kind, _name(sender), _UNPACK[body.kind](body, raw)


def _sized(body: Body, raw: bytes) -> tuple[Any, ...]:
    """The fixed fields, once the body's length is what they say."""
    length = len(raw) - _HEADER.size
    implied = implied_length(raw)
    if implied != length:
        raise _Malformed(f"a {body.kind} of {length} bytes should have {implied}")
    return _FIXED[body.kind].unpack_from(raw, _HEADER.size)


def _unpack_digest(body: Body, raw: bytes) -> m.Digest:
    *marks, _ = _sized(body, raw)
    rows = _ROWS["digest"][0].iter_unpack(raw[_HEADER.size + _FIXED["digest"].size :])
    return m.Digest(tuple([m.Row(_name(row[0]), *row[1:]) for row in rows]), *marks)


def _unpack_state(body: Body, raw: bytes) -> m.State:
    replace, everything, upto, count, _ = _sized(body, raw)
    entry, wanted = _ROWS["state"]
    at = _HEADER.size + _FIXED["state"].size
    split = at + count * entry.size
    entries = tuple([m.Entry(_name(row[0]), *row[1:]) for row in entry.iter_unpack(raw[at:split])])
    names = tuple([_name(row[0]) for row in wanted.iter_unpack(raw[split:])])
    return m.State(entries, names, bool(replace & 1), bool(everything & 1), upto)


def _unpack_plain(make: Callable[..., m.Message]) -> Callable[[Body, bytes], m.Message]:
    """For a kind without lists whose record has the layout's fields in the layout's order."""

    def unpack(body: Body, raw: bytes) -> m.Message:
        return make(*(_name(value) if isinstance(value, bytes) else value for value in _sized(body, raw)))

    return unpack


def _pack_digest(message: m.Digest) -> bytes:
    pack = _ROWS["digest"][0].pack
    rows = [pack(_packed_name(row.owner), row.generation, row.version, row.hash) for row in message.rows]
    marks = (message.since, message.upto, message.heard, message.summary)
    return _FIXED["digest"].pack(*marks, len(rows)) + b"".join(rows)


def _pack_state(message: m.State) -> bytes:
    entry, wanted = _ROWS["state"]
    counts = len(message.entries), len(message.wanted)
    head = _FIXED["state"].pack(message.replace, message.everything, message.upto, *counts)
    entries = [
        entry.pack(_packed_name(e.owner), e.address, e.status, e.load, e.generation, e.version, e.digest)
        for e in message.entries
    ]
    return b"".join([head, *entries, *(wanted.pack(_packed_name(name)) for name in message.wanted)])


def _pack_plain(kind: str) -> Callable[[Any], bytes]:
    fixed = _FIXED[kind]

    def pack(message: Any) -> bytes:  # noqa: ANN401 - any record whose fields are the layout's
        values = msgspec.structs.astuple(message)
        return fixed.pack(*(_packed_name(value) if isinstance(value, str) else value for value in values))

    return pack


_PLAIN: tuple[tuple[str, Callable[..., m.Message]], ...] = (
    ("failed", m.Failed),
    ("place", m.Place),
    ("granted", m.Granted),
    ("denied", m.Denied),
    ("release", m.Release),
    ("subscribe", m.Subscribe),
    ("ok", m.Ok),
)
_PACK: dict[Any, tuple[str, Callable[[Any], bytes]]] = {
    m.Digest: ("digest", _pack_digest),
    m.State: ("state", _pack_state),
    **{make: (kind, _pack_plain(kind)) for kind, make in _PLAIN},
}
_UNPACK: dict[str, Callable[[Body, bytes], m.Message]] = {
    "digest": _unpack_digest,
    "state": _unpack_state,
    **{kind: _unpack_plain(make) for kind, make in _PLAIN},
}
