"""`failed-peer-damping`: July's action (b), less gossip about servers that fail."""

from __future__ import annotations

__all__ = ["PERIOD_S", "Damping"]

PERIOD_S = 2.0
"""How long a kind of talk about one failed member rests after it; lower finds returned members sooner."""


class Damping:
    """At most one reopening, one round of tells and one verification per failed member in `PERIOD_S` seconds."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next: dict[tuple[str, str], float] = {}

    def allows(self, kind: str, peer: str, now: float) -> bool:
        """Whether talk of that kind about `peer` may go on now; a yes is counted."""
        if now < self._next.get((kind, peer), 0.0):
            return False
        self._next[kind, peer] = now + PERIOD_S
        return True

    def forget(self) -> None:
        """Begin anew."""
        self._next.clear()
