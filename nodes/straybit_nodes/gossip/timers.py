"""Times at which a core wants to be woken: one heap, whose outdated entries cost nothing."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from heapq import heappop, heappush

__all__ = ["Due", "Timers"]


class Due(IntEnum):
    """What a time is for, and what its number names."""

    ROUND = 1  # era of the ticks
    BEAT = 2  # era of the ticks
    CONNECT = 3  # job that is being dialled
    ANSWER = 4  # job that waits for its peer's word
    VERIFY = 5  # verification
    IDLE = 6  # inbound connection


class Timers:
    """`live` says whether a (due, number) still matters; others are dropped before anybody is woken for them."""

    __slots__ = ("_heap", "_live", "_seq")

    def __init__(self, live: Callable[[Due, int], bool]) -> None:
        self._live = live
        self._heap: list[tuple[float, int, Due, int]] = []
        self._seq = 0

    def add(self, at: float, due: Due, number: int) -> None:
        """Wake at `at`; equal times are served in the order they were added."""
        self._seq += 1
        heappush(self._heap, (at, self._seq, due, number))

    @property
    def next(self) -> float | None:
        """When to wake; None for never."""
        heap = self._heap
        while heap:
            at, _, due, number = heap[0]
            if self._live(due, number):
                return at
            heappop(heap)
        return None

    def pop(self, now: float) -> tuple[Due, int] | None:
        """The next that is due and still matters, taken out."""
        at = self.next
        if at is None or at > now:
            return None
        _, _, due, number = heappop(self._heap)
        return due, number

    def clear(self) -> None:
        """Forget all."""
        self._heap.clear()
