"""A receipt as bytes: the context it was sent in, with the changed byte marked, and its values bit by bit."""

from __future__ import annotations

import msgspec

from straybit.records import Receipt

__all__ = ["Bits", "Cell", "Row", "bits_of", "rows_of"]

WIDTH = 8
"""Bytes in a row: few enough for a phone."""


class Cell(msgspec.Struct, frozen=True):
    """One byte, as hex and as a character, and whether it was changed."""

    hex: str
    char: str
    changed: bool


class Row(msgspec.Struct, frozen=True):
    """Up to eight bytes from stream offset `at` on."""

    at: int
    cells: tuple[Cell, ...]


class Bits(msgspec.Struct, frozen=True):
    """A changed byte; `before` and `after` are its bits, most significant first, each with whether it changed."""

    offset: int
    mask: int
    before_value: int
    after_value: int
    before: tuple[tuple[str, bool], ...]
    after: tuple[tuple[str, bool], ...]

    @property
    def bits(self) -> tuple[int, ...]:
        """Which bits changed, 0 the least significant."""
        return tuple(bit for bit in range(8) if self.mask >> bit & 1)


def rows_of(receipt: Receipt) -> tuple[Row, ...]:
    """The receipt's context in rows; empty where it has none that can be read."""
    try:
        data = bytes.fromhex(receipt.context)
    except ValueError:
        return ()
    at = receipt.context_at or 0
    changed = {offset for offset, before, after in _changed(receipt) if before != after}
    cells = [Cell(f"{byte:02x}", _char(byte), at + place in changed) for place, byte in enumerate(data)]
    return tuple(Row(at + first, tuple(cells[first : first + WIDTH])) for first in range(0, len(cells), WIDTH))


def bits_of(receipt: Receipt) -> tuple[Bits, ...]:
    """Every byte the flip touched, before and after."""
    return tuple(
        Bits(offset, before ^ after, before, after, _bits(before, before ^ after), _bits(after, before ^ after))
        for offset, before, after in _changed(receipt)
    )


def _changed(receipt: Receipt) -> tuple[tuple[int, int, int], ...]:
    if receipt.bytes:
        return receipt.bytes
    if receipt.offset is None or receipt.before is None or receipt.after is None:
        return ()
    return ((receipt.offset, receipt.before, receipt.after),)


def _bits(value: int, mask: int) -> tuple[tuple[str, bool], ...]:
    return tuple((str(value >> bit & 1), bool(mask >> bit & 1)) for bit in range(7, -1, -1))


def _char(byte: int) -> str:
    return chr(byte) if 0x20 <= byte < 0x7F else "·"
