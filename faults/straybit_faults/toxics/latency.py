"""`latency`: delays data by `latency` +/- `jitter` milliseconds and keeps its bandwidth and order."""

from __future__ import annotations

from collections import deque
from typing import Any

from straybit_faults.toxics.base import Armed, Line, Stage, Timer, Toxic

__all__ = ["Latency"]


class Latency(Toxic, kw_only=True):
    """Milliseconds; negative ones count as 0. The close follows the last byte at once."""

    latency: int = 0
    jitter: int = 0

    def stage(self, armed: Armed[Any], line: Line) -> Stage[Any]:
        """A stage of its own for each direction of a connection."""
        return _LatencyStage(armed, line)

    def delay_s(self, chance: float) -> float:
        """Seconds to wait, for a random number in [0, 1)."""
        return max(0.0, self.latency + self.jitter * (2 * chance - 1)) / 1000


class _LatencyStage(Stage[Latency]):
    room = 33_554_432  # bandwidth x delay: 3 s at 10 MB/s, as much as Toxiproxy's 1,024 chunks

    def __init__(self, armed: Armed[Latency], line: Line) -> None:
        super().__init__(armed, line)
        self.queue: deque[tuple[float, bytes]] = deque()
        self.timer: Timer | None = None
        self.last = 0.0
        self.ended = False

    def push(self, data: bytes | bytearray | memoryview) -> None:
        toxic = self.toxic
        delay = toxic.delay_s(self.line.random() if toxic.jitter else 0.5)
        self.last = max(self.last, self.line.now() + delay)
        self.queue.append((self.last, bytes(data)))
        self.line.held += len(data)
        if self.timer is None:
            self.timer = self.line.at(self.last, self.fire)

    def fire(self) -> None:
        self.timer = None
        now = self.line.now()
        while self.queue and self.queue[0][0] <= now:
            self._hand_on()
        if self.queue:
            self.timer = self.line.at(self.queue[0][0], self.fire)
        elif self.ended:
            self.next.end()
        self.line.resume()

    def end(self) -> None:
        self.ended = True
        if not self.queue:
            self.next.end()

    def release(self) -> None:
        self.drop()
        while self.queue:
            self._hand_on()
        if self.ended:
            self.next.end()

    def drop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()

    def _hand_on(self) -> None:
        data = self.queue.popleft()[1]
        self.line.held -= len(data)
        self.next.push(data)
