"""The map as a drawing: every byte of the message a column, every bit a cell, to scale; inline SVG."""

from __future__ import annotations

from collections.abc import Iterator

from markupsafe import Markup, escape

from straybit.campaign.map import BitCell, FieldRow, Map
from straybit.report.map_words import ranges
from straybit_faults.wire import Field

__all__ = ["layout"]

PER_LINE = 40
"""Bytes to a line: as many as fit a page's width."""
CELL_W, CELL_H = 24, 11
HEAD = 30
LINE = HEAD + 8 * CELL_H + 14


def layout(found: Map) -> Markup:
    """The message, 40 bytes to a line, bit 7 of each byte on top; fields are numbered in the order they stand."""
    last = max((row.at + row.length for row in found.fields), default=0)
    lines = (last + PER_LINE - 1) // PER_LINE
    parts = [part for number, row in enumerate(found.fields, 1) for part in _field(number, row)]
    width, height = PER_LINE * CELL_W, lines * LINE
    label = escape(f"the bits of {found.message}, {found.bits} in {last} bytes")
    return Markup(
        f'<svg class="map" viewBox="0 0 {width} {height}" width="100%" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg>"
    )


def _field(number: int, row: FieldRow) -> Iterator[str]:
    """A frame for each line that the field is on, its number and name on the first, and its bits."""
    css = "frame guard" if row.guard else "frame"
    title = f"{row.name}, {row.cls}: {ranges(row.cells) or 'not tried'}"
    yield f"<g><title>{escape(title)}</title>"
    for part, (x, y, count) in enumerate(_runs(row.at, row.length)):
        width = count * CELL_W
        yield f'<rect class="{css}" x="{x}" y="{y + HEAD - 14}" width="{width}" height="{8 * CELL_H + 14}"/>'
        if part == 0:
            name = f"{number} {row.name}"
            shown = name if len(name) * 6.2 < width - 4 else str(number)
            yield f'<text x="{x + 3}" y="{y + HEAD - 3}">{escape(shown)}</text>'
    yield "</g>"
    known = {cell.bit: cell for cell in row.cells}
    for bit in range(row.bits):
        yield _cell(row, bit, known.get(bit))


def _cell(row: FieldRow, bit: int, cell: BitCell | None) -> str:
    byte, in_byte = Field(row.name, 0, row.length, row.cls, row.number).locate(bit)
    line, column = divmod(row.at + byte, PER_LINE)
    x, y = column * CELL_W, line * LINE + HEAD + (7 - in_byte) * CELL_H
    if cell is None:
        return f'<rect class="cell untried" x="{x + 1}" y="{y + 1}" width="{CELL_W - 2}" height="{CELL_H - 2}"/>'
    flags = (" sticky" if cell.sticky else "") + (" requests" if cell.lost else "") + (" luck" if cell.by_luck else "")
    words = f"{row.name} bit {bit}: {ranges([cell]).partition(' ')[2]}; trial {cell.trial}"
    mark = f'<circle class="lost" cx="{x + CELL_W / 2}" cy="{y + CELL_H / 2}" r="2.5"/>' if cell.lost else ""
    return (
        f'<g><title>{escape(words)}</title><rect class="cell o-{str(cell.outcome).lower()}{flags}"'
        f' x="{x + 1}" y="{y + 1}" width="{CELL_W - 2}" height="{CELL_H - 2}"/>{mark}</g>'
    )


def _runs(at: int, length: int) -> Iterator[tuple[int, int, int]]:
    """(x, y, bytes) of each line's part of a field."""
    while length > 0:
        line, column = divmod(at, PER_LINE)
        count = min(length, PER_LINE - column)
        yield column * CELL_W, line * LINE, count
        at, length = at + count, length - count
