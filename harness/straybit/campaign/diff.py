"""Two maps, and what got worse from one to the other. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from straybit.campaign.map import SCHEMA, Map

__all__ = ["Change", "Diff", "MapError", "compare", "newly_dangerous", "read_map"]


class MapError(ValueError):
    """A map that cannot be read or compared; says why and what to do."""


class Change(msgspec.Struct, frozen=True):
    """A field (without its owner's name) in which so many more bits are dangerous, and so many less; where exactly."""

    field: str
    more: int
    less: int
    bits: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"+{self.more}" if self.more else "", f"-{self.less}" if self.less else ""]
        one = self.more + self.less == 1
        return f"{' and '.join(filter(None, parts))} dangerous bit{'' if one else 's'} in `{self.field}`"


class Diff(msgspec.Struct, frozen=True):
    """What changed, the worst first."""

    changes: tuple[Change, ...]

    @property
    def worse(self) -> bool:
        """Some bit is dangerous that was not."""
        return any(change.more for change in self.changes)


def read_map(path: Path) -> Map:
    """A map.json, or that of a campaign's folder. Raises MapError."""
    file = path / "map.json" if path.is_dir() else path
    try:
        data = file.read_bytes()
    except OSError as error:
        raise MapError(f"{file} cannot be read ({error.strerror}): name a campaign's folder or its map.json") from None
    try:
        schema = _SCHEMA.decode(data).schema
        if schema != SCHEMA:
            raise MapError(f"{file} has schema {schema}, and this straybit reads {SCHEMA}")
        return _MAP.decode(data)
    except msgspec.MsgspecError as error:
        raise MapError(f"{file} is no map ({error}): name a campaign's folder or its map.json") from None


class _Schema(msgspec.Struct):
    schema: int


_SCHEMA = msgspec.json.Decoder(_Schema)
_MAP = msgspec.json.Decoder(Map)


def newly_dangerous(old: Map | None, new: Map) -> frozenset[tuple[str, int]]:
    """Bits, as (field, bit), that are dangerous in `new` and were not in `old`; all of them without an old one."""
    return _dangerous(new) - (_dangerous(old) if old is not None else frozenset())


def compare(old: Map, new: Map) -> Diff:
    """What is dangerous in `new` and was not in `old`, and the other way round, by field.

    Only bits that both maps tried count; fields that only one has count in full.
    Raises MapError for maps of different kinds of message.
    """
    if _kind(old) != _kind(new):
        raise MapError(f"{old.message} and {new.message} are different kinds of message; compare maps of one kind")
    more = _tried_in(newly_dangerous(old, new), old)
    less = _tried_in(newly_dangerous(new, old), new)
    names = sorted({_bare(field) for field, _ in more | less})
    changes = [_change(name, more, less) for name in names]
    return Diff(tuple(sorted(changes, key=lambda change: (-change.more, change.less, change.field))))


def _change(name: str, more: Iterable[tuple[str, int]], less: Iterable[tuple[str, int]]) -> Change:
    worse = sorted(bit for bit in more if _bare(bit[0]) == name)
    better = sorted(bit for bit in less if _bare(bit[0]) == name)
    where = tuple(f"{sign}{field}/{bit}" for sign, bits in (("+", worse), ("-", better)) for field, bit in bits)
    return Change(name, len(worse), len(better), where)


def _dangerous(found: Map) -> frozenset[tuple[str, int]]:
    return frozenset((row.name, cell.bit) for row in found.fields for cell in row.cells if cell.dangerous)


def _tried_in(bits: Iterable[tuple[str, int]], other: Map) -> frozenset[tuple[str, int]]:
    """Those that the other map tried as well, or whose field it does not have."""
    tried = {row.name: {cell.bit for cell in row.cells} for row in other.fields}
    return frozenset(each for each in bits if each[0] not in tried or each[1] in tried[each[0]])


def _kind(found: Map) -> str:
    return found.message.split("/")[2]


def _bare(field: str) -> str:
    return field.rpartition(".")[2]
