"""`swap`: a message and the next one of its kind on another connection are exchanged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from straybit_faults.toxics.content import Decision
from straybit_faults.toxics.whole import Claim, Whole

__all__ = ["Swap"]

PATIENCE_S = 5.0
"""How long a message waits for another; then it goes on unchanged, and the fault was missed."""


class Swap(Whole, kw_only=True, omit_defaults=True):
    """No attributes of its own."""

    fault = "swap"

    def wants(self, state: dict[str, Any], decision: Decision | None, connection: int) -> bool:
        """A message that was taken, and the first other one while it waits."""
        first: Claim | None = state.get("first")
        if first is None or first.answer is not None:
            return decision is not None
        return first.connection != connection

    def replace(self, state: dict[str, Any], claim: Claim) -> Sequence[bytes] | None:
        """The other's bytes."""
        if claim.answer is not None:
            return claim.answer
        first: Claim | None = state.get("first")
        if first is not None and first is not claim and first.answer is None:
            del state["first"]
            first.answer = (claim.data,)
            first.wake()
            is_control = first.decision is not None and first.decision.control
            return (claim.data if is_control else first.data,)
        state["first"] = claim
        claim.put_off(PATIENCE_S, f"no other {claim.message.kind} came within {PATIENCE_S:g} s")
        return None
