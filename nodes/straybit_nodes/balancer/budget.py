"""How many retries a balancer may make: a share of its requests, and a few each second besides.

Without a limit every request of a cluster that is down is tried three times, which is when it can bear it least.
The form is Finagle's: a share for busy times, a reserve for quiet ones.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["RESERVE_PER_S", "SHARE", "RetryBudget"]

SHARE = 0.2
"""Retries that each request earns; more makes an outage worse, fewer gives up sooner."""
RESERVE_PER_S = 32.0
"""Retries per second that need not be earned, so that a quiet cluster tries as often as it likes."""


class RetryBudget:
    """Retries that are left, by `clock` in seconds; at most what one second's reserve and 100 requests earn."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._most = RESERVE_PER_S + 100 * SHARE
        self._left = self._most
        self._at = clock()

    def earn(self) -> None:
        """A request came."""
        self._refill(SHARE)

    def take(self) -> bool:
        """Whether one more try may be made; it is then counted."""
        self._refill(0.0)
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    def _refill(self, earned: float) -> None:
        now = self._clock()
        self._left = min(self._most, self._left + earned + RESERVE_PER_S * (now - self._at))
        self._at = now
