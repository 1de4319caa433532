"""The editor: the first stage of a direction, where wires read and content toxics change bytes.

Theory of operation.
Bytes come in a buffer that may be changed in place.
Each wire's parser is fed all of them and answers with messages and parts;
a matcher that takes a message leaves *patches*, each a byte offset of the stream and what to do there,
or a *claim* on the whole message.
Bytes that no parser holds back any more are *released*: patches within them are applied,
a receipt is written for each application whose last patch was applied, and they go on.
So a patch always meets its byte, however TCP cut the stream, and nothing but patches changes a byte.
A claimed message is kept until it is complete, and then something else goes on in its place.
A parser that is Lost holds nothing back any more.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from straybit_faults.draw import draw
from straybit_faults.proxy.application import Application, Changed, Place, Reader, link_of, make_receipt
from straybit_faults.proxy.claims import ClaimedMessage
from straybit_faults.proxy.events import EventLog
from straybit_faults.proxy.receipts import ReceiptBook
from straybit_faults.receipt import Receipt
from straybit_faults.toxics import Content, Matcher, Next, Timer, Whole
from straybit_faults.toxics.content import Change, Decision
from straybit_faults.toxics.whole import Keep
from straybit_faults.wire import Direction, End, Event, Field, Lost, Message, Part

__all__ = ["MAX_HELD", "Editor", "EditorStream", "Reader", "Watch"]

MAX_HELD = 2_097_152
"""Bytes a wire or a claim may hold back per direction; beyond, it is given up. Twice the largest gossip frame."""


class Watch(Protocol):
    """Whoever finds out when a receipt's byte was sent and delivered."""

    def add(self, offset: int, receipt: Receipt) -> None:
        """Watch for the byte that is number `offset` of those sent to the receiver."""


class EditorStream(Protocol):
    """The direction an editor works on."""

    direction: Direction
    closing: bool

    @property
    def number(self) -> int:
        """Which connection of its proxy, from 0."""

    @property
    def accepted(self) -> int:
        """Bytes on their way to the receiver or sent already, as it will count them."""

    def now(self) -> float:
        """CLOCK_MONOTONIC seconds."""

    def at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call back at `when`."""

    def later(self, callback: Callable[[], None]) -> None:
        """Call back soon, unless the connection is gone by then."""


class Editor:
    """Reads and changes one direction of one connection; see the theory of operation above."""

    next: Next

    def __init__(
        self, stream: EditorStream, book: ReceiptBook, events: EventLog, *, proxy: str, base: int, watch: Watch
    ) -> None:
        self.stream = stream
        self.book = book
        self.events = events
        self.watch = watch
        self.place = Place(proxy, link_of(proxy), stream.direction, stream.number)
        self.base = base  # stream offset of the first byte that has not been released
        self.out = stream.accepted  # bytes handed on so far, as the receiver will count them
        self.kept = bytearray()
        self.names: set[str] = set()
        self.readers: list[Reader] = []
        self.matchers: list[Matcher] = []
        self.patches: list[tuple[int, int, Change, Application]] = []
        self.open: list[Application] = []
        self.claims: deque[ClaimedMessage] = deque()
        self.serial = 0
        self.finished = False

    # -- what acts here ------------------------------------------------------------------------------------------

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
        removed = [claim for claim in self.claims if claim.application.matcher not in self.matchers]
        self._unclaim(removed, "the toxic was removed first")
        if removed:
            self.stream.later(self.drain)
        for matcher in new:
            self._aim_at_offset(matcher)

    # -- bytes ---------------------------------------------------------------------------------------------------

    def push(self, data: memoryview) -> None:
        """Take bytes that may be changed in place; hand on those that nobody holds back."""
        if self.finished:
            return
        for reader in tuple(self.readers):
            self._feed(reader, data)
        start = self.base + len(self.kept)
        if not self.kept and not self.claims and self._free(start + len(data)) == start + len(data):
            self._release(data)
            return
        self.kept += data
        self._bound()
        self.drain()

    def _feed(self, reader: Reader, data: memoryview) -> None:
        try:
            events = reader.parser.feed(data)
        except Exception as error:
            self._lose(reader, f"the wire failed: {error!r}")
            return
        for event in events:
            self._on(event, reader)

    def clear(self) -> int | None:
        """Bytes from here on that nobody wants to see; None: all of them."""
        if self.readers or self.kept or self.claims or self.finished:
            return 0
        return self.patches[0][0] - self.base if self.patches else None

    def skip(self, count: int) -> None:
        """That many bytes, of those that `clear` promised, went past."""
        self.base += count
        self.out += count

    def drain(self) -> None:
        """Release what is kept, as far as readers and claims let it."""
        free = self._free(self.base + len(self.kept))
        while not self.finished:
            claim = self.claims[0] if self.claims else None
            stop = free if claim is None else min(free, claim.start)
            if stop > self.base:
                self._release(self._take(stop - self.base))
            if claim is None or self.base < claim.start or not claim.complete(self.base + len(self.kept)):
                return
            if not self._settle(claim):
                return

    def end(self) -> None:
        """The sender closed its half: an unfinished message leaves as it is."""
        for claim in tuple(self.claims):
            if not claim.complete(self.base + len(self.kept)) or claim is not self.claims[0]:
                self.claims.remove(claim)
                self.miss(claim.application.matcher, "the stream ended before its message was complete")
        if self.claims and self.claims[0].timer is not None:
            self.claims[0].give_up("the stream ended first")
        self.release()
        self._forget(self.open, "the stream ended before its byte came")
        if not self.finished:
            self.next.end()

    def release(self) -> None:
        """Let go of everything held back."""
        self.drain()
        if not self.finished:
            self._release(self._take(len(self.kept)))

    def drop(self) -> None:
        """The connection is gone."""
        for claim in self.claims:
            claim.cancel()
            claim.answer = ()  # nobody waits for it any more
        pending = [*self.open, *(patch[3] for patch in self.patches), *(claim.application for claim in self.claims)]
        self._forget(dict.fromkeys(pending), "the connection ended first")

    def _free(self, end: int) -> int:
        """The stream offset up to which no parser holds bytes back."""
        return min([end, *(reader.origin + reader.parser.hold for reader in self.readers)])

    def _take(self, count: int) -> memoryview:
        block = memoryview(self.kept[:count])
        del self.kept[:count]
        return block

    def _bound(self) -> None:
        """Keep no more than MAX_HELD: first claims whose end is unknown go, then whoever else holds bytes back."""
        reason = f"more than {MAX_HELD} bytes held back"
        if len(self.kept) > MAX_HELD:
            self._unclaim([claim for claim in self.claims if claim.end is None], reason)
            self.drain()
        if len(self.kept) > MAX_HELD:
            for reader in tuple(self.readers):
                self._lose(reader, reason)
            self._unclaim(tuple(self.claims), reason)

    def _unclaim(self, claims: Iterable[ClaimedMessage], reason: str) -> None:
        for claim in claims:
            self.claims.remove(claim)
            claim.cancel()
            claim.answer = ()  # nobody waits for it any more
            self.miss(claim.application.matcher, reason)

    # -- what wires say ------------------------------------------------------------------------------------------

    def _on(self, event: Event, reader: Reader) -> None:
        match event:
            case Message():
                self._forget(self.open, "its body was shorter")
                for matcher in self.matchers:
                    if matcher.armed.attributes.wire == reader.wire.name:
                        self._offer(matcher, event, reader)
            case Part(field, start, at, length):
                for claim in self._open_claims(reader):
                    claim.parts.append(event)
                for application in tuple(self.open):
                    if application.field is not None and application.field.name == field:
                        self._continue(application, start, reader.origin + at, length)
            case End(at):
                for claim in self._open_claims(reader):
                    claim.end = reader.origin + at
            case Lost(_, reason):
                self._lose(reader, reason)

    def _open_claims(self, reader: Reader) -> list[ClaimedMessage]:
        """Claims of the message whose end that reader does not know yet."""
        return [claim for claim in self.claims if claim.end is None and claim.application.reader is reader]

    def _offer(self, matcher: Matcher, message: Message, reader: Reader) -> None:
        toxic: Content = matcher.armed.attributes
        decision = matcher.judge(message, self.stream.number - matcher.armed.since)
        if isinstance(toxic, Whole):
            self._claim(matcher, toxic, decision, message, reader)
            return
        if decision is None:
            return
        try:
            field, changes = toxic.pick(message, decision.draws)
        except ValueError as error:
            self.miss(matcher, f"{message.kind} {decision.ordinal}: {error}")
            return
        application = Application(matcher, decision, field, reader=reader, message=message)
        if changes is not None:
            application.plan(changes)
        if field.length is None:
            self.open.append(application)
        else:
            self._resolve(application, field.length)
            self._place(application, 0, reader.origin + field.at, field.length)
        if toxic.repair and message.end is not None and message.end - message.at <= MAX_HELD:
            self.claims.append(ClaimedMessage(self, message, Keep(), application, decision=None))

    def _claim(
        self, matcher: Matcher, toxic: Whole, decision: Decision | None, message: Message, reader: Reader
    ) -> None:
        if not toxic.wants(matcher.state, decision, self.stream.number):
            return
        if message.end is not None and message.end - message.at > MAX_HELD:
            if decision is not None:
                self.miss(
                    matcher, f"{message.kind} {decision.ordinal} cannot be held: it has more than {MAX_HELD} bytes"
                )
            return
        whole = decision or Decision(matcher.seen - 1, toxic.control)
        application = Application(matcher, whole, None, reader=reader, message=message)
        self.claims.append(ClaimedMessage(self, message, toxic, application, decision=decision))

    def _continue(self, application: Application, start: int, at: int, length: int) -> None:
        if application.waiting is None:
            self._resolve(application, length if application.toxic.draws_place else None)
        self._place(application, start, at, length)
        if not application.waiting:
            self.open.remove(application)

    def _resolve(self, application: Application, length: int | None) -> None:
        if application.waiting is not None:
            return
        try:
            application.resolve(length)
        except ValueError as error:
            application.plan([])
            self.miss(application.matcher, str(error))

    def _place(self, application: Application, start: int, at: int, length: int) -> None:
        """Turn those changes into patches that fall in the field's bytes `start` to `start + length`."""
        waiting = application.waiting or []
        application.waiting = [change for change in waiting if not start <= change.at < start + length]
        for change in waiting:
            if start <= change.at < start + length:
                self.serial += 1
                patch = (at + change.at - start, self.serial, change, application)
                insort(self.patches, patch, key=lambda one: one[:2])

    def _aim_at_offset(self, matcher: Matcher) -> None:
        toxic: Content = matcher.armed.attributes
        if toxic.offset is None or toxic.offset < self.base:
            return
        connection = self.stream.number - matcher.armed.since
        if toxic.connection is not None and toxic.connection != connection:
            return
        one = draw(toxic.seed, self.stream.direction, f"{self.place.proxy}/{connection}/{toxic.offset}")
        decision = Decision(0, toxic.control, (one,) * toxic.drawn)
        application = Application(matcher, decision, Field("", toxic.offset, 1))
        self._resolve(application, 1)
        self._place(application, 0, toxic.offset, 1)

    # -- changing bytes ------------------------------------------------------------------------------------------

    def _release(self, block: memoryview) -> None:
        """Patch the bytes of `block`, which start at `base`, write receipts and hand it on."""
        if self.patches and self.patches[0][0] < self.base + len(block):
            self._patch(block)
        self.base += len(block)
        self._hand_on(block)

    def _patch(self, block: memoryview) -> None:
        finished = []
        while self.patches and self.patches[0][0] < self.base + len(block):
            offset, _, change, application = self.patches.pop(0)
            self._apply(block, offset, change, application)
            application.unapplied -= 1
            if not application.unapplied and application.done:
                finished.append(application)
        for application in finished:
            self._repair(block, application)
        for application in finished:
            self._write(application, block, self.out + application.done[-1].offset - self.base)

    def _apply(self, block: memoryview, offset: int, change: Change, application: Application) -> None:
        before = block[offset - self.base]
        mask = change.mask if change.value is None else change.value ^ before
        if not mask:
            self.miss(application.matcher, f"the byte at offset {offset} has the value {before} already")
            return
        after = before if application.decision.control else before ^ mask
        block[offset - self.base] = after
        application.done.append(Changed(offset, change.at, before, after, mask))

    def _repair(self, block: memoryview, application: Application) -> None:
        if not application.toxic.repair or application.reader is None:
            return
        whole = application.span(block, self.base)
        message = bytearray(whole or b"")
        if whole is None or not application.reader.wire.reseal(message):
            self.miss(application.matcher, "not repaired: the message has no checksum, or was not held as a whole")
        else:
            whole[:] = message

    def _settle(self, claim: ClaimedMessage) -> bool:
        """Replace a complete message, which is at the front; False while that has to wait."""
        if not claim.data:
            assert claim.end is not None
            block = memoryview(self.kept[: claim.end - claim.start])
            self._patch(block)
            self.kept[: len(block)] = block
            claim.data = bytes(block)
        replaced = claim.replace(claim.data, lambda reason: self.miss(claim.application.matcher, reason))
        if replaced is None:
            return False
        self.claims.popleft()
        claim.cancel()
        self._take(len(claim.data))
        self._substitute(claim, [claim.data] if claim.application.decision.control else replaced)
        return True

    def _substitute(self, claim: ClaimedMessage, messages: Sequence[bytes]) -> None:
        applied = claim.decision is not None or list(messages) != [claim.data]
        if applied:
            block = memoryview(b"".join(messages))
            self._write(claim.application, block, self.out + max(0, len(block) - 1))
        self.base += len(claim.data)
        for message in messages:
            self._hand_on(memoryview(bytearray(message)))
        if applied and claim.toxic.ends and not claim.application.decision.control:
            self.finished = True
            self.kept.clear()
            self.stream.closing = True
            self.next.end()

    def _hand_on(self, block: memoryview) -> None:
        self.out += len(block)
        if len(block):
            self.next.push(block)

    def _write(self, application: Application, block: memoryview, last: int) -> None:
        """Leave a receipt; `last` is the number of its last byte among those the receiver gets."""
        receipt = make_receipt(self.book.number(), application, self.place, block, self.base)
        self.book.add(receipt)
        self.watch.add(last, receipt)
        self._event("applied", application.matcher, receipt=receipt.seq)

    # -- what went otherwise -------------------------------------------------------------------------------------

    def miss(self, matcher: Matcher, reason: str) -> None:
        """A toxic could not do what it was asked to: an event says why."""
        self._event("missed", matcher, reason=reason)

    def _lose(self, reader: Reader, reason: str) -> None:
        if reader in self.readers:
            self.readers.remove(reader)
        self._unclaim(self._open_claims(reader), reason)
        self._forget([one for one in self.open if one.reader is reader], reason)
        self.events.add(
            "lost",
            proxy=self.place.proxy,
            direction=self.stream.direction,
            connection=self.stream.number,
            reason=f"{reader.wire.name}: {reason}",
        )

    def _forget(self, applications: Iterable[Application], reason: str) -> None:
        forgotten = tuple(applications)
        for application in forgotten:
            self.miss(application.matcher, reason)
        self.open = [one for one in self.open if one not in forgotten]

    def _event(self, event: str, matcher: Matcher, *, receipt: int | None = None, reason: str | None = None) -> None:
        self.events.add(
            event,
            proxy=self.place.proxy,
            toxic=matcher.armed.name,
            direction=self.stream.direction,
            connection=self.stream.number - matcher.armed.since,
            receipt=receipt,
            reason=reason,
        )
