"""Virtual time: calls at times, in one heap; ties are served in the order they were made, and nothing else decides."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

__all__ = ["NEVER", "SETTLE_EVENTS", "Timeline"]

NEVER = float("inf")
SETTLE_EVENTS = 200_000
"""Events that `settle` lets happen at most: far beyond what one exchange sets off, far below an endless storm."""


class Timeline:
    """`now` is virtual seconds, and begins at `start`."""

    def __init__(self, start: float = 0.0) -> None:
        self.now = start
        self.start = start
        self._heap: list[tuple[float, int, Callable[[], None], Callable[[float], bool] | None]] = []
        self._seq = 0

    def at(self, time: float, call: Callable[[], None], stands: Callable[[float], bool] | None = None) -> None:
        """Call at `time`, if that still `stands` then; one that does not takes no time and counts for nothing."""
        self._seq += 1
        heappush(self._heap, (time, self._seq, call, stands))

    def after(self, delay_s: float, call: Callable[[], None]) -> None:
        """Call in `delay_s`."""
        self.at(self.now + delay_s, call)

    def run(self, until: float) -> None:
        """Let virtual time pass."""
        while self.step(until):
            pass
        self.now = max(self.now, until)

    def step(self, until: float = NEVER) -> bool:
        """Let the next thing happen; False when nothing does up to `until`."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            time, _, call, stands = heappop(heap)
            if stands is None or stands(time):
                self.now = time
                call()
                return True
        return False

    def settle(self) -> None:
        """Let time pass until nothing is under way; for nets without ticks. Raises RuntimeError for a storm."""
        for _ in range(SETTLE_EVENTS):
            if not self.step():
                return
        raise RuntimeError(f"the net did not come to rest within {SETTLE_EVENTS} events; is a timer on?")
