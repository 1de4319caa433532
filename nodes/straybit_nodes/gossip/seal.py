"""`entry-digest`: the owner's own digest of its entry, carried with it from member to member and judged by each.

A checksum per message is made anew on every hop, so it vouches for whatever the sender holds:
damage in a sender's memory goes out under a right checksum (ARPANET's routing updates of 1980, RFC 789).
This digest is made once, by the owner, when it originates the entry; nobody on the way can make it again.

It is BLAKE2b over every other field, keyed with the cluster's key and personalised with the owner's name,
so neither another member's digest nor another cluster's fits.
The key comes from the seed that every member was started with: it tells damage from truth, and no friend from foe.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from straybit_nodes.gossip.messages import Entry

__all__ = ["Seals", "key_of"]

SIZE = 8
"""Bytes of a digest: of damaged entries one in 2**64 would pass."""


def key_of(seed: int) -> bytes:
    """The key of a cluster that was started with that seed."""
    return blake2b(f"straybit entry-digest {seed}".encode(), digest_size=32).digest()


class Seals:
    """Makes and judges digests under one key of at most 64 bytes."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sealed(self, entry: Entry) -> Entry:
        """The entry with its owner's digest; only its owner has any business to call this."""
        return msgspec.structs.replace(entry, digest=self._right(entry))

    def check(self, entry: Entry) -> str | None:
        """Why this entry is not as its owner made it; None when it is."""
        right = self._right(entry)
        return None if entry.digest == right else f"digest {entry.digest:016x}, the entry has {right:016x}"

    def _right(self, entry: Entry) -> int:
        made = blake2b(entry.packed, digest_size=SIZE, key=self._key, person=entry.owner.encode())
        return int.from_bytes(made.digest())
