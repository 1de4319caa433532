"""`bandwidth`: lets `rate` kilobytes (of 1,000 bytes) per second through."""

from __future__ import annotations

from collections import deque
from typing import Any

from straybit_faults.toxics.base import Armed, Line, Stage, Timer, Toxic

__all__ = ["Bandwidth"]

TICK_S = 0.01
"""Bytes go on in portions of this long at most, so that the flow is even."""


class Bandwidth(Toxic, kw_only=True):
    """Kilobytes per second; 0 or less lets nothing through."""

    rate: int = 0

    def stage(self, armed: Armed[Any], line: Line) -> Stage[Any]:
        """A stage whose bytes each have their time."""
        return _BandwidthStage(armed, line)


class _BandwidthStage(Stage[Bandwidth]):
    def __init__(self, armed: Armed[Bandwidth], line: Line) -> None:
        super().__init__(armed, line)
        self.queue: deque[memoryview] = deque()
        self.timer: Timer | None = None
        self.mark = 0.0  # when the byte at the head of the queue began to pass
        self.ended = False

    def push(self, data: bytes | bytearray | memoryview) -> None:
        if not self.queue:
            self.mark = max(self.mark, self.line.now())
        self.queue.append(memoryview(bytes(data)))
        self.line.held += len(data)
        self._arm()

    def end(self) -> None:
        self.ended = True
        if not self.queue:
            self.next.end()

    def update(self) -> None:
        self.drop()
        self.mark = max(self.mark, self.line.now())
        self._arm()

    def release(self) -> None:
        self.drop()
        self._hand_on(self.line.held)
        if self.ended:
            self.next.end()

    def drop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _arm(self) -> None:
        rate = self.toxic.rate * 1000
        if self.queue and self.timer is None and rate > 0:
            wait = min(len(self.queue[0]) / rate, max(TICK_S, 1 / rate))
            self.timer = self.line.at(self.mark + wait, self._fire)

    def _fire(self) -> None:
        self.timer = None
        rate = self.toxic.rate * 1000
        passed = self._hand_on(round((self.line.now() - self.mark) * rate))
        self.mark += passed / rate
        self._arm()
        if self.ended and not self.queue:
            self.next.end()
        self.line.resume()

    def _hand_on(self, most: int) -> int:
        passed = 0
        while self.queue and passed < most:
            piece = self.queue.popleft()
            part, rest = piece[: most - passed], piece[most - passed :]
            if rest:
                self.queue.appendleft(rest)
            passed += len(part)
            self.line.held -= len(part)
            self.next.push(part)
        return passed
