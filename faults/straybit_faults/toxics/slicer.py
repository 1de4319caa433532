"""`slicer`: cuts data into pieces of `average_size` +/- `size_variation` bytes, `delay` microseconds apart."""

from __future__ import annotations

from collections import deque
from typing import Any

from straybit_faults.toxics.base import Armed, Line, Stage, Timer, Toxic

__all__ = ["Slicer"]


class Slicer(Toxic, kw_only=True):
    """Sizes are clamped: an average of at least 1, a variation below it (Toxiproxy crashes on others)."""

    average_size: int = 0
    size_variation: int = 0
    delay: int = 0

    def stage(self, armed: Armed[Any], line: Line) -> Stage[Any]:
        """A stage that cuts."""
        return _SlicerStage(armed, line)

    def size(self, chance: float) -> int:
        """Bytes of the next piece, for a random number in [0, 1)."""
        average = max(1, self.average_size)
        variation = min(max(0, self.size_variation), average - 1)
        return average - variation + int(chance * (2 * variation + 1))


class _SlicerStage(Stage[Slicer]):
    def __init__(self, armed: Armed[Slicer], line: Line) -> None:
        super().__init__(armed, line)
        self.queue: deque[memoryview] = deque()
        self.timer: Timer | None = None
        self.ended = False

    def push(self, data: bytes | bytearray | memoryview) -> None:
        self.queue.append(memoryview(bytes(data)))
        self.line.held += len(data)
        if self.timer is None:
            self._cut()

    def end(self) -> None:
        self.ended = True
        if not self.queue:
            self.next.end()

    def release(self) -> None:
        self.drop()
        while self.queue:
            self._hand_on(self.queue.popleft())
        if self.ended:
            self.next.end()

    def drop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _cut(self) -> None:
        """One piece at a time where there is a delay, all of them otherwise."""
        self.timer = None
        while self.queue and self.timer is None:
            size = self.toxic.size(self.line.random())
            data = self.queue.popleft()
            if data[size:]:
                self.queue.appendleft(data[size:])
            self._hand_on(data[:size])
            if self.toxic.delay > 0:
                self.timer = self.line.at(self.line.now() + self.toxic.delay / 1_000_000, self._resume)
        if self.ended and not self.queue:
            self.next.end()

    def _resume(self) -> None:
        self._cut()
        self.line.resume()

    def _hand_on(self, data: memoryview) -> None:
        self.line.held -= len(data)
        self.next.push(data)
