"""Upper bounds on the phases of a trial, in seconds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

__all__ = ["BUDGETS", "budgets_with", "parse_budget"]

BUDGETS: dict[str, float] = {"detected": 2.0, "recovered": 5.0, "staged": 15.0}
"""`detected` counts from sent, `recovered` from the revert, `staged` from the first stage of a staged restore."""

_FORM = re.compile(r"(?P<name>[a-z]+)=(?P<number>\d+(\.\d+)?)(?P<unit>ms|s|)")


def parse_budget(text: str) -> tuple[str, float]:
    """Read `recovered=5s` or `detected=800ms`; a bare number is seconds. Raises ValueError."""
    found = _FORM.fullmatch(text.strip())
    if found is None or found["name"] not in BUDGETS:
        raise ValueError(f"budget {text!r} is not NAME=SECONDS with NAME one of {', '.join(BUDGETS)}, as recovered=5s")
    seconds = float(found["number"]) / (1000 if found["unit"] == "ms" else 1)
    if seconds <= 0:
        raise ValueError(f"budget {text!r} leaves no time; give more than 0")
    return found["name"], seconds


def budgets_with(changes: Iterable[str] | Mapping[str, float] = ()) -> dict[str, float]:
    """The default budgets with some of them set otherwise. Raises ValueError."""
    parsed = changes if isinstance(changes, Mapping) else dict(map(parse_budget, changes))
    if unknown := sorted(parsed.keys() - BUDGETS.keys()):
        raise ValueError(f"unknown budget {', '.join(unknown)}; choose from {', '.join(BUDGETS)}")
    return {**BUDGETS, **parsed}
