"""A map in words: as text for a terminal, and the phrases that its page shares. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from straybit.again import defences_word
from straybit.campaign.map import BitCell, FieldRow, Map
from straybit.outcome import DANGEROUS, Outcome

__all__ = ["LETTERS", "Stretch", "danger_first", "headline", "map_text", "ranges", "setting", "share_of", "stretches"]

LETTERS = {
    Outcome.SPREAD: "S",
    Outcome.LATENT: "L",
    Outcome.SILENT: "s",
    Outcome.NOTICED: "n",
    Outcome.CRASH: "C",
    Outcome.HANG: "H",
    Outcome.DEGRADED: "d",
    Outcome.DETECTED: "D",
    Outcome.MASKED: ".",
    Outcome.INVALID: "?",
}
"""One letter a bit; a bit that was not tried is blank."""


class Stretch(msgspec.Struct, frozen=True):
    """Neighbouring bits that ended alike."""

    high: int
    low: int
    cell: BitCell

    @property
    def bits(self) -> str:
        """As `63..24`, or `7` alone."""
        return f"{self.high}" if self.high == self.low else f"{self.high}..{self.low}"


def headline(found: Map) -> str:
    """The one sentence: how many bits of the message are dangerous."""
    danger = found.dangerous
    if danger.exact:
        count = f"{danger.count:g} of {found.bits} bits are dangerous"
    else:
        count = f"about {danger.count:g} of {found.bits} bits are dangerous ({danger.low:g} to {danger.high:g})"
    rest = "" if found.complete else f"; {_tried(found)} so far"
    return f"{found.message}: {count}, {setting(found)}{rest}"


def setting(found: Map) -> str:
    """Under what it was found."""
    word = defences_word(found.defences)
    defences = {"none": "no defences", "2008": "the defences of 2008", "all": "all defences"}.get(word, word)
    return defences + (", checksums repaired" if found.repair else "")


def danger_first(found: Map) -> tuple[FieldRow, ...]:
    """Fields, the most dangerous bits first, then as they stand in the message."""
    return tuple(sorted(found.fields, key=lambda row: (-row.dangerous, row.at)))


def share_of(found: Map, outcome: Outcome) -> str:
    """Count, share and interval of an outcome; of none, the bound."""
    count, tried = found.outcomes[outcome], found.tried
    low, high = found.intervals[outcome]
    if not tried:
        return "none tried"
    if not count:
        return f"0, at most {100 * high:.2f} %"
    return f"{count}, {100 * count / tried:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def stretches(cells: Sequence[BitCell]) -> Iterator[Stretch]:
    """Bits that ended alike, from the highest down."""
    left = sorted(cells, key=lambda cell: -cell.bit)
    while left:
        first = left[0]
        count = 1
        while count < len(left) and left[count].bit == first.bit - count and _kind(left[count]) == _kind(first):
            count += 1
        yield Stretch(first.bit, left[count - 1].bit, first)
        left = left[count:]


def ranges(cells: Sequence[BitCell]) -> str:
    """Every stretch in words, as `63..2 SPREAD sticky; 1..0 MASKED`."""
    return "; ".join(f"{each.bits} {_words(each.cell)}" for each in stretches(cells))


def map_text(found: Map) -> str:
    """The map for a terminal: the count first, then what there was of each outcome, then each field and its bits."""
    return "\n".join([headline(found), *_facts(found), "", *_table(found), "", _legend(found)]) + "\n"


def _kind(cell: BitCell) -> tuple[object, ...]:
    return cell.outcome, cell.by, cell.sticky, cell.survives_restart, cell.lost > 0


def _words(cell: BitCell) -> str:
    words = [str(cell.outcome)]
    words += [f"by {', '.join(cell.by)}" + (" (luck)" if cell.by_luck else "")] if cell.by else []
    words += ["sticky, also after a restart" if cell.survives_restart else "sticky"] if cell.sticky else []
    words += ["requests lost"] if cell.lost else []
    return ", ".join(words)


def _facts(found: Map) -> Iterator[str]:
    shown = [Outcome(name) for name, count in found.outcomes.items() if count or Outcome(name) in DANGEROUS]
    for outcome in shown:
        yield f"  {outcome:<9} {share_of(found, outcome)}"
    two = found.detected
    yield f"  injected: {two.fault_detected} detected, {two.fault_missed} not; " + _controls(found)
    if found.invalid:
        yield f"  {found.invalid} INVALID, in no rate"
    yield f"  {_tried(found)}; {found.length} bytes, {found.backend}, {found.nodes} nodes, seed {found.seed}"


def _controls(found: Map) -> str:
    two = found.detected
    return f"controls: {two.control_detected} false alarms in {two.control_detected + two.control_quiet}"


def _tried(found: Map) -> str:
    how = "census" if found.whole else "sample"
    return f"{how}: {found.tried} of {found.bits} bits tried"


def _table(found: Map) -> Iterator[str]:
    rows = danger_first(found)
    width = max(len(row.name) for row in rows) if rows else 5
    yield f"{'field':<{width}} class    dangerous sticky requests  bits, highest first"
    for row in rows:
        guard = "*" if row.guard else " "
        count = f"{row.dangerous}/{row.tried}"
        head = f"{row.name:<{width}} {row.cls:<8}{guard}{count:>9} {row.sticky:>6} {row.takes_requests:>8}"
        for number, part in enumerate(_strips(row)):
            yield f"{head if number == 0 else ' ' * len(head)}  {part}"


def _strips(row: FieldRow) -> Iterator[str]:
    """Letters, eight to a group and eight groups to a line."""
    known = {cell.bit: LETTERS[cell.outcome] for cell in row.cells}
    letters = "".join(known.get(bit, " ") for bit in reversed(range(row.bits)))
    groups = [letters[at : at + 8] for at in range(0, len(letters), 8)]
    for at in range(0, len(groups), 8):
        yield " ".join(groups[at : at + 8])


def _legend(found: Map) -> str:
    used = _used(found)
    words = "  ".join(f"{letter} {outcome}" for outcome, letter in LETTERS.items() if outcome in used)
    return f"{words}  * guard bits: they decide whether a check runs"


def _used(found: Map) -> frozenset[Outcome]:
    cells: Iterable[BitCell] = (cell for row in found.fields for cell in row.cells)
    return frozenset(cell.outcome for cell in cells)
