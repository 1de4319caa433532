"""`setbyte`: one byte becomes another value, as a balancer's bad memory would have it."""

from __future__ import annotations

from collections.abc import Sequence

from straybit_faults.draw import Draw
from straybit_faults.toxics.content import Change, Content
from straybit_faults.wire import Field

__all__ = ["SetByte"]


class SetByte(Content, kw_only=True):
    """Byte `byte` of the field becomes `value` or is XORed with `mask` (1..255); what is left out is drawn."""

    byte: int | None = None
    value: int | None = None
    mask: int | None = None

    def check(self) -> None:
        """Raises ValueError for a byte no field can have, and for a value and a mask together."""
        super().check()
        if self.value is not None and (self.mask is not None or not 0 <= self.value <= 255):
            raise ValueError("give a value in 0..255 or a mask in 1..255, not both")
        if self.mask is not None and not 1 <= self.mask <= 255:
            raise ValueError(f"mask must be in 1..255, but is {self.mask}")
        if self.byte is not None and self.byte < 0:
            raise ValueError(f"byte must not be negative, but is {self.byte}")
        if self.offset is None and self.field is None:
            raise ValueError("a set byte by message needs the name of a field")

    def changes(self, field: Field, draws: Sequence[Draw]) -> list[Change]:
        """The one byte."""
        one = draws[0]
        at = self.byte if self.byte is not None else one.byte(field.length or 0)
        if field.length is not None and at >= field.length:
            raise ValueError(f"field {field.name} has bytes 0..{field.length - 1}, not {at}")
        if self.value is not None:
            return [Change(at, value=self.value)]
        return [Change(at, self.mask if self.mask is not None else one.mask())]

    @property
    def draws_place(self) -> bool:
        """Whether no byte was named."""
        return self.byte is None
