"""`bitflip`: changes up to eight bits of a byte or a field, and never the length."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from straybit_faults.draw import Draw
from straybit_faults.flip import MAX_BITS
from straybit_faults.toxics.content import Change, Content
from straybit_faults.wire import Field, FieldClass, Message

__all__ = ["BitFlip"]


MAX_DRAWN = 3
"""Bits drawn at most for one message (Sangchoolie et al., TDSC 2020: more are rarely worse)."""


class BitFlip(Content, kw_only=True, omit_defaults=True):
    """`bit` or `bits` as the field counts them (0..7 for an offset).

    Without either, `flips` bits (1 to 3) of one field are drawn:
    of `field`, or of any field whose class is among `classes`, so guard bits only when they are asked for.
    """

    bit: int | None = None
    bits: list[int] | None = None
    flips: int = 1
    classes: list[FieldClass] | None = None

    def check(self) -> None:
        """Raises ValueError for bits that no byte or field can have."""
        super().check()
        bits = self._aimed()
        if self.offset is not None and not (bits and all(0 <= bit < 8 for bit in bits)):
            raise ValueError("a flip by offset needs a bit in 0..7")
        if len(bits) > MAX_BITS or len(set(bits)) != len(bits) or any(bit < 0 for bit in bits):
            raise ValueError(f"bits must be 1 to {MAX_BITS} different numbers from 0 on")
        size = self.size() if self.offset is None else None
        if size is not None and any(bit >= size for bit in bits):
            raise ValueError(f"field {self.field} has bits 0..{size - 1}, not {max(bits)}")
        if not 1 <= self.flips <= MAX_DRAWN:
            raise ValueError(f"flips must be in 1..{MAX_DRAWN}, but is {self.flips}")
        if bits and self.offset is None and self.field is None:
            raise ValueError("bits that are named need the name of their field")
        if self.classes is not None and not self.classes:
            raise ValueError("classes needs at least one class to draw from")
        if self.field is not None and self.classes is not None:
            raise ValueError("a field that is named needs no classes")

    @property
    def drawn(self) -> int:
        """One draw for each bit."""
        return self.flips

    def fits(self, message: Message) -> bool:
        """Whether there is a byte to draw from."""
        return bool(self._candidates(message)) if self.field is None else super().fits(message)

    def pick(self, message: Message, draws: Sequence[Draw]) -> tuple[Field, list[Change] | None]:
        """The field that is named, or one drawn by its share of the bytes."""
        if self.field is not None:
            return super().pick(message, draws)
        fields = self._candidates(message)
        if not fields:
            raise ValueError(f"{message.kind} has no bytes of class {', '.join(self._classes())}")
        place = draws[0].byte(sum(field.length or 0 for field in fields))
        for field in fields:
            if place < (field.length or 0):
                break
            place -= field.length or 0
        places = [(place, draws[0].bit()), *((one.byte(field.length or 0), one.bit()) for one in draws[1:])]
        return field, _changes(places)

    def _candidates(self, message: Message) -> list[Field]:
        return [field for field in message.fields if field.length and field.cls in self._classes()]

    def _classes(self) -> list[FieldClass]:
        return self.classes if self.classes is not None else [FieldClass.PAYLOAD]

    def changes(self, field: Field, draws: Sequence[Draw]) -> list[Change]:
        """One change for each byte that is hit."""
        places = [field.locate(bit) for bit in self._aimed()]
        if not places:
            places = [(one.byte(field.length or 0), one.bit()) for one in draws]
        return _changes(places)

    @property
    def draws_place(self) -> bool:
        """Whether no bit was named."""
        return not self._aimed()

    def _aimed(self) -> list[int]:
        return self.bits if self.bits is not None else [] if self.bit is None else [self.bit]


def _changes(places: Iterable[tuple[int, int]]) -> list[Change]:
    """One change for each byte, from (byte, bit)."""
    masks: dict[int, int] = {}
    for at, bit in places:
        masks[at] = masks.get(at, 0) | 1 << bit
    return [Change(at, mask) for at, mask in masks.items()]
