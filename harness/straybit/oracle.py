"""Which values in which views are wrong: what its owner never originated, and nothing else.

An owner originates its address, status and generation as topology, start or a control command set them,
and versions up to its own count of heartbeats in that generation.
What an owner adopted by merging and says again stays wrong.
Load and timing are not compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

__all__ = ["Believed", "Entry", "Originated", "View", "Wrong", "wrong_values"]


class Believed(Protocol):
    """What the oracle asks of an entry, be it of a node's view or of a core's own."""

    @property
    def address(self) -> int:
        """As on the wire."""

    @property
    def status(self) -> int:
        """As on the wire."""

    @property
    def generation(self) -> int:
        """As on the wire."""

    @property
    def version(self) -> int:
        """As on the wire."""


class Entry(msgspec.Struct, frozen=True):
    """What one member believes of another; numbers as on the wire."""

    address: int
    status: int
    load: int
    generation: int
    version: int


class Originated(msgspec.Struct, frozen=True):
    """What an owner itself set, kept outside the entry that is gossiped."""

    address: int
    status: int
    generation: int
    heartbeats: int


View = Mapping[str, Believed]
"""One member's entries by owner."""


class Wrong(msgspec.Struct, frozen=True, order=True):
    """`holder` believes `field` of `owner` to be `value`, which the owner never said."""

    holder: str
    owner: str
    field: str
    value: int


def wrong_values(views: Mapping[str, View], originated: Mapping[str, Originated]) -> tuple[Wrong, ...]:
    """Every wrong value in the views, sorted.

    Look at the views first and at what was originated afterwards, or a fresh heartbeat looks wrong.
    """
    return tuple(sorted(_wrong(views, originated)))


def _wrong(views: Mapping[str, View], originated: Mapping[str, Originated]) -> Iterable[Wrong]:
    for holder, view in views.items():
        for owner, entry in view.items():
            truth = originated.get(owner)
            if truth is None:
                yield Wrong(holder, owner, "owner", 0)
                continue
            if entry.address != truth.address:
                yield Wrong(holder, owner, "address", entry.address)
            if entry.status != truth.status:
                yield Wrong(holder, owner, "status", entry.status)
            if entry.generation != truth.generation:
                yield Wrong(holder, owner, "generation", entry.generation)
            if entry.version > truth.heartbeats:
                yield Wrong(holder, owner, "version", entry.version)
