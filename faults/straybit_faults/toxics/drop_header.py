"""`drop_header`: a header of a message gets lost, its whole line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from straybit_faults.toxics.whole import Claim, Whole

__all__ = ["DropHeader"]


class DropHeader(Whole, kw_only=True, omit_defaults=True):
    """`name` of the header, in any case; the first of several is lost."""

    name: str = ""

    def check(self) -> None:
        """Raises ValueError without a name that a header can have."""
        super().check()
        if not re.fullmatch(r"[A-Za-z0-9-]+", self.name):
            raise ValueError(f"name must be a header's, such as Content-MD5, not {self.name!r}")

    @property
    def fault(self) -> str:
        """As in a flip id."""
        return f"drop_header:{self.name.lower()}"

    def replace(self, state: dict[str, Any], claim: Claim) -> Sequence[bytes] | None:
        """The message without that line."""
        runs = claim.field_runs(f"header.{self.name.lower()}")
        if not runs:
            raise ValueError(f"{claim.message.kind} has no header {self.name}")
        ((value, _),) = runs
        start = claim.data.rindex(b"\n", 0, value) + 1
        stop = claim.data.index(b"\n", value) + 1
        return (claim.data[:start] + claim.data[stop:],)
