"""The editor: the first stage of a direction, where wires read and content toxics change bytes.

Theory of operation.
Bytes come in a buffer that may be changed in place.
Each wire's parser is fed all of them and answers with messages and parts;
a matcher that takes a message leaves *patches*, each a byte offset of the stream and what to do there.
Bytes that no parser holds back any more are *released*: patches within them are applied,
a receipt is written for each application whose last patch was applied, and they go on.
So a patch always meets its byte, however TCP cut the stream, and nothing but patches changes a byte.
A parser that is Lost holds nothing back any more.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import google_crc32c

from straybit_faults.draw import draw
from straybit_faults.flip import FieldAim, Flip, FlipIdError, Link, OffsetAim
from straybit_faults.proxy.events import EventLog
from straybit_faults.proxy.receipts import DeliveryWatch, ReceiptBook
from straybit_faults.receipt import Receipt
from straybit_faults.toxics import Content, Matcher, Next
from straybit_faults.toxics.content import Change, Decision
from straybit_faults.wire import Direction, Event, Field, Lost, Message, Parser, Part, Wire

if TYPE_CHECKING:
    from straybit_faults.proxy.stream import Stream

__all__ = ["MAX_HELD", "Editor", "Reader"]

MAX_HELD = 2_097_152
"""Bytes a wire may hold back per direction; beyond, it counts as lost. Twice the largest gossip frame."""

CONTEXT = 32
"""Bytes of a receipt's context."""


class Reader:
    """A wire's parser at work on one direction; `origin` is the stream offset of the first byte it was fed."""

    def __init__(self, wire: Wire, parser: Parser, origin: int) -> None:
        self.wire = wire
        self.parser = parser
        self.origin = origin


class Application:
    """One fault on its way into one message (or at one offset), until its last byte was changed."""

    def __init__(
        self, matcher: Matcher, decision: Decision, field: Field, *, reader: Reader | None, message: Message | None
    ) -> None:
        self.matcher = matcher
        self.decision = decision
        self.field = field
        self.reader = reader
        self.message = message
        self.waiting: list[Change] | None = None
        self.unapplied = 0
        self.done: list[tuple[int, int, int, int, int]] = []
        """Stream offset, byte of the field, before, after and mask of each changed byte."""

    def resolve(self, length: int | None) -> None:
        """Choose the bytes, now that the field (or the first part of an open one) has a length. Raises ValueError."""
        toxic: Content = self.matcher.armed.attributes
        field = Field(self.field.name, self.field.at, length, self.field.cls, self.field.number)
        self.waiting = toxic.changes(field, self.decision.draws)
        self.unapplied = len(self.waiting)


class Editor:
    """Reads and changes one direction of one connection; see the theory of operation above."""

    def __init__(
        self, stream: Stream, book: ReceiptBook, events: EventLog, *, proxy: str, base: int, watch: DeliveryWatch
    ) -> None:
        self.stream = stream
        self.next: Next = stream
        self.watch = watch
        self.book = book
        self.events = events
        self.proxy = proxy
        self.link = _link(proxy)
        self.base = base  # stream offset of the first byte that has not been released
        self.out = stream.accepted  # bytes handed on so far, as the receiver will count them
        self.kept = bytearray()
        self.names: set[str] = set()
        self.readers: list[Reader] = []
        self.matchers: list[Matcher] = []
        self.patches: list[tuple[int, int, Change, Application]] = []
        self.open: list[Application] = []
        self.serial = 0

    @property
    def wires(self) -> set[str]:
        """Names of the wires that read here, those that were lost among them."""
        return self.names

    def add_reader(self, reader: Reader) -> None:
        """Have one more wire read from here on."""
        self.names.add(reader.wire.name)
        self.readers.append(reader)

    def keep_readers(self, wires: set[str]) -> None:
        """Stop those wires that no toxic asks for any more."""
        self.names &= wires
        self.readers = [reader for reader in self.readers if reader.wire.name in wires]

    def arm(self, matchers: Sequence[Matcher]) -> None:
        """Replace the content toxics that act here; what a removed one had in mind is forgotten."""
        new = [matcher for matcher in matchers if matcher not in self.matchers]
        self.matchers = list(matchers)
        self.patches = [patch for patch in self.patches if patch[3].matcher in self.matchers]
        self.open = [application for application in self.open if application.matcher in self.matchers]
        for matcher in new:
            self._aim_at_offset(matcher)

    def push(self, data: memoryview) -> None:
        """Take bytes that may be changed in place; hand on those that nobody holds back."""
        for reader in tuple(self.readers):
            for event in reader.parser.feed(data):
                self._on(event, reader)
        start = self.base + len(self.kept)
        free = min([start + len(data), *(reader.origin + reader.parser.hold for reader in self.readers)])
        if self.kept:
            self.kept += data
            ready = memoryview(self.kept[: free - self.base])
            del self.kept[: free - self.base]
            self._release(ready)
        else:
            self.kept += data[free - start :]
            self._release(data[: free - start])
        if len(self.kept) > MAX_HELD:
            for reader in tuple(self.readers):
                self._lose(reader, f"more than {MAX_HELD} bytes held back")
            self.release()

    def end(self) -> None:
        """The sender closed its half: an unfinished message leaves as it is."""
        self.release()
        self._forget(self.open, "the stream ended before its byte came")
        self.next.end()

    def release(self) -> None:
        """Let go of everything held back."""
        ready, self.kept = memoryview(self.kept), bytearray()
        self._release(ready)

    def drop(self) -> None:
        """The connection is gone."""
        self._forget([*self.open, *dict.fromkeys(patch[3] for patch in self.patches)], "the connection ended first")

    def _on(self, event: Event, reader: Reader) -> None:
        match event:
            case Message():
                self._forget(self.open, "its body was shorter")
                for matcher in self.matchers:
                    if matcher.armed.attributes.wire == reader.wire.name:
                        self._offer(matcher, event, reader)
            case Part(field, start, at, length):
                for application in tuple(self.open):
                    if application.field.name == field:
                        self._continue(application, start, reader.origin + at, length)
            case Lost(_, reason):
                self._lose(reader, reason)

    def _offer(self, matcher: Matcher, message: Message, reader: Reader) -> None:
        decision = matcher.judge(message, self.stream.number - matcher.armed.since)
        if decision is None:
            return
        field = message.field(matcher.armed.attributes.field)
        if field is None:
            self._miss(matcher, f"{message.kind} {decision.ordinal} has no field {matcher.armed.attributes.field}")
            return
        application = Application(matcher, decision, field, reader=reader, message=message)
        if field.length is None:
            self.open.append(application)
        else:
            self._resolve(application, field.length)
            self._place(application, 0, reader.origin + field.at, field.length)

    def _continue(self, application: Application, start: int, at: int, length: int) -> None:
        if application.waiting is None:
            self._resolve(application, length if application.matcher.armed.attributes.draws_place else None)
        self._place(application, start, at, length)
        if not application.waiting:
            self.open.remove(application)

    def _resolve(self, application: Application, length: int | None) -> None:
        try:
            application.resolve(length)
        except ValueError as error:
            application.waiting = []
            self._miss(application.matcher, str(error))

    def _place(self, application: Application, start: int, at: int, length: int) -> None:
        """Turn those changes into patches that fall in the field's bytes `start` to `start + length`."""
        waiting = application.waiting or []
        application.waiting = [change for change in waiting if not start <= change.at < start + length]
        for change in waiting:
            if start <= change.at < start + length:
                self._patch(at + change.at - start, change, application)

    def _patch(self, offset: int, change: Change, application: Application) -> None:
        self.serial += 1
        insort(self.patches, (offset, self.serial, change, application), key=lambda patch: patch[:2])

    def _aim_at_offset(self, matcher: Matcher) -> None:
        toxic: Content = matcher.armed.attributes
        if toxic.offset is None or toxic.offset < self.base:
            return
        connection = self.stream.number - matcher.armed.since
        if toxic.connection is not None and toxic.connection != connection:
            return
        one = draw(toxic.seed, self.stream.direction, f"{self.proxy}/{connection}/{toxic.offset}")
        decision = Decision(0, toxic.control, (one,) * toxic.drawn)
        application = Application(matcher, decision, Field("", toxic.offset, 1), reader=None, message=None)
        self._resolve(application, 1)
        self._place(application, 0, toxic.offset, 1)

    def _release(self, block: memoryview) -> None:
        """Patch the bytes of `block`, which start at `base`, write receipts and hand it on."""
        end = self.base + len(block)
        finished = []
        while self.patches and self.patches[0][0] < end:
            offset, _, change, application = self.patches.pop(0)
            self._apply(block, offset, change, application)
            application.unapplied -= 1
            if not application.unapplied and application.done:
                finished.append(application)
        for application in finished:
            self._repair(block, application)
        for application in finished:
            self._write(block, application)
        self.base = end
        self.out += len(block)
        if len(block):
            self.next.push(block)

    def _apply(self, block: memoryview, offset: int, change: Change, application: Application) -> None:
        before = block[offset - self.base]
        mask = change.mask if change.value is None else change.value ^ before
        if not mask:
            self._miss(application.matcher, f"the byte at offset {offset} has the value {before} already")
            return
        after = before if application.decision.control else before ^ mask
        block[offset - self.base] = after
        application.done.append((offset, change.at, before, after, mask))

    def _span(self, block: memoryview, application: Application) -> memoryview | None:
        """The whole message's bytes, if the wire held all of it."""
        message, reader = application.message, application.reader
        if message is None or reader is None or message.end is None:
            return None
        start, stop = reader.origin + message.at - self.base, reader.origin + message.end - self.base
        return block[start:stop] if start >= 0 and stop <= len(block) else None

    def _repair(self, block: memoryview, application: Application) -> None:
        if not application.matcher.armed.attributes.repair or application.reader is None:
            return
        whole = self._span(block, application)
        message = bytearray(whole or b"")
        if whole is None or not application.reader.wire.reseal(message):
            self._miss(application.matcher, "not repaired: the message has no checksum, or was not held as a whole")
        else:
            whole[:] = message

    def _write(self, block: memoryview, application: Application) -> None:
        armed, message = application.matcher.armed, application.message
        offset, _, before, after, mask = application.done[0]
        field = armed.attributes.field or application.field.name  # as it was asked for: ordinals were counted so
        bits = [] if message is None else _field_bits(application.field, application.done)
        whole = self._span(block, application)
        near = max(0, offset - self.base - CONTEXT // 2)
        receipt = Receipt(
            seq=self.book.number(),
            toxic=armed.name,
            proxy=self.proxy,
            link=str(self.link) if self.link is not None else None,
            direction=self.stream.direction,
            connection=self.stream.number - armed.since,
            message=message.kind if message is not None else None,
            ordinal=application.decision.ordinal if message is not None else None,
            identity=message.identity if message is not None else None,
            field=field or None,
            field_bit=bits[0] if bits else None,
            field_bits=bits,
            offset=offset,
            byte_bit=_lowest(mask),
            before=before,
            after=after,
            bytes=[(at, old, new) for at, _, old, new, _ in application.done],
            control=application.decision.control,
            flip=self._flip_id(application, bits),
            crc=google_crc32c.value(bytes(whole)) if whole is not None else None,
            context=bytes(block[near : near + CONTEXT]).hex(),
            context_at=self.base + near,
        )
        self.book.add(receipt)
        self.watch.add(self.out + application.done[-1][0] - self.base, receipt)
        self._event("applied", application.matcher, receipt=receipt.seq)

    def _flip_id(self, application: Application, bits: list[int]) -> str | None:
        if self.link is None:
            return None
        direction, decision, message = self.stream.direction, application.decision, application.message
        aim: FieldAim | OffsetAim
        if message is not None:
            toxic: Content = application.matcher.armed.attributes
            name = toxic.field or application.field.name
            aim = FieldAim(message.kind, decision.ordinal, name, tuple(bits), toxic.repair)
        else:
            offset, _, _, _, mask = application.done[0]
            connection = self.stream.number - application.matcher.armed.since
            if mask & (mask - 1) or connection < 0:
                return None  # the grammar has one bit for an offset, and connections since arming only
            aim = OffsetAim(connection, offset, _lowest(mask))
        return str(Flip(self.link, Direction(direction), aim, decision.control))

    def _lose(self, reader: Reader, reason: str) -> None:
        self.readers.remove(reader)
        self._forget([one for one in self.open if one.reader is reader], reason)
        self.events.add(
            "lost",
            proxy=self.proxy,
            direction=self.stream.direction,
            connection=self.stream.number,
            reason=f"{reader.wire.name}: {reason}",
        )

    def _forget(self, applications: Iterable[Application], reason: str) -> None:
        for application in tuple(applications):
            self._miss(application.matcher, reason)
        self.open = [one for one in self.open if one not in applications]

    def _miss(self, matcher: Matcher, reason: str) -> None:
        self._event("missed", matcher, reason=reason)

    def _event(self, event: str, matcher: Matcher, *, receipt: int | None = None, reason: str | None = None) -> None:
        self.events.add(
            event,
            proxy=self.proxy,
            toxic=matcher.armed.name,
            direction=self.stream.direction,
            connection=self.stream.number - matcher.armed.since,
            receipt=receipt,
            reason=reason,
        )


def _link(proxy: str) -> Link | None:
    try:
        return Link.parse(proxy)
    except FlipIdError:
        return None


def _lowest(mask: int) -> int:
    return (mask & -mask).bit_length() - 1


def _field_bits(field: Field, done: Iterable[tuple[int, int, int, int, int]]) -> list[int]:
    """The changed bits as the field counts them."""
    bits = []
    for _, at, _, _, mask in done:
        byte = (field.length or 0) - 1 - at if field.number else at
        bits += [8 * byte + bit for bit in range(8) if mask >> bit & 1]
    return bits
