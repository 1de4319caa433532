"""What members say to each other: one record per kind of gossip message, and the entry they are about."""

from __future__ import annotations

from enum import IntEnum
from hashlib import blake2b
from struct import Struct

import msgspec

__all__ = [
    "LEFT",
    "UP",
    "Denied",
    "Digest",
    "Entry",
    "Failed",
    "Granted",
    "Message",
    "Ok",
    "Place",
    "Reason",
    "Release",
    "Row",
    "State",
    "Subscribe",
]

UP = 1
"""The one status that serves; every other value means "not serving" and is kept as it is."""

LEFT = 0xFE
"""The status of a member that said it leaves: no flip of fewer than eight bits makes it of `UP`."""

_HASHED = Struct(">IBHQQ")


class Row(msgspec.Struct, frozen=True, gc=False):
    """What a digest says of an entry: whose it is, how new, and a hash of all of it."""

    owner: str
    generation: int
    version: int
    hash: int


class Entry(msgspec.Struct, frozen=True):
    """One member's state as somebody knows it: address and load are numbers, generation in seconds since 1970.

    `digest` is its owner's own (`seal`), 0 where `entry-digest` is off.
    `row` follows from the rest but the digest, and is made with the entry, since every exchange asks for it.
    """

    owner: str
    address: int
    status: int
    load: int
    generation: int
    version: int
    digest: int = 0
    row: Row = Row("", 0, 0, 0)

    def __post_init__(self) -> None:
        hashed = blake2b(self.packed + self.owner.encode(), digest_size=8).digest()
        row = Row(self.owner, self.generation, self.version, int.from_bytes(hashed))
        msgspec.structs.force_setattr(self, "row", row)

    @property
    def packed(self) -> bytes:
        """Every field but owner and digest, as both hashes take them."""
        return _HASHED.pack(self.address, self.status, self.load, self.generation, self.version)


class Digest(msgspec.Struct, frozen=True):
    """Opens an exchange: what the caller knows that changed after its mark `since`, or everything where that is 0.

    `upto` is its mark now, `heard` the receiver's mark up to which it knows what the receiver knows,
    `summary` a hash of all it holds. `sync` says what for.
    """

    rows: tuple[Row, ...]
    since: int = 0
    upto: int = 0
    heard: int = 0
    summary: int = 0


class State(msgspec.Struct, frozen=True):
    """Entries for the receiver, and owners whose entries the sender wants in return.

    `replace` tells a subscriber to forget what is not in it.
    `everything` asks for all the receiver has; `upto` is the sender's mark up to which the receiver now knows it.
    """

    entries: tuple[Entry, ...]
    wanted: tuple[str, ...] = ()
    replace: bool = False
    everything: bool = False
    upto: int = 0


class Failed(msgspec.Struct, frozen=True):
    """The sender could not exchange with `owner`, whose entry was at this generation and version."""

    owner: str
    generation: int
    version: int


class Place(msgspec.Struct, frozen=True):
    """A storage node asks its gossip node for a place to talk to `peer`; `id` is its own number for it."""

    id: int
    peer: str


class Granted(msgspec.Struct, frozen=True):
    """Place `id` is held, and the peer is at `address`."""

    id: int
    address: int


class Reason(IntEnum):
    """Why a place was denied."""

    FULL = 1
    UNKNOWN = 2
    FAILED = 3
    STOPPED = 4


class Denied(msgspec.Struct, frozen=True):
    """Place `id` cannot be had; `reason` is a `Reason`, or a number this version does not know."""

    id: int
    reason: int


class Release(msgspec.Struct, frozen=True):
    """Place `id` is no longer needed, granted or not."""

    id: int


class Subscribe(msgspec.Struct, frozen=True):
    """The sender wants every entry now and every change from now on."""


class Ok(msgspec.Struct, frozen=True):
    """`Failed` was taken."""


Message = Digest | State | Failed | Place | Granted | Denied | Release | Subscribe | Ok
