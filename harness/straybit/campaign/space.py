"""The space of a message: every bit of it by field and class, and what a census or a sample tries of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from random import Random

import msgspec

from straybit.campaign.spec import Aimed, Setup, TrialSpec, setup_word
from straybit.stats import sample_size
from straybit_faults import wire
from straybit_faults.flip import FieldAim, Flip, Link
from straybit_faults.wire import GUARD_CLASSES, FieldClass

__all__ = [
    "CONTROL_EVERY",
    "Bit",
    "Margin",
    "Plan",
    "Recorded",
    "RecordedField",
    "allocate",
    "bits_of",
    "census",
    "recorded",
    "sample",
]

CONTROL_EVERY = 10
"""One control trial for so many flips."""


class RecordedField(msgspec.Struct, frozen=True, kw_only=True):
    """One field of a recorded message: `at` counts bytes from the message's first; `value` is its bytes as hex."""

    name: str
    at: int
    length: int
    cls: FieldClass
    number: bool
    value: str

    @property
    def guard(self) -> bool:
        """Its bits decide whether a check runs at all."""
        return self.cls in GUARD_CLASSES

    @property
    def bits(self) -> int:
        """How many it has."""
        return 8 * self.length


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """A message as it passed: where, how long, and every field in the order they stand. `crc` is CRC32C of it all."""

    aimed: Aimed
    length: int
    fields: tuple[RecordedField, ...]
    crc: str = ""

    @property
    def bits(self) -> int:
        """How many bits belong to a field."""
        return sum(field.bits for field in self.fields)


class Bit(msgspec.Struct, frozen=True, order=True):
    """One bit of one field of a message."""

    field: str
    bit: int


class Margin(msgspec.Struct, frozen=True):
    """How exact a sample is to be: half the width of the interval, and how sure of it."""

    error: float = 0.05
    confidence: float = 0.95


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A campaign's flips, in the order of their trials, the controls among them.

    `whole`: every bit is tried. `sizes` are bits by field, `drawn` how many of them are tried.
    """

    message: Recorded
    setup: Setup
    whole: bool
    flips: tuple[str, ...]
    sizes: dict[str, int]
    drawn: dict[str, int]
    repair: bool = False

    @property
    def word(self) -> str:
        """What all its trials' ids begin with."""
        return setup_word(self.setup, self.flips)

    def trials(self) -> tuple[TrialSpec, ...]:
        """Every trial; the number behind a trial's id is its place."""
        word = self.word
        return tuple(TrialSpec(id=f"{word}-{n}", flips=(flip,), setup=self.setup) for n, flip in enumerate(self.flips))


def recorded(aimed: Aimed, message: wire.Message, frame: bytes, crc: str = "") -> Recorded:
    """What a wire made of `frame`. Fields whose length is not known are left out: nobody can count their bits."""
    fields = tuple(
        RecordedField(
            name=field.name,
            at=field.at - message.at,
            length=field.length,
            cls=field.cls,
            number=field.number,
            value=frame[field.at - message.at : field.at - message.at + field.length].hex(),
        )
        for field in message.fields
        if field.length
    )
    return Recorded(aimed=aimed, length=len(frame), fields=fields, crc=crc)


def bits_of(fields: Iterable[RecordedField]) -> Iterator[Bit]:
    """Every bit, field by field, from bit 0 up."""
    for field in fields:
        for bit in range(field.bits):
            yield Bit(field.name, bit)


def census(message: Recorded, setup: Setup, *, repair: bool = False, fields: Sequence[str] = ()) -> Plan:
    """Every bit of the message once, or of those `fields` (whole names, or bare ones of any owner), and the controls.

    Raises ValueError for a field that the message does not have.
    """
    chosen = _chosen(message, fields)
    return _plan(message, setup, tuple(bits_of(chosen)), whole=True, repair=repair, fields=chosen)


def sample(
    message: Recorded, setup: Setup, margin: Margin, *, repair: bool = False, fields: Sequence[str] = (), size: int = 0
) -> Plan:
    """So many bits as `margin` needs (or `size`), drawn by the setup's seed, stratified by field and weighted by bits.

    One that would be larger than the space becomes a census.
    Raises ValueError as `census` does, and for a margin that is none.
    """
    chosen = _chosen(message, fields)
    population = sum(field.bits for field in chosen)
    wanted = size or sample_size(margin.error, margin.confidence, population=population)
    if wanted >= population:
        return census(message, setup, repair=repair, fields=fields)
    drawn = _stratified(chosen, wanted, setup.seed) if wanted >= len(chosen) else _anywhere(chosen, wanted, setup.seed)
    return _plan(message, setup, drawn, whole=False, repair=repair, fields=chosen)


def _stratified(fields: Sequence[RecordedField], wanted: int, seed: int) -> tuple[Bit, ...]:
    shares = allocate({field.name: field.bits for field in fields}, wanted)
    drawn: list[Bit] = []
    for field in fields:
        rng = Random(f"{seed}/sample/{field.name}")
        drawn += [Bit(field.name, bit) for bit in sorted(rng.sample(range(field.bits), shares[field.name]))]
    return tuple(drawn)


def _anywhere(fields: Sequence[RecordedField], wanted: int, seed: int) -> tuple[Bit, ...]:
    """Too few to give each field one: every bit of the message is as likely."""
    return tuple(Random(f"{seed}/sample").sample(list(bits_of(fields)), wanted))


def allocate(sizes: dict[str, int], wanted: int) -> dict[str, int]:
    """How many of `wanted` draws each stratum gets: by its size, by largest remainder, one at least, all at most.

    Raises ValueError for fewer draws than strata.
    """
    if wanted < len(sizes):
        raise ValueError(f"{wanted} draws cannot cover {len(sizes)} strata")
    total = sum(sizes.values())
    exact = {name: wanted * size / total for name, size in sizes.items()}
    shares = {name: max(1, int(value)) for name, value in exact.items()}
    order = sorted(sizes, key=lambda name: (int(exact[name]) - exact[name], name))
    for name in order:
        if sum(shares.values()) < wanted and shares[name] < sizes[name] and exact[name] >= 1:
            shares[name] += 1
    return shares


def _chosen(message: Recorded, names: Sequence[str]) -> tuple[RecordedField, ...]:
    known = {field.name for field in message.fields} | {field.name.rpartition(".")[2] for field in message.fields}
    unknown = sorted(set(names) - known)
    if unknown:
        there = ", ".join(field.name for field in message.fields)
        raise ValueError(f"message {message.aimed} has no field {unknown[0]!r}; it has {there}")
    wanted = set(names)
    return tuple(f for f in message.fields if not wanted or wanted & {f.name, f.name.rpartition(".")[2]})


def _plan(
    message: Recorded, setup: Setup, bits: Sequence[Bit], *, whole: bool, repair: bool, fields: Sequence[RecordedField]
) -> Plan:
    flips = [_flip(message.aimed, bit, repair=repair) for bit in bits]
    every = [*flips]
    for number in range((len(flips) + CONTROL_EVERY - 1) // CONTROL_EVERY):
        at = number * CONTROL_EVERY
        every.insert(at + number, msgspec.structs.replace(flips[at], control=True))
    return Plan(
        message=message,
        setup=setup,
        whole=whole,
        flips=tuple(map(str, every)),
        sizes={field.name: field.bits for field in fields},
        drawn={field.name: sum(bit.field == field.name for bit in bits) for field in fields},
        repair=repair,
    )


def _flip(aimed: Aimed, bit: Bit, *, repair: bool) -> Flip:
    aim = FieldAim(aimed.kind, aimed.ordinal, bit.field, (bit.bit,), repair)
    return Flip(Link.parse(aimed.link), aimed.direction, aim)
