"""Which six bits of July 2008: pure, from topology and seed."""

from __future__ import annotations

import random
from itertools import combinations

import msgspec

from straybit_faults.flip import FieldAim, Flip, Link
from straybit_faults.wire import Direction
from straybit_nodes.topology import Kind, Service, Topology

__all__ = ["JulyPlan", "july_plan", "owner_of"]

ADDRESS_BITS = 32
MESSAGES_PER_OWNER = 2
OWNERS_PER_REGION = {"eu": 1, "us": 2}
"""More poisoned owners break quorums without any storm, and then removing a mechanism would prove nothing."""


def owner_of(flip: Flip) -> str:
    """Whose address that flip damages. Raises TypeError for a flip that names no field."""
    if not isinstance(flip.aim, FieldAim):
        raise TypeError(f"{flip} names no field")
    return flip.aim.field.partition(".")[0]


class JulyPlan(msgspec.Struct, frozen=True):
    """`flips` are armed together; `owners` are those whose address they damage."""

    flips: tuple[Flip, ...]
    owners: tuple[str, ...]

    def lines(self) -> tuple[str, ...]:
        """What a dry run prints: one flip id a line."""
        return tuple(str(flip) for flip in self.flips)


def july_plan(topology: Topology, seed: int) -> JulyPlan:
    """Draw six `state` messages: two about each of three owners, in each a different bit of the owner's address.

    Every bit goes from 0 to 1, so that the damaged value wins a tie,
    and leads, alone or with the other one, to no address that anybody has.
    Senders are other servers or balancers of the owner's region, receivers other servers of it:
    the links on which requests, and so state, travel.
    None of them is an owner: nobody reaches one any more once its address is damaged.
    """
    rng = random.Random(f"july-2008/{seed}")
    owners = [
        owner for region, count in OWNERS_PER_REGION.items() for owner in rng.sample(_servers(topology, region), count)
    ]
    names = tuple(owner.name for owner in owners)
    return JulyPlan(tuple(flip for owner in owners for flip in _flips(topology, owner, names, rng)), names)


def _servers(topology: Topology, region: str) -> list[Service]:
    return [m for m in topology.members() if m.region == region and m.kind is Kind.GOSSIP]


def _flips(topology: Topology, owner: Service, poisoned: tuple[str, ...], rng: random.Random) -> list[Flip]:
    others = [m.name for m in topology.members() if m.region == owner.region and m.name not in poisoned]
    links = [Link(a, b) for a in others for b in others if a != b and b.startswith("gossip-")]
    bits = rng.choice(_stray_pairs(topology, owner.address))
    return [
        Flip(link, Direction.UP, FieldAim("state", 0, f"{owner.name}.address", (bit,)))
        for link, bit in zip(rng.sample(links, MESSAGES_PER_OWNER), bits, strict=True)
    ]


def _stray_pairs(topology: Topology, address: int) -> list[tuple[int, int]]:
    taken = {service.address for service in topology.services()}
    free = [bit for bit in range(ADDRESS_BITS) if not address >> bit & 1 and address | 1 << bit not in taken]
    return [(a, b) for a, b in combinations(free, 2) if address | 1 << a | 1 << b not in taken]
