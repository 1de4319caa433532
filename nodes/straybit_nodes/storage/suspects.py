"""Who failed a moment ago, and so is asked last."""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["Suspects"]

_FOR_S = 2.0
"""How long a failure is remembered: long enough to spare the next requests, short enough to come back to a node."""


class Suspects:
    """Names that failed within two seconds by `clock`; at most one entry for each name there is."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def failed(self, name: str) -> None:
        """Remember that `name` failed now."""
        self._until[name] = self._clock() + _FOR_S

    def order(self, names: Sequence[str]) -> tuple[str, ...]:
        """`names` in their order, those that failed lately behind the others."""
        now = self._clock()
        return tuple(sorted(names, key=lambda name: self._until.get(name, 0.0) > now))
