"""Leases: what its owner does not renew in time is gone, whatever became of the owner."""

from __future__ import annotations

import time
from collections.abc import Callable

from straybit_faults.proxy.loop import Loop, LoopTimer

__all__ = ["MAX_LEASE_S", "Lease"]

MAX_LEASE_S = 86_400.0
"""A day: whatever should stay longer needs no lease."""


class Lease:
    """Calls `expire` once `lease_s` seconds have passed since it was made or renewed."""

    def __init__(self, loop: Loop, lease_s: float, expire: Callable[[], None]) -> None:
        self.loop = loop
        self.lease_s = lease_s
        self.expire = expire
        self.timer: LoopTimer | None = None
        self.renew()

    def renew(self) -> None:
        """Start the time again."""
        self.cancel()
        self.timer = self.loop.at(time.monotonic() + self.lease_s, self.expire)

    def cancel(self) -> None:
        """The owner took back what was leased."""
        if self.timer is not None:
            self.timer.cancel()
