"""`duplicate`: a message goes on twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from straybit_faults.toxics.whole import Claim, Whole

__all__ = ["Duplicate"]


class Duplicate(Whole, kw_only=True, omit_defaults=True):
    """No attributes of its own."""

    fault = "duplicate"

    def replace(self, state: dict[str, Any], claim: Claim) -> Sequence[bytes] | None:
        """The message and itself again."""
        return (claim.data, claim.data)
