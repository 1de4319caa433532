"""`stale`: an older message of the same kind, from any connection of the link, goes on instead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from straybit_faults.toxics.content import Decision
from straybit_faults.toxics.whole import Claim, Whole

__all__ = ["Stale"]


class Stale(Whole, kw_only=True, omit_defaults=True):
    """No attributes of its own; the message before the one that is hit is what is said again."""

    fault = "stale"

    def wants(self, state: dict[str, Any], decision: Decision | None, connection: int) -> bool:
        """Every message: it may be the old one later."""
        return True

    def replace(self, state: dict[str, Any], claim: Claim) -> Sequence[bytes] | None:
        """The message before."""
        older: bytes | None = state.get("older")
        state["older"] = claim.data
        if claim.decision is None:
            return (claim.data,)
        if older is None:
            raise ValueError("no older message has come by since arming")
        return (older,)
