"""`truncate`: a body is cut to `bytes` bytes under its right length, and the connection ends behind it."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

from straybit_faults.toxics.whole import Claim, Whole

__all__ = ["Truncate"]


class Truncate(Whole, kw_only=True, omit_defaults=True):
    """Bytes that are left of the field `field` (default `body`), or of a message that has no such field."""

    bytes: int = 0

    def check(self) -> None:
        """Raises ValueError for a negative length."""
        super().check()
        if self.bytes < 0:
            raise ValueError(f"bytes must not be negative, but is {self.bytes}")

    @property
    def ends(self) -> bool:
        """The length that was announced is never reached: nothing else may be taken for the rest."""
        return True

    @property
    def fault(self) -> str:
        """As in a flip id."""
        return f"truncate:{self.bytes}"

    def replace(self, state: dict[str, Any], claim: Claim) -> Sequence[builtins.bytes] | None:
        """Everything up to the cut."""
        left = self.bytes
        for start, length in claim.field_runs(self.field or "body") or [(0, len(claim.data))]:
            if left < length:
                return (claim.data[: start + left],)
            left -= length
        raise ValueError(f"only {self.bytes - left} bytes, so none can be cut to leave {self.bytes}")
