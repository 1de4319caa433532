"""Links on virtual time that carry bytes: their toxics, and the halves of each connection that those act on."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from straybit.faults import Toxic
from straybit.sim.half import Clock, Framer, Half, Raw
from straybit.sim.weak import Weak
from straybit_faults.client import ProxyError
from straybit_faults.proxy.application import Reader
from straybit_faults.proxy.editor import Editor
from straybit_faults.proxy.events import EventLog
from straybit_faults.proxy.receipts import ReceiptBook
from straybit_faults.receipt import Receipt
from straybit_faults.toxics import TOXICS, Armed, Content, Matcher
from straybit_faults.wire import Direction, Wire
from straybit_faults.wires import http1
from straybit_nodes.gossip.codec import Bad, Frame
from straybit_nodes.gossip.wire import WIRE

__all__ = ["Heard", "SimProxies"]

F = TypeVar("F")


class Heard(msgspec.Struct, frozen=True):
    """A frame that passed on a link, as its sender sent it; ordinals count from arming, by link, direction and kind."""

    link: str
    direction: Direction
    kind: str
    ordinal: int
    frame: bytes


class _Link:
    """The toxics of one link, and the number of its next connection since the first was armed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.number = 0
        self.armed: dict[str, Armed[Any]] = {}
        self.matchers: dict[str, Matcher] = {}


class SimProxies:
    """The proxies of all links of a net, with the receipts of what they did.

    Only links that are tapped, or all of a net that is `bytewise`, carry bytes; `record` keeps what passes.
    """

    def __init__(
        self, clock: Clock, parts: Weak, *, checked: bool, bytewise: bool = False, record: bool = False
    ) -> None:
        self.book = ReceiptBook()
        self.heard: list[Heard] = []
        self.record = record
        self._clock = clock
        self._parts = parts
        self._checked = checked
        self._bytewise = bytewise or record or parts.bytewise
        self._events = EventLog()
        self._links: dict[str, _Link] = {}
        self._counts: dict[tuple[str, Direction, str], int] = {}

    @property
    def idle(self) -> bool:
        """No link carries bytes."""
        return not self._links and not self._bytewise

    def add(self, toxic: Toxic, name: str) -> None:
        """Arm a toxic. Raises ProxyError for one that changes no content, and for a name that is taken."""
        kind = TOXICS.get(toxic.kind)
        if kind is None or not issubclass(kind, Content):
            raise ProxyError(f"sim has no toxic {toxic.kind!r} on {toxic.link}; it has those that change messages")
        try:
            attributes = msgspec.convert(toxic.attributes, kind)
            attributes.check()
        except (msgspec.ValidationError, ValueError) as error:
            raise ProxyError(f"toxic {name} on {toxic.link}: {error}") from None
        link = self._links.setdefault(toxic.link, _Link(toxic.link))
        if name in link.armed:
            raise ProxyError(f"toxic {name} on {toxic.link} is there already")
        armed: Armed[Any] = Armed(name, toxic.kind, toxic.direction, attributes, toxicity=1.0, since=link.number)
        link.armed[name] = armed
        link.matchers[name] = Matcher(armed, link.name)

    def remove(self, link: str, name: str) -> None:
        """Disarm a toxic. Raises ProxyError where there is none of that name."""
        there = self._links.get(link)
        if there is None or name not in there.armed:
            raise ProxyError(f"there is no toxic {name} on {link}")
        del there.armed[name]
        del there.matchers[name]

    def toxics(self) -> dict[str, tuple[str, ...]]:
        """Names of the toxics by link."""
        return {name: tuple(link.armed) for name, link in self._links.items() if link.armed}

    def receipts(self, link: str | None = None) -> list[Receipt]:
        """Receipts, oldest first, of one link or of all."""
        return [receipt for receipt in self.book.receipts if link in (None, receipt.proxy)]

    def count_anew(self) -> None:
        """Ordinals of what is recorded count from here."""
        self.heard.clear()
        self._counts.clear()

    def open(self, caller: str, callee: str) -> tuple[Half[Frame | Bad], Half[Frame | Bad]] | None:
        """Both directions of a new connection, up first; None where messages may travel as objects."""
        name = f"{caller}:{callee}"
        link = self._links.get(name)
        if link is None:
            if not self._bytewise:
                return None
            link = _Link(name)
        number, link.number = link.number, link.number + 1
        up, down = (
            self._half(link, direction, number, WIRE, self._parts.framer(self._checked)) for direction in Direction
        )
        return up, down

    def request(self, caller: str, callee: str) -> Half[bytes] | None:
        """The way up of a new connection for one HTTP request; None where it may travel as an object."""
        link = self._links.get(f"{caller}:{callee}")
        if link is None:
            return None
        number, link.number = link.number, link.number + 1
        return self._half(link, Direction.UP, number, http1.WIRE, Raw())

    def passed(self, link: str, direction: Direction, frame: bytes, kind: str) -> None:
        """Note a frame that was sent."""
        key = (link, direction, kind)
        ordinal = self._counts.get(key, 0)
        self._counts[key] = ordinal + 1
        if self.record:
            self.heard.append(Heard(link, direction, kind, ordinal, frame))

    def came(self, link: str, direction: Direction) -> dict[str, int]:
        """How many messages of each kind were sent there, on links that carry bytes."""
        return {kind: count for (name, way, kind), count in self._counts.items() if (name, way) == (link, direction)}

    def _half(self, link: _Link, direction: Direction, number: int, wire: Wire, framer: Framer[F]) -> Half[F]:
        half = Half(self._clock, direction, number, framer)
        matchers = [m for m in link.matchers.values() if m.armed.direction is direction]
        if matchers:
            editor = Editor(half, self.book, self._events, proxy=link.name, base=0, watch=half)
            editor.next = half
            conversation = wire.open()
            editor.add_reader(Reader(wire, conversation.up if direction is Direction.UP else conversation.down, 0))
            editor.arm(matchers)
            half.editor = editor
        return half
