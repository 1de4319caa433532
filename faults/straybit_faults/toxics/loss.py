"""`loss`: messages get lost, on a UDP link whole datagrams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from straybit_faults.toxics.whole import Claim, Whole

__all__ = ["Loss"]


class Loss(Whole, kw_only=True, omit_defaults=True):
    """Aimed or drawn as every content toxic."""

    fault = "loss"
    has_flip_id = False

    def replace(self, state: dict[str, Any], claim: Claim) -> Sequence[bytes] | None:
        """Nothing."""
        return ()
