"""`latency`: delays data by `latency` +/- `jitter` milliseconds and keeps its bandwidth and order."""

from __future__ import annotations

from collections import deque
from typing import Any

from straybit_faults.toxics.base import Armed, Line, Stage, Timer, Toxic

__all__ = ["Latency"]


class Latency(Toxic, kw_only=True):
    """Milliseconds; a sum below 0 counts as 0. The close follows the last byte at once."""

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
        self.queue: deque[tuple[float, float, bytes]] = deque()
        """Time of arrival, random number and bytes."""
        self.timer: Timer | None = None
        self.last = 0.0  # when the last byte went on: order is kept whatever the jitter
        self.ended = False

    def push(self, data: bytes | bytearray | memoryview) -> None:
        chance = self.line.random() if self.toxic.jitter else 0.5
        self.queue.append((self.line.now(), chance, bytes(data)))
        self.line.held += len(data)
        if self.timer is None:
            self._arm()

    def end(self) -> None:
        self.ended = True
        if not self.queue:
            self.next.end()

    def update(self) -> None:
        self.drop()
        self._arm()

    def release(self) -> None:
        self.drop()
        while self.queue:
            self._hand_on()
        if self.ended:
            self.next.end()

    def drop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _arm(self) -> None:
        if self.queue:
            self.timer = self.line.at(self._due(), self._fire)

    def _due(self) -> float:
        arrived, chance, _ = self.queue[0]
        return max(self.last, arrived + self.toxic.delay_s(chance))

    def _fire(self) -> None:
        now = self.line.now()
        self.timer = None
        while self.queue and (due := self._due()) <= now:
            self.last = due
            self._hand_on()
        self._arm()
        if self.ended and not self.queue:
            self.next.end()
        self.line.resume()

    def _hand_on(self) -> None:
        data = self.queue.popleft()[2]
        self.line.held -= len(data)
        self.next.push(data)
