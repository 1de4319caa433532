"""A steady stream of client requests, region by region, and the share of them that succeeds."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import msgspec

__all__ = ["LiveLoad", "Load", "Sample", "Success", "width"]

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


class Load(ABC):
    """Open-loop requests: each region has its rate, kept whether or not earlier requests have ended.

    Used as a context manager; `started_s` is when it was made, on the run's clock.
    What cannot start because every worker is busy counts as failed: the clients have given up waiting.
    """

    def __init__(self, rates: Mapping[str, float], clock: Callable[[], float]) -> None:
        self._rates = dict(rates)
        self._clock = clock
        self._samples: list[Sample] = []
        self._under_way: dict[tuple[str, int], float] = {}
        self._lock = threading.Lock()
        self.started_s = clock()

    @abstractmethod
    def __enter__(self) -> Self:
        """Begin."""

    @abstractmethod
    def __exit__(self, *_: object) -> None:
        """Begin no more requests, and wait for those under way."""

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

    def _began(self, region: str, number: int) -> float:
        at_s = self._clock()
        with self._lock:
            self._under_way[region, number] = at_s
        return at_s

    def _ended(self, region: str, number: int, ok: bool) -> None:
        with self._lock:
            self._samples.append(Sample(region, self._under_way.pop((region, number)), ok))

    def _given_up(self, region: str) -> None:
        with self._lock:
            self._samples.append(Sample(region, self._clock(), ok=False))


def width(rate: float, deadline_s: float) -> int:
    """Requests of a region that may be under way at a time."""
    return max(4, int(WIDTH * rate * deadline_s))


class LiveLoad(Load):
    """Requests from threads. `request(region, number)` performs one and says whether it succeeded.

    It must return within `deadline_s`.
    `rates` are requests per second by region, `clock` the run's clock in seconds.
    """

    def __init__(
        self,
        request: Callable[[str, int], bool],
        *,
        rates: Mapping[str, float],
        deadline_s: float,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(rates, clock)
        self._request = request
        self._stop = threading.Event()
        widths = {region: width(rate, deadline_s) for region, rate in self._rates.items()}
        self._places = {region: threading.Semaphore(wide) for region, wide in widths.items()}
        self._pool = ThreadPoolExecutor(sum(widths.values()), "straybit-load")
        self._pacers = [
            threading.Thread(target=self._pace, args=(region,), name=f"straybit-load-{region}", daemon=True)
            for region in self._rates
        ]

    def __enter__(self) -> Self:
        for pacer in self._pacers:
            pacer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for pacer in self._pacers:
            pacer.join()
        self._pool.shutdown(wait=True)

    def _pace(self, region: str) -> None:
        interval_s = 1 / self._rates[region]
        due = time.monotonic()
        number = 0
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            self._begin(region, number)
            number += 1
            due += interval_s

    def _begin(self, region: str, number: int) -> None:
        if not self._places[region].acquire(blocking=False):
            self._given_up(region)
            return
        self._began(region, number)
        self._pool.submit(self._perform, region, number)

    def _perform(self, region: str, number: int) -> None:
        ok = False
        try:
            ok = self._request(region, number)
        finally:
            self._places[region].release()
            self._ended(region, number, ok)
