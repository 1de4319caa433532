"""The owner's digest: whatever changes in an entry on its way, it shows."""

import msgspec
import pytest

from straybit_nodes.gossip.messages import Entry
from straybit_nodes.gossip.seal import Seals, key_of

SEALS = Seals(key_of(7))
ENTRY = SEALS.sealed(Entry("gossip-2", 0x0A010002, 1, 7, 1_216_540_800, 41))
BITS = {"address": 32, "status": 8, "load": 16, "generation": 64, "version": 64, "digest": 64}


def test_what_its_owner_made_is_good():
    """A sealed entry passes, sealed again it is the same, and another entry has another digest."""
    assert SEALS.check(ENTRY) is None
    assert SEALS.sealed(ENTRY) == ENTRY
    assert SEALS.sealed(msgspec.structs.replace(ENTRY, version=42)).digest != ENTRY.digest


@pytest.mark.parametrize("field", BITS)
def test_every_flipped_bit_shows(field):
    """Each single bit of each field, the digest itself included, is found."""
    for bit in range(BITS[field]):
        damaged = msgspec.structs.replace(ENTRY, **{field: getattr(ENTRY, field) ^ 1 << bit})
        assert SEALS.check(damaged) is not None, bit


def test_a_digest_fits_one_owner_and_one_cluster():
    """Another name, one that differs in one bit included, another seed and no digest at all are all found."""
    for other in ("gossip-3", "gossip-22", "lb-1"):
        assert SEALS.check(msgspec.structs.replace(ENTRY, owner=other)) is not None
    assert Seals(key_of(8)).check(ENTRY) is not None
    assert SEALS.check(msgspec.structs.replace(ENTRY, digest=0)) is not None
