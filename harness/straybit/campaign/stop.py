"""When a campaign ends before its plan does: at the first outcome of a kind, at so many, or after a time. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import msgspec

from straybit.outcome import Outcome

__all__ = ["Stop", "read_duration", "read_stop"]

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


class Stop(msgspec.Struct, frozen=True):
    """Limits by outcome, and seconds in all; with neither a campaign plays its whole plan."""

    limits: dict[Outcome, int] = {}
    within_s: float | None = None

    def reason(self, counts: Counter[Outcome], elapsed_s: float) -> str:
        """Why to stop now, empty for no reason."""
        for outcome, limit in self.limits.items():
            if counts[outcome] >= limit:
                return f"{counts[outcome]} {outcome}, as asked for"
        if self.within_s is not None and elapsed_s >= self.within_s:
            return f"{self.within_s:g} s are over"
        return ""


def read_stop(texts: Iterable[str], within: str | None) -> Stop:
    """From `SPREAD` (the first), `SPREAD=10`, and a duration such as `90s`, `5m` or `1h`. Raises ValueError."""
    limits: dict[Outcome, int] = {}
    for text in texts:
        name, _, number = text.partition("=")
        known = ", ".join(Outcome)
        if name not in set(Outcome):
            raise ValueError(f"{name!r} is no outcome; choose from {known}")
        if number and not (number.isascii() and number.isdigit() and int(number) > 0):
            raise ValueError(f"{text!r} is not OUTCOME or OUTCOME=N, N being 1 or more")
        limits[Outcome(name)] = int(number or 1)
    return Stop(limits, None if within is None else read_duration(within))


def read_duration(text: str) -> float:
    """Seconds of `90`, `90s`, `5m` or `1h`. Raises ValueError."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smh]?)", text)
    if found is None or not float(found[1]):
        raise ValueError(f"{text!r} is no duration; say 90s, 5m or 1h")
    return float(found[1]) * _UNITS[found[2]]
