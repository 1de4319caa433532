"""Where wires are found: entry points of the group `straybit.wires`, loaded when first asked for, or given by hand."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from straybit_faults.wire import Wire

__all__ = ["GROUP", "UnknownWireError", "add_wire", "find_wire", "wire_names"]

GROUP = "straybit.wires"


_given: dict[str, Wire] = {}


class UnknownWireError(ValueError):
    """No wire of that name is installed, or it cannot be loaded; the message names those there are."""


def wire_names() -> list[str]:
    """The names of every installed wire, and of those that were given, sorted."""
    return sorted({*_given, *(entry.name for entry in entry_points(group=GROUP))})


def add_wire(where: str) -> Wire:
    """Have the wire at `MODULE:ATTR` found by its name, in this process. Raises UnknownWireError."""
    module, _, attribute = where.partition(":")
    try:
        wire: Wire = getattr(import_module(module), attribute)
        _given[wire.name] = wire
    except Exception as error:
        raise UnknownWireError(f"wire {where!r} cannot be loaded: {error}; give MODULE:ATTR") from error
    find_wire.cache_clear()
    return wire


@cache
def find_wire(name: str) -> Wire:
    """The wire called `name`. Raises UnknownWireError."""
    if name in _given:
        return _given[name]
    for entry in entry_points(group=GROUP, name=name):
        try:
            wire: Wire = entry.load()
        except Exception as error:
            raise UnknownWireError(f"wire {name!r} cannot be loaded from {entry.value}: {error}") from error
        return wire
    raise UnknownWireError(f"there is no wire {name!r}; installed are {', '.join(wire_names())}")
