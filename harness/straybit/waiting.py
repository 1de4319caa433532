"""The one way in which the harness waits: for a condition, looked at again and again, with a limit."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import tenacity
from tenacity.stop import stop_base

__all__ = ["REAL", "RealTime", "StopAt", "Timepiece", "wait_until"]


class Timepiece(Protocol):
    """Time as a cluster has it: the machine's, or virtual."""

    def now(self) -> float:
        """Seconds of one monotonic clock, on which this cluster's views, logs and receipts are as well."""

    def pause(self, seconds: float) -> None:
        """Let so much time pass for the caller."""


class RealTime:
    """The machine's monotonic clock."""

    def now(self) -> float:
        """See Timepiece."""
        return time.monotonic()

    def pause(self, seconds: float) -> None:
        """See Timepiece."""
        time.sleep(seconds)


REAL = RealTime()


class StopAt(stop_base):
    """Tenacity's word for a deadline: no further try from second `deadline` of `clock` on."""

    def __init__(self, clock: Timepiece, deadline: float) -> None:
        self._clock = clock
        self._deadline = deadline

    def __call__(self, retry_state: tenacity.RetryCallState) -> bool:
        """See tenacity."""
        return self._clock.now() >= self._deadline


def wait_until(done: Callable[[], bool], within_s: float, *, every_s: float = 0.05, clock: Timepiece = REAL) -> bool:
    """Whether `done()` came true within so many seconds; it is asked at least once, and `every_s` apart."""
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda ok: not ok),
        wait=tenacity.wait_fixed(every_s),
        stop=StopAt(clock, clock.now() + within_s),
        sleep=clock.pause,
        retry_error_callback=lambda _: False,
    )
    return bool(retrying(done))
