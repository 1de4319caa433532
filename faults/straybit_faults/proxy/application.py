"""One fault on its way into one message, and the receipt it leaves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import google_crc32c

from straybit_faults.flip import Aim, DataAim, FieldAim, Flip, FlipIdError, Link, OffsetAim
from straybit_faults.receipt import Receipt
from straybit_faults.toxics import Content, Matcher, Whole
from straybit_faults.toxics.content import Change, Decision
from straybit_faults.wire import Direction, Field, Message, Parser, Wire

__all__ = ["Application", "Changed", "Place", "Reader", "link_of", "make_receipt"]

CONTEXT = 32
"""Bytes of a receipt's context."""


class Reader:
    """A wire's parser at work on one direction; `origin` is the stream offset of the first byte it was fed."""

    def __init__(self, wire: Wire, parser: Parser, origin: int) -> None:
        self.wire = wire
        self.parser = parser
        self.origin = origin


class Changed(NamedTuple):
    """One byte that was changed: its stream offset, its place in the field, its values, and the bits that differ."""

    offset: int
    at: int
    before: int
    after: int
    mask: int


class Place(NamedTuple):
    """Where an editor stands: which proxy, link, direction and connection."""

    proxy: str
    link: Link | None
    direction: Direction
    number: int


class Application:
    """A toxic's decision about one message, or one offset, until its last byte was changed."""

    def __init__(
        self,
        matcher: Matcher,
        decision: Decision,
        field: Field | None,
        *,
        reader: Reader | None = None,
        message: Message | None = None,
    ) -> None:
        self.matcher = matcher
        self.decision = decision
        self.field = field
        self.reader = reader
        self.message = message
        self.waiting: list[Change] | None = None
        self.unapplied = 0
        self.done: list[Changed] = []

    @property
    def toxic(self) -> Content:
        """The content toxic's attributes."""
        toxic: Content = self.matcher.armed.attributes
        return toxic

    def plan(self, changes: list[Change]) -> None:
        """These are the bytes to change."""
        self.waiting = changes
        self.unapplied = len(changes)

    def resolve(self, length: int | None) -> None:
        """Choose the bytes, now that the field (or the first part of an open one) has a length. Raises ValueError."""
        assert self.field is not None
        field = Field(self.field.name, self.field.at, length, self.field.cls, self.field.number)
        self.plan(self.toxic.changes(field, self.decision.draws))

    def span(self, block: memoryview, base: int) -> memoryview | None:
        """The whole message's bytes, if `block`, which starts at stream offset `base`, has all of them."""
        if self.message is None or self.reader is None or self.message.end is None:
            return None
        start, stop = self.reader.origin + self.message.at - base, self.reader.origin + self.message.end - base
        return block[start:stop] if start >= 0 and stop <= len(block) else None

    def bits(self) -> list[int]:
        """The changed bits as the field counts them."""
        if self.field is None or self.message is None:
            return []
        number, length = self.field.number, self.field.length or 0
        places = [(length - 1 - one.at if number else one.at, one.mask) for one in self.done]
        return [8 * byte + bit for byte, mask in places for bit in range(8) if mask >> bit & 1]

    def name(self) -> str | None:
        """The field as it was asked for: ordinals were counted so."""
        if isinstance(self.toxic, Whole) or self.message is None or self.field is None:
            return None
        return self.toxic.field or self.field.name

    def ordinal(self) -> int | None:
        """The ordinal by which a flip id finds the message."""
        if self.message is None:
            return None
        return self.toxic.ordinal_of(self.matcher, self.decision, self.name() or "")


def make_receipt(seq: int, application: Application, place: Place, block: memoryview, base: int) -> Receipt:
    """The receipt of an application whose bytes are in `block`, which starts at stream offset `base`."""
    armed, message = application.matcher.armed, application.message
    first = application.done[0] if application.done else Changed(base, 0, 0, 0, 0)
    bits = application.bits()
    whole = application.span(block, base) if application.done else block
    near = max(0, first.offset - base - CONTEXT // 2)
    return Receipt(
        seq=seq,
        toxic=armed.name,
        proxy=place.proxy,
        link=str(place.link) if place.link is not None else None,
        direction=place.direction,
        connection=place.number - armed.since,
        message=message.kind if message is not None else None,
        ordinal=application.ordinal(),
        identity=message.identity if message is not None else None,
        field=application.name(),
        field_bit=bits[0] if bits else None,
        field_bits=bits,
        offset=first.offset,
        byte_bit=_lowest(first.mask) if first.mask else None,
        before=first.before if first.mask else None,
        after=first.after if first.mask else None,
        bytes=[(one.offset, one.before, one.after) for one in application.done],
        control=application.decision.control,
        flip=_flip_id(application, place, bits),
        crc=google_crc32c.value(bytes(whole)) if whole is not None else None,
        context=bytes(block[near : near + CONTEXT]).hex(),
        context_at=base + near,
    )


def _flip_id(application: Application, place: Place, bits: Iterable[int]) -> str | None:
    aim = _aim(application, place, tuple(bits))
    if place.link is None or aim is None:
        return None
    return str(Flip(place.link, place.direction, aim, application.decision.control))


def _aim(application: Application, place: Place, bits: tuple[int, ...]) -> Aim | None:
    message, toxic = application.message, application.toxic
    if message is not None:
        ordinal = application.ordinal() or 0
        if isinstance(toxic, Whole):
            return DataAim(message.kind, ordinal, toxic.fault) if toxic.has_flip_id else None
        return FieldAim(message.kind, ordinal, application.name() or "", bits, toxic.repair)
    changed = application.done[0]
    connection = place.number - application.matcher.armed.since
    if changed.mask & (changed.mask - 1) or connection < 0:
        return None  # the grammar has one bit for an offset, and connections since arming only
    return OffsetAim(connection, changed.offset, _lowest(changed.mask))


def link_of(proxy: str) -> Link | None:
    """The link a proxy's name stands for, if it is CALLER:CALLEE."""
    try:
        return Link.parse(proxy)
    except FlipIdError:
        return None


def _lowest(mask: int) -> int:
    return (mask & -mask).bit_length() - 1
