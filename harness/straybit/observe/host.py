"""A watch on the machine itself: a host that stands still looks like a fault of everybody at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

__all__ = ["STALL", "STALLED", "HostWatch", "stalled_for"]

TICK_S = 0.02
STALL = 0.6
"""Of a time-out: so late, it may have expired in vain, and what was seen is no verdict on anybody."""


STALLED = "the host stood still"
"""How a reason begins that blames the machine; what has it may be tried again."""


def stalled_for(seconds: float) -> str:
    """The reason, in words."""
    return f"{STALLED} for {seconds:.2f} s, as long as a time-out"


class HostWatch:
    """`late_s` is the most that a thread woke behind its time: so long this machine, or this process, stood still.

    More than `stall_s` is more than a verdict can bear.
    `sleep` waits up to that many seconds and answers whether to stop; `clock` counts seconds. Both are for tests.
    """

    def __init__(
        self,
        stall_s: float,
        *,
        sleep: Callable[[float], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stall_s = stall_s
        self._stop = threading.Event()
        self._sleep = sleep or self._stop.wait
        self._clock = clock
        self._thread = threading.Thread(target=self._watch, name="straybit-host-watch", daemon=True)
        self.late_s = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def stalled(self) -> bool:
        """Whether it stood still for longer than a verdict can bear."""
        return self.late_s > self.stall_s

    def _watch(self) -> None:
        due = self._clock() + TICK_S
        while not self._sleep(TICK_S):
            now = self._clock()
            self.late_s = max(self.late_s, now - due)
            due = now + TICK_S
