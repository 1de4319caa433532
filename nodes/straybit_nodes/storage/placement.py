"""Which storage nodes hold a key, and how many of them must answer.

Holders are the first `REPLICAS` storage nodes of the region by rendezvous hashing (Thaler and Ravishankar, 1998).
All that the topology names take part, whether or not gossip shows them up:
a node that is down, cleared or lied about keeps its keys, so any two holders that answer
share one with any two that acknowledged. Were others to step in, an acknowledged write could be read as absent.
Gossip decides which holders are talked to, at which address, and in which order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

__all__ = ["QUORUM", "REPLICAS", "holders", "quorum"]

REPLICAS = 3
QUORUM = 2


def holders(nodes: Iterable[str], bucket: str, key: str) -> tuple[str, ...]:
    """The names of those that hold `key`, best first; fewer than three where there are fewer nodes."""
    what = f"{bucket}/{key}".encode()
    scored = sorted(((_score(node, what), node) for node in nodes), reverse=True)
    return tuple(node for _, node in scored[:REPLICAS])


def quorum(holding: Sequence[str]) -> int:
    """How many holders must acknowledge a write, and how many must answer a read."""
    return min(QUORUM, len(holding))


def _score(node: str, what: bytes) -> bytes:
    return hashlib.blake2b(what, digest_size=8, key=node.encode()).digest()
