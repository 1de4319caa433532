"""A steady stream of client requests, region by region, and the share of them that succeeds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import msgspec

__all__ = ["Load", "Sample", "Success"]

WIDTH = 4
"""Clients of a region for each request that fits into one deadline; more would only queue."""


class Sample(msgspec.Struct, frozen=True):
    """One finished request: when it began, on the run's clock, and whether it succeeded."""

    region: str
    at_s: float
    ok: bool


class Success(msgspec.Struct, frozen=True):
    """Requests that began in a stretch of time: how many, and how many of them succeeded."""

    ok: int
    total: int

    @property
    def share(self) -> float:
        """0..1; of no requests at all, 0."""
        return self.ok / self.total if self.total else 0.0


class Load:
    """Open-loop requests: each region has its rate, kept whether or not earlier requests have ended.

    `request(region, number)` performs one and says whether it succeeded; it must return within `deadline_s`.
    `rates` are requests per second by region, `clock` the run's clock in seconds.
    What cannot start because every worker is busy counts as failed: the clients have given up waiting.
    """

    def __init__(
        self,
        request: Callable[[str, int], bool],
        *,
        rates: Mapping[str, float],
        deadline_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._request = request
        self._rates = dict(rates)
        self._clock = clock
        self._deadline_s = deadline_s
        self._samples: list[Sample] = []
        self._under_way: dict[tuple[str, int], float] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._places = {r: threading.Semaphore(self._width(rate)) for r, rate in self._rates.items()}
        self._pool = ThreadPoolExecutor(sum(map(self._width, self._rates.values())), "straybit-load")
        self._pacers = [
            threading.Thread(target=self._pace, args=(region,), name=f"straybit-load-{region}", daemon=True)
            for region in self._rates
        ]
        self.started_s = clock()

    def _width(self, rate: float) -> int:
        return max(4, int(WIDTH * rate * self._deadline_s))

    def __enter__(self) -> Load:
        for pacer in self._pacers:
            pacer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for pacer in self._pacers:
            pacer.join()
        self._pool.shutdown(wait=True)

    @property
    def regions(self) -> tuple[str, ...]:
        """Those that get requests."""
        return tuple(self._rates)

    def samples(self) -> tuple[Sample, ...]:
        """Everything that has finished, in order of finishing."""
        with self._lock:
            return tuple(self._samples)

    def settled_s(self) -> float:
        """Requests that began before this moment have ended."""
        now = self._clock()
        with self._lock:
            return min(self._under_way.values(), default=now)

    def success(self, region: str, since_s: float, until_s: float) -> Success:
        """Of the region's requests that began in [since_s, until_s) and have ended."""
        with self._lock:
            hits = [s.ok for s in self._samples if s.region == region and since_s <= s.at_s < until_s]
        return Success(sum(hits), len(hits))

    def worst(self, since_s: float, until_s: float) -> float:
        """The lowest share of success of any region in that stretch."""
        return min(self.success(region, since_s, until_s).share for region in self.regions)

    def best(self, since_s: float, until_s: float) -> float:
        """The highest share of success of any region in that stretch."""
        return max(self.success(region, since_s, until_s).share for region in self.regions)

    def _pace(self, region: str) -> None:
        interval_s = 1 / self._rates[region]
        due = time.monotonic()
        number = 0
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            self._begin(region, number)
            number += 1
            due += interval_s

    def _begin(self, region: str, number: int) -> None:
        at_s = self._clock()
        if not self._places[region].acquire(blocking=False):
            self._finished(Sample(region, at_s, ok=False))
            return
        with self._lock:
            self._under_way[region, number] = at_s
        self._pool.submit(self._perform, region, number, at_s)

    def _perform(self, region: str, number: int, at_s: float) -> None:
        ok = False
        try:
            ok = self._request(region, number)
        finally:
            self._places[region].release()
            with self._lock:
                del self._under_way[region, number]
            self._finished(Sample(region, at_s, ok))

    def _finished(self, sample: Sample) -> None:
        with self._lock:
            self._samples.append(sample)
