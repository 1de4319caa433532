"""`bitflip`: changes up to eight bits of a byte or a field, and never the length."""

from __future__ import annotations

from collections.abc import Sequence

from straybit_faults.draw import Draw
from straybit_faults.flip import MAX_BITS
from straybit_faults.toxics.content import Change, Content
from straybit_faults.wire import Field

__all__ = ["BitFlip"]


class BitFlip(Content, kw_only=True):
    """`bit` or `bits` as the field counts them (0..7 for an offset); without either, one bit of the field is drawn."""

    bit: int | None = None
    bits: list[int] | None = None

    def check(self) -> None:
        """Raises ValueError for bits that no byte or field can have."""
        super().check()
        bits = self._aimed()
        if self.offset is not None and not (bits and all(0 <= bit < 8 for bit in bits)):
            raise ValueError("a flip by offset needs a bit in 0..7")
        if len(bits) > MAX_BITS or len(set(bits)) != len(bits) or any(bit < 0 for bit in bits):
            raise ValueError(f"bits must be 1 to {MAX_BITS} different numbers from 0 on")
        if self.offset is None and self.field is None:
            raise ValueError("a flip by message needs the name of a field")

    def changes(self, field: Field, draws: Sequence[Draw]) -> list[Change]:
        """One change for each byte that is hit."""
        places = [field.locate(bit) for bit in self._aimed()]
        if not places:
            places = [(one.byte(field.length or 0), one.bit()) for one in draws]
        masks: dict[int, int] = {}
        for at, bit in places:
            masks[at] = masks.get(at, 0) | 1 << bit
        return [Change(at, mask) for at, mask in masks.items()]

    @property
    def draws_place(self) -> bool:
        """Whether no bit was named."""
        return not self._aimed()

    def _aimed(self) -> list[int]:
        return self.bits if self.bits is not None else [] if self.bit is None else [self.bit]
