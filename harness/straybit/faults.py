"""What a test injects: faults are nouns, checked against the cluster before anything is armed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from straybit_faults.client import Stream
from straybit_faults.flip import DataAim, FieldAim, Flip, FlipIdError, Link, OffsetAim
from straybit_faults.wire import Direction, FieldClass, Wire
from straybit_faults.wires import find_wire
from straybit_nodes.topology import LinkSpec, Topology

__all__ = ["BitFlip", "Toxic", "check_flip", "check_link", "toxic_of"]


class Toxic(msgspec.Struct, frozen=True):
    """A toxic as the proxy's API takes it, on the proxy of `link`."""

    link: str
    kind: str
    direction: Direction
    attributes: dict[str, Any]

    @property
    def stream(self) -> Stream:
        """Toxiproxy's word for the direction."""
        return "upstream" if self.direction is Direction.UP else "downstream"


def BitFlip(  # noqa: N802 - a fault reads as a noun
    link: str,
    *,
    message: str,
    field: str,
    bit: int | Iterable[int],
    ordinal: int = 0,
    direction: str = "up",
    repair: bool = False,
    control: bool = False,
) -> Flip:
    """One bit (or up to eight) of one field of the `ordinal`-th message of a kind on `link`, from caller to callee.

    `repair` recomputes the message's checksum afterwards: damage from before it was made.
    `control` does everything but change the bit.
    Raises FlipIdError when a part of it cannot be; whether link, message and field exist is checked by the trial.
    """
    if direction not in {"up", "down"}:
        raise FlipIdError(f"direction {direction!r} is neither up (caller to callee) nor down")
    bits = (bit,) if isinstance(bit, int) else tuple(bit)
    aim = FieldAim(message, ordinal, field, bits, repair)
    flip = Flip(Link.parse(link), Direction(direction), aim, control)
    return Flip.parse(str(flip))


def check_link(link: Link, topology: Topology) -> LinkSpec:
    """The link as the topology has it. Raises FlipIdError, naming what there is."""
    specs = {spec.name: spec for spec in topology.links(link.caller)}
    if str(link) not in specs:
        near = sorted(specs)
        hint = f"{link.caller} has {', '.join(near)}" if near else "`straybit list links` names them"
        raise FlipIdError(f"there is no link {link}; {hint}")
    return specs[str(link)]


def check_flip(flip: Flip, topology: Topology) -> None:
    """Raise FlipIdError, naming what there is, unless the flip's link, message, field and bit can exist."""
    spec = check_link(flip.link, topology)
    if isinstance(flip.aim, OffsetAim):
        return
    wire = find_wire(spec.wire)
    if flip.aim.kind not in wire.kinds:
        raise FlipIdError(f"{spec.wire} has no message {flip.aim.kind!r}; it has {', '.join(wire.kinds)}")
    if isinstance(flip.aim, FieldAim):
        _check_field(flip.aim, wire, [m.name for m in topology.members()])
    elif spec.wire != "http1":
        raise FlipIdError(f"{flip.aim.fault} is a fault of requests and replies; {flip.link} carries {spec.wire}")


def _check_field(aim: FieldAim, wire: Wire, members: list[str]) -> None:
    fields = {name: size for name, _, size in wire.fields(aim.kind)}
    owner, dot, bare = aim.field.partition(".")
    if dot and owner in members:
        name = next((n for n in (bare, f"OWNER.{bare}") if n in fields), None)
    else:
        name = next((n for n in (aim.field, f"OWNER.{aim.field}", f"{owner}.NAME") if n in fields), None)
    if name is None:
        known = ", ".join(fields)
        raise FlipIdError(f"message {aim.kind} has no field {aim.field!r}; it has {known}, OWNER being a member")
    if aim.repair and not any(cls is FieldClass.CHECKSUM for _, cls, _ in wire.fields(aim.kind)):
        raise FlipIdError(f"message {aim.kind} of {wire.name} has no checksum of its own that could be repaired")
    size = fields[name]
    if size is not None and max(aim.bits) >= size:
        raise FlipIdError(f"field {aim.field} has bits 0..{size - 1}, not {max(aim.bits)}")


def toxic_of(flip: Flip, topology: Topology) -> Toxic:
    """How the proxy is told of a flip."""
    attributes: dict[str, Any]
    kind = "bitflip"
    match flip.aim:
        case OffsetAim(connection, offset, bit):
            attributes = {"connection": connection, "offset": offset, "bit": bit}
        case FieldAim(message, ordinal, field, bits, repair):
            wire = next(s.wire for s in topology.links(flip.link.caller) if s.name == str(flip.link))
            attributes = {"wire": wire, "message": message, "ordinal": ordinal, "field": field, "bits": list(bits)}
            attributes |= {"repair": True} if repair else {}
        case DataAim(message, ordinal, fault):
            kind, _, argument = fault.partition(":")
            attributes = {"wire": "http1", "message": message, "ordinal": ordinal}
            attributes |= {"bytes": int(argument)} if kind == "truncate" else {}
            attributes |= {"name": argument} if kind == "drop_header" else {}
    attributes |= {"control": True} if flip.control else {}
    return Toxic(str(flip.link), kind, flip.direction, attributes)
