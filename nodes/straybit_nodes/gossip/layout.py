"""Where every field of a gossip frame lies: the one table behind the codec, the wire description and the docs.

All numbers are big-endian; names are 16 bytes of ASCII, padded with NUL.
A frame is the header and then a body of `length` bytes: the fixed fields of its kind, then its lists one after another.
"""

from __future__ import annotations

from struct import Struct, calcsize

import msgspec

from straybit_faults.wire import FieldClass

__all__ = [
    "BODIES",
    "CHECKSUM_AT",
    "GUARD_AT",
    "HEADER",
    "MAGIC",
    "MAX_BODY",
    "NAME_SIZE",
    "PROTOCOL",
    "Body",
    "Item",
    "Table",
    "by_type",
    "describe",
]

MAGIC = b"sb"
PROTOCOL = 2
"""1 had neither `guard` nor `digest`."""
NAME_SIZE = 16
MAX_BODY = 1 << 20
"""Of one frame, in bytes: 22,000 entries, an order above the largest cluster."""

_PAYLOAD = FieldClass.PAYLOAD


class Item(msgspec.Struct, frozen=True):
    """One field: its name, its `struct` code and its class."""

    name: str
    code: str
    cls: FieldClass = _PAYLOAD

    @property
    def size(self) -> int:
        """In bytes."""
        return calcsize(">" + self.code)

    @property
    def number(self) -> bool:
        """Whether it is an integer rather than a byte string."""
        return not self.code.endswith("s")


class Table(msgspec.Struct, frozen=True):
    """Fields in the order they stand, without gaps."""

    items: tuple[Item, ...]

    @property
    def packed(self) -> Struct:
        """The `struct` that reads and writes them."""
        return Struct(">" + "".join(item.code for item in self.items))

    def offset(self, name: str) -> int:
        """Of that field, in bytes from the table's first. Raises KeyError."""
        at = 0
        for item in self.items:
            if item.name == name:
                return at
            at += item.size
        raise KeyError(name)


class Body(msgspec.Struct, frozen=True):
    """The body of one kind: fixed fields, then for each (count's name, table) that many rows."""

    kind: str
    type: int
    fixed: Table = Table(())
    lists: tuple[tuple[str, Table], ...] = ()


HEADER = Table(
    (
        Item("magic", "2s", FieldClass.PROTOCOL),
        Item("protocol", "B", FieldClass.PROTOCOL),
        Item("type", "B", FieldClass.TYPE),
        Item("flags", "B", FieldClass.FLAGS),  # bit 0: a checksum is present
        Item("reserved", "B", FieldClass.FLAGS),
        Item("length", "I", FieldClass.LENGTH),  # of the body
        Item("guard", "I", FieldClass.CHECKSUM),  # CRC32C of all before it: what says where the frame ends
        Item("checksum", "I", FieldClass.CHECKSUM),  # CRC32C of the whole frame with this field as 0
        Item("sender", "16s"),
    )
)
GUARD_AT = HEADER.offset("guard")
CHECKSUM_AT = HEADER.offset("checksum")

_ENTRY = Table(
    (
        Item("owner", "16s"),
        Item("address", "I", FieldClass.ADDRESS),
        Item("status", "B"),
        Item("load", "H"),
        Item("generation", "Q"),
        Item("version", "Q"),
        Item("digest", "Q", FieldClass.CHECKSUM),  # the owner's, see seal
    )
)
_ROW = Table((Item("owner", "16s"), Item("generation", "Q"), Item("version", "Q"), Item("hash", "Q")))
_WANTED = Table((Item("wanted", "16s"),))
_ID = Item("id", "I")

BODIES: dict[str, Body] = {
    body.kind: body
    for body in (
        Body(
            "digest",
            1,
            Table(
                (
                    Item("since", "Q"),
                    Item("upto", "Q"),
                    Item("heard", "Q"),
                    Item("summary", "Q"),
                    Item("rows", "H", FieldClass.LENGTH),
                )
            ),
            (("rows", _ROW),),
        ),
        Body(
            "state",
            2,
            Table(
                (
                    Item("replace", "B", FieldClass.FLAGS),
                    Item("everything", "B", FieldClass.FLAGS),
                    Item("upto", "Q"),
                    Item("entries", "H", FieldClass.LENGTH),
                    Item("wants", "H", FieldClass.LENGTH),
                )
            ),
            (("entries", _ENTRY), ("wants", _WANTED)),
        ),
        Body("failed", 3, Table((Item("owner", "16s"), Item("generation", "Q"), Item("version", "Q")))),
        Body("place", 4, Table((_ID, Item("peer", "16s")))),
        Body("granted", 5, Table((_ID, Item("address", "I", FieldClass.ADDRESS)))),
        Body("denied", 6, Table((_ID, Item("reason", "B")))),
        Body("release", 7, Table((_ID,))),
        Body("subscribe", 8),
        Body("ok", 9),
    )
}

_BY_TYPE = {body.type: body for body in BODIES.values()}


def by_type(number: int) -> Body | None:
    """The body whose type byte that is."""
    return _BY_TYPE.get(number)


def describe() -> str:
    """The layout as tables of Markdown, for the docs: part, field, bytes, class; at its offset where that is fixed."""
    lines = ["| part | at | field | bytes | class |", "|---|---|---|---|---|", *_lines("header", HEADER, 0)]
    for body in BODIES.values():
        lines += _lines(f"`{body.kind}` ({body.type})", body.fixed, HEADER.packed.size)
        for count, table in body.lists:
            lines += _lines(f"`{body.kind}`, each of `{count}`", table, None)
    return "\n".join(lines) + "\n"


def _lines(part: str, table: Table, at: int | None) -> list[str]:
    lines = []
    for item in table.items:
        lines.append(f"| {part} | {'' if at is None else at} | `{item.name}` | {item.size} | {item.cls} |")
        at = None if at is None else at + item.size
    return lines or [f"| {part} | | | 0 | |"]
