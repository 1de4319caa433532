"""`reorder`: a message goes on behind the one that follows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from straybit_faults.toxics.content import Decision
from straybit_faults.toxics.whole import Claim, Whole

__all__ = ["Reorder"]


class Reorder(Whole, kw_only=True, omit_defaults=True):
    """`patience` in milliseconds: how long a message waits for another on its connection."""

    fault = "reorder"
    has_flip_id = False
    patience: int = 1000

    def wants(self, state: dict[str, Any], decision: Decision | None, connection: int) -> bool:
        """A message that was taken, and the one behind it."""
        return decision is not None or str(connection) in state

    def replace(self, state: dict[str, Any], claim: Claim) -> Sequence[bytes] | None:
        """The message itself, later, or at once with the one before behind it."""
        if claim.answer is not None:
            return claim.answer
        first: Claim | None = state.pop(str(claim.connection), None)
        if first is not None and first.answer is None:
            first.answer = (first.data,)
            first.wake()
            return (claim.data,)
        state[str(claim.connection)] = claim
        claim.put_off(max(1, self.patience) / 1000, "no other message came in time")
        return None
