"""Where wires are found: entry points of the group `straybit.wires`, loaded when first asked for."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from straybit_faults.wire import Wire

__all__ = ["GROUP", "UnknownWireError", "find_wire", "wire_names"]

GROUP = "straybit.wires"


class UnknownWireError(ValueError):
    """No wire of that name is installed, or it cannot be loaded; the message names those there are."""


def wire_names() -> list[str]:
    """The names of every installed wire, sorted."""
    return sorted(entry.name for entry in entry_points(group=GROUP))


@cache
def find_wire(name: str) -> Wire:
    """The wire called `name`. Raises UnknownWireError."""
    for entry in entry_points(group=GROUP, name=name):
        try:
            wire: Wire = entry.load()
        except Exception as error:
            raise UnknownWireError(f"wire {name!r} cannot be loaded from {entry.value}: {error}") from error
        return wire
    raise UnknownWireError(f"there is no wire {name!r}; installed are {', '.join(wire_names())}")
