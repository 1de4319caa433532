"""The order of a stepped trial: which member talks to which, drawn from the seed alone. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from straybit_nodes.topology import Topology

__all__ = ["LEGS_PER_TARGET", "bystanders_first", "first_beats", "introductions", "legs", "ring", "topology"]

Pair = tuple[str, str]

LEGS_PER_TARGET = 2
"""Members that try a request leg to each other one, after the flip: with three nodes, all of them."""


def topology(nodes: int) -> Topology:
    """The cluster of a stepped trial. Raises ValueError for a size that cannot be."""
    return Topology.gossip_only(nodes)


def introductions(members: Sequence[str]) -> tuple[Pair, ...]:
    """Exchanges after which everybody knows everybody: all others with the first, twice."""
    first, *others = members
    return tuple((name, first) for name in (*others, *others))


def first_beats(members: Sequence[str]) -> dict[str, int]:
    """Heartbeats of each member before the flip: different ones, so that no two entries look alike."""
    return {name: number + 2 for number, name in enumerate(members, 1)}


def bystanders_first(members: Sequence[str], caller: str, callee: str) -> tuple[Pair, ...]:
    """Exchanges that bring the caller the news of all but the callee, so that its message carries every entry."""
    return tuple((name, caller) for name in members if name not in (caller, callee))


def ring(members: Sequence[str], seed: int, number: int) -> tuple[Pair, ...]:
    """One round: every member talks to the next one of an order that seed and number decide."""
    order = list(members)
    Random(f"{seed}/round/{number}").shuffle(order)
    return tuple(zip(order, [*order[1:], order[0]], strict=True))


def legs(members: Sequence[str], seed: int) -> tuple[Pair, ...]:
    """What requests would need: every member is called by `LEGS_PER_TARGET` others, an exchange each."""
    order = list(members)
    Random(f"{seed}/legs").shuffle(order)
    count = min(LEGS_PER_TARGET, len(order) - 1)
    return tuple(
        (order[(at + step) % len(order)], target) for at, target in enumerate(order) for step in range(1, count + 1)
    )
