"""How a run waits, does several things at a time and talks to its cluster: in earnest here, on virtual time in `sim`.

A scenario sees none of this; it is what lets one scenario file run on every backend.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from straybit.clients import S3, Mode, S3Like
from straybit.crew import Crew
from straybit.load import LiveLoad, Load
from straybit.observe.host import HostWatch
from straybit.waiting import RealTime, Timepiece, wait_until

__all__ = ["LIVE", "Driver", "LiveDriver"]

T = TypeVar("T")


class Driver(Timepiece, Protocol):
    """What differs between real time and virtual time."""

    def wait_until(self, done: Callable[[], bool], within_s: float, *, every_s: float = 0.05) -> bool:
        """Whether `done` came true in time; see `waiting`."""

    def together(self, calls: Sequence[Callable[[], T]], *, at_once: int | None = None) -> tuple[T, ...]:
        """Make all calls at the same time, or `at_once` of them; their answers in order. The first error is raised."""

    def often(self, look: Callable[[], None], every_s: float) -> AbstractContextManager[None]:
        """Beside the block, call `look` every so often, one call at a time; none is under way when it is left."""

    def s3(self, endpoint: str, mode: Mode, deadline_s: float, keys: tuple[str, str]) -> S3Like:
        """A client in that mode for the balancer at `endpoint`; it waits so long, and signs with `keys`."""

    def load(
        self,
        request: Callable[[str, int], bool],
        *,
        rates: Mapping[str, float],
        deadline_s: float,
        clock: Callable[[], float],
    ) -> Load:
        """A steady stream of requests; see `load`."""

    def watch_host(self, stall_s: float) -> HostWatch:
        """A watch on the machine, not yet begun; it minds a standstill of more than `stall_s`."""

    def date(self) -> datetime:
        """Today."""


class LiveDriver(RealTime):
    """Threads, tenacity and boto3."""

    def wait_until(self, done: Callable[[], bool], within_s: float, *, every_s: float = 0.05) -> bool:
        """See Driver."""
        return wait_until(done, within_s, every_s=every_s, clock=self)

    def together(self, calls: Sequence[Callable[[], T]], *, at_once: int | None = None) -> tuple[T, ...]:
        """See Driver."""
        if not calls:
            return ()
        with Crew(at_once or len(calls), "straybit-together") as crew:
            return tuple(crew.each(lambda call: call(), calls))

    @contextmanager
    def often(self, look: Callable[[], None], every_s: float) -> Iterator[None]:
        """See Driver."""
        stop = threading.Event()

        def watch() -> None:
            while not stop.wait(every_s):
                look()

        thread = threading.Thread(target=watch, name="straybit-often", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def s3(self, endpoint: str, mode: Mode, deadline_s: float, keys: tuple[str, str]) -> S3Like:
        """See Driver."""
        return S3(endpoint, mode, deadline_s=deadline_s, keys=keys)

    def load(
        self,
        request: Callable[[str, int], bool],
        *,
        rates: Mapping[str, float],
        deadline_s: float,
        clock: Callable[[], float],
    ) -> Load:
        """See Driver."""
        return LiveLoad(request, rates=rates, deadline_s=deadline_s, clock=clock)

    def watch_host(self, stall_s: float) -> HostWatch:
        """See Driver."""
        return HostWatch(stall_s)

    def date(self) -> datetime:
        """See Driver."""
        return datetime.now(UTC)


LIVE = LiveDriver()
