"""What every content toxic has in common: how it is aimed, and which messages it takes.

Three ways to aim:
by stream offset (`connection`, `offset`),
by message (`wire`, `message`, `ordinal`, `field`; `every`, `count`, `once`, `until`),
or drawn at a rate (`rate`, `control_rate`, `seed`) by a hash of the message's identity.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from straybit_faults.draw import Draw, draw
from straybit_faults.toxics.base import Armed, Toxic
from straybit_faults.wire import Field, Message
from straybit_faults.wires import UnknownWireError, find_wire

__all__ = ["Change", "Content", "Decision", "Matcher"]


class Change(msgspec.Struct, frozen=True):
    """One byte of a field: XOR `mask`, or become `value` when that is given; `at` counts from the field's first."""

    at: int
    mask: int = 0
    value: int | None = None


class Decision(msgspec.Struct, frozen=True):
    """A message was taken: its ordinal, whether as a control, and what was drawn about it."""

    ordinal: int
    control: bool
    draws: tuple[Draw, ...] = ()


class Content(Toxic, kw_only=True, omit_defaults=True):
    """The aim. `control` does everything but change the bytes; `until` is the first ordinal that is left alone."""

    connection: int | None = None
    offset: int | None = None
    wire: str | None = None
    message: str | None = None
    ordinal: int | None = None
    field: str | None = None
    every: int | None = None
    count: int | None = None
    once: bool = False
    until: int | None = None
    rate: float | None = None
    control_rate: float = 0.0
    seed: int = 0
    control: bool = False
    repair: bool = False

    def check(self) -> None:
        """Raises ValueError for an aim that is none, and for a wire or a kind of message that is unknown."""
        if (self.offset is None) == (self.message is None):
            raise ValueError("aim by offset, or by wire and message: exactly one of the two is needed")
        if self.offset is not None:
            _natural(self, "offset", "connection")
            return
        if self.wire is None:
            raise ValueError("aiming by message needs the name of its wire")
        try:
            kinds = find_wire(self.wire).kinds
        except UnknownWireError as error:
            raise ValueError(str(error)) from error
        if self.message not in kinds:
            raise ValueError(f"wire {self.wire} has no message {self.message!r}; it has {', '.join(kinds)}")
        self.size()
        _natural(self, "ordinal", "count", "until")
        if self.every is not None and self.every < 1:
            raise ValueError("every must be at least 1")
        for name in ("rate", "control_rate"):
            if not 0 <= (getattr(self, name) or 0) <= 1:
                raise ValueError(f"{name} must be in 0..1, but is {getattr(self, name):g}")
        if self.rate is not None and self.ordinal is not None:
            raise ValueError("a message is aimed at by ordinal or drawn at a rate, not both")

    def size(self) -> int | None:
        """Bits of the field that is named, where its wire knows. Raises ValueError for a field that cannot be."""
        wire = find_wire(self.wire or "")
        if self.field is None or not getattr(wire, "closed", False):
            return None
        sizes = {name: size for name, _, size in wire.fields(self.message or "")}
        if self.field not in sizes:
            raise ValueError(f"{self.message} of {self.wire} has no field {self.field!r}; it has {', '.join(sizes)}")
        return sizes[self.field]

    def target(self, message: Message) -> Field | None:
        """The field of `message` that is named, or None."""
        return message.field(self.field) if self.field is not None else None

    def fits(self, message: Message) -> bool:
        """Whether a message can be hit when it is drawn; others pass without a word."""
        return self.field is None or self.target(message) is not None

    def pick(self, message: Message, draws: Sequence[Draw]) -> tuple[Field, list[Change] | None]:
        """The field to change, and what, unless that has to wait for its length. Raises ValueError."""
        field = self.target(message)
        if field is None:
            raise ValueError(f"{message.kind} has no field {self.field}")
        return field, None

    def ordinal_of(self, matcher: Matcher, decision: Decision, field: str) -> int:
        """The ordinal by which a flip id would find the same message through `field`."""
        owner, dot, _ = field.partition(".")
        drawn = self.field is None and bool(dot) and owner in matcher.carried
        return matcher.carried[owner] - 1 if drawn else decision.ordinal

    def changes(self, field: Field, draws: Sequence[Draw]) -> list[Change]:
        """What to do to `field`, whose length is known or None. Raises ValueError when it has no such bit."""
        raise NotImplementedError  # each toxic's own; a Struct cannot be an ABC as well

    @property
    def draws_place(self) -> bool:
        """Whether the place in the field is drawn, so that its length (or its first part's) must be known."""
        raise NotImplementedError  # each toxic's own

    @property
    def drawn(self) -> int:
        """How many draws one application needs."""
        return 1


class Matcher:
    """Counts messages for one armed content toxic, over all connections, and takes those it is aimed at."""

    def __init__(self, armed: Armed[Any], link: str) -> None:
        self.armed = armed
        self.link = link
        self.seen = 0
        self.taken = 0
        self.carried: Counter[str] = Counter()
        """Messages that carried an owner's entry, by owner, where the field is drawn."""
        self.state: dict[str, Any] = {}
        """What a toxic of whole messages remembers from one to the next."""

    def judge(self, message: Message, connection: int) -> Decision | None:
        """Whether `message` is taken; every message of the kind counts, or every one that carries the owner's entry."""
        toxic: Content = self.armed.attributes
        if message.kind != toxic.message or not _carries(toxic, message):
            return None
        ordinal = self.seen
        self.seen += 1
        if toxic.field is None and message.sender is not None:
            self.carried.update({field.name.partition(".")[0] for field in message.fields if "." in field.name})
        if self.taken >= _limit(toxic) or (toxic.until is not None and ordinal >= toxic.until):
            return None
        decision = self._decide(toxic, message, ordinal, connection)
        self.taken += decision is not None
        return decision

    def _decide(self, toxic: Content, message: Message, ordinal: int, connection: int) -> Decision | None:
        identity = message.identity or f"{self.link}/{connection}/{ordinal}"
        if toxic.rate is None:
            start = toxic.ordinal or 0
            if ordinal < start or (ordinal - start) % (toxic.every or 1):
                return None
            return Decision(ordinal, toxic.control, self._draws(toxic, identity))
        if not toxic.fits(message):
            return None
        draws = self._draws(toxic, identity)
        verdict = draws[0].verdict(toxic.rate, toxic.control_rate)
        return None if verdict == "pass" else Decision(ordinal, toxic.control or verdict == "control", draws)

    def _draws(self, toxic: Content, identity: str) -> tuple[Draw, ...]:
        names = (f"{identity}/{index}" if index else identity for index in range(toxic.drawn))
        return tuple(draw(toxic.seed, self.armed.direction, name) for name in names)


def _carries(toxic: Content, message: Message) -> bool:
    names_owner = message.sender is not None and toxic.field is not None and "." in toxic.field
    return not names_owner or toxic.target(message) is not None


def _limit(toxic: Content) -> float:
    if toxic.once:
        return 1
    if toxic.count is not None:
        return toxic.count
    return 1 if toxic.rate is None and toxic.every is None else float("inf")


def _natural(toxic: Content, *names: str) -> None:
    for name in names:
        value = getattr(toxic, name)
        if value is not None and value < 0:
            raise ValueError(f"{name} must not be negative, but is {value}")
