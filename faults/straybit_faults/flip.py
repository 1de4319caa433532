"""Flips: which bits of which message, and their text form, the flip id.

Grammar (schema 1), characters from `A-Za-z0-9.:_+/-` only:

    1/LINK/up|down/KIND/ORDINAL/FIELD/BIT[+BIT...][/repair][/control]
    1/LINK/up|down/at/CONNECTION/OFFSET/BIT[/control]
    1/LINK/up|down/KIND/ORDINAL/truncate:N|duplicate|swap|stale|drop_header:NAME[/control]

Ordinals count from 0 per link, direction and kind, from the moment of arming.
"""

from __future__ import annotations

import re

import msgspec

from straybit_faults.wire import Direction

__all__ = ["MAX_BITS", "Aim", "DataAim", "FieldAim", "Flip", "FlipIdError", "Link", "OffsetAim"]

SCHEMA = "1"
MAX_BITS = 8
"""Three bits by request (Sangchoolie et al., TDSC 2020: more are rarely worse), eight for one set byte."""
MAX_DIGITS = 20
"""Of a number in a flip id: more than any 64-bit number has."""

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_FIELD = re.compile(r"[A-Za-z0-9._-]+")
_DATA = re.compile(r"duplicate|swap|stale|truncate:[0-9]+|drop_header:[A-Za-z0-9-]+")


class FlipIdError(ValueError):
    """A flip id or a part of one that cannot be read; the message says what, why and what to do."""


class Link(msgspec.Struct, frozen=True, order=True):
    """The directed path from `caller` to `callee`, written `lb-1:storage-2`."""

    caller: str
    callee: str

    def __str__(self) -> str:
        return f"{self.caller}:{self.callee}"

    @classmethod
    def parse(cls, text: str) -> Link:
        """Read `caller:callee`. Raises FlipIdError."""
        caller, colon, callee = text.partition(":")
        if not (colon and _NAME.fullmatch(caller) and _NAME.fullmatch(callee)):
            raise FlipIdError(f"link {text!r} is not CALLER:CALLEE, such as gossip-1:gossip-2")
        return cls(caller, callee)


class FieldAim(msgspec.Struct, frozen=True, tag="field"):
    """Bits `bits` of `field` in the `ordinal`-th message of `kind`; `repair` recomputes its checksum afterwards."""

    kind: str
    ordinal: int
    field: str
    bits: tuple[int, ...]
    repair: bool = False


class OffsetAim(msgspec.Struct, frozen=True, tag="at"):
    """Bit `bit` (0..7) of the byte at stream offset `offset` of the `connection`-th connection since arming."""

    connection: int
    offset: int
    bit: int


class DataAim(msgspec.Struct, frozen=True, tag="data"):
    """A whole-message fault of a balancer: `truncate:N`, `duplicate`, `swap`, `stale`, `drop_header:NAME`."""

    kind: str
    ordinal: int
    fault: str


Aim = FieldAim | OffsetAim | DataAim


class Flip(msgspec.Struct, frozen=True):
    """One addressed change of one message on one link; a control does everything but change the bit."""

    link: Link
    direction: Direction
    aim: Aim
    control: bool = False

    def __str__(self) -> str:
        """The flip id; `Flip.parse(str(flip)) == flip`."""
        head = f"{SCHEMA}/{self.link}/{self.direction}/"
        match self.aim:
            case FieldAim(kind, ordinal, field, bits, repair):
                body = f"{kind}/{ordinal}/{field}/{'+'.join(map(str, bits))}" + ("/repair" if repair else "")
            case OffsetAim(connection, offset, bit):
                body = f"at/{connection}/{offset}/{bit}"
            case DataAim(kind, ordinal, fault):
                body = f"{kind}/{ordinal}/{fault}"
        return head + body + ("/control" if self.control else "")

    @classmethod
    def parse(cls, text: str) -> Flip:
        """Read a flip id. Raises FlipIdError with what is wrong and what would be right."""
        parts = text.split("/")
        if parts[0] != SCHEMA:
            raise FlipIdError(f"flip id {text!r} has schema {parts[0]!r}; this version reads schema {SCHEMA}")
        control = parts[-1] == "control"
        rest = parts[1:-1] if control else parts[1:]
        if len(rest) < 4:
            raise FlipIdError(f"flip id {text!r} is too short; expected 1/LINK/up|down/KIND/ORDINAL/FIELD/BIT")
        link, direction, *aim = rest
        if direction not in {"up", "down"}:
            raise FlipIdError(f"direction {direction!r} in flip id {text!r} is neither up nor down")
        return cls(Link.parse(link), Direction(direction), _parse_aim(aim, text), control)


def _parse_aim(parts: list[str], text: str) -> Aim:
    if parts[0] == "at":
        if len(parts) != 4:
            raise FlipIdError(f"flip id {text!r} needs at/CONNECTION/OFFSET/BIT")
        connection, offset, bit = (_number(part, text) for part in parts[1:])
        if bit > 7:
            raise FlipIdError(f"bit {bit} in flip id {text!r} is not a bit of one byte; use 0..7")
        return OffsetAim(connection, offset, bit)
    kind, ordinal, *rest = parts
    if not _NAME.fullmatch(kind):
        raise FlipIdError(f"message kind {kind!r} in flip id {text!r} is not a name")
    if len(rest) == 1 and _DATA.fullmatch(rest[0]):
        return DataAim(kind, _number(ordinal, text), rest[0])
    repair = rest[-1:] == ["repair"]
    if len(rest) - repair != 2 or not _FIELD.fullmatch(rest[0]):
        raise FlipIdError(f"flip id {text!r} needs KIND/ORDINAL/FIELD/BIT[+BIT...][/repair]")
    bits = tuple(_number(part, text) for part in rest[1].split("+"))
    if len(set(bits)) != len(bits) or len(bits) > MAX_BITS:
        raise FlipIdError(f"flip id {text!r} needs 1 to {MAX_BITS} different bits")
    return FieldAim(kind, _number(ordinal, text), rest[0], bits, repair)


def _number(text: str, whole: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise FlipIdError(f"{text!r} in flip id {whole!r} is not a number")
    if len(text) > MAX_DIGITS:
        raise FlipIdError(f"a number of {len(text)} digits in a flip id is too long: at most {MAX_DIGITS}")
    return int(text)
