"""`delay`: datagrams that are aimed at, or drawn, come later; those behind them pass meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from straybit_faults.toxics.whole import Claim, Whole

__all__ = ["Delay"]


class Delay(Whole, kw_only=True, omit_defaults=True):
    """`delay` in milliseconds; `latency` delays everything."""

    fault = "delay"
    has_flip_id = False
    delay: int = 0

    def check(self) -> None:
        """Raises ValueError for a time that has passed."""
        super().check()
        if self.delay < 0:
            raise ValueError(f"delay must not be negative, but is {self.delay}")

    def replace(self, state: dict[str, Any], claim: Claim) -> Sequence[bytes] | None:
        """The message itself, later; a control at once."""
        if self.delay == 0 or (claim.decision is not None and claim.decision.control):
            return (claim.data,)
        claim.delay(self.delay / 1000)
        return None
