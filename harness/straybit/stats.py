"""Statistics of trials: intervals, bounds, percentiles and sample sizes. SciPy is imported when first needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import msgspec

__all__ = ["Spread", "at_most", "percentile", "sample_size", "spread", "wilson"]


def wilson(events: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion, two-sided. (0, 1) where there was no trial.

    Raises ValueError unless 0 <= events <= trials and 0 < confidence < 1.
    """
    _check(events, trials, confidence)
    if trials == 0:
        return (0.0, 1.0)
    z2 = _quantile(confidence) ** 2
    share = events / trials
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = math.sqrt(share * (1 - share) * z2 / trials + (z2 / (2 * trials)) ** 2) / (1 + z2 / trials)
    low = 0.0 if events == 0 else max(0.0, middle - half)
    high = 1.0 if events == trials else min(1.0, middle + half)
    return (low, high)


def at_most(trials: int, confidence: float = 0.95) -> float:
    """What a proportion is at most when none of so many trials showed it: 0 of 1,000 -> 0.0037.

    This is the upper end of the two-sided Clopper-Pearson interval, 1 - (alpha / 2) ** (1 / n).
    Wilson's would be 0.0038, and the one-sided bound ("rule of three") 0.0030.
    Raises ValueError unless trials >= 0 and 0 < confidence < 1.
    """
    _check(0, trials, confidence)
    if trials == 0:
        return 1.0
    from scipy.special import betaincinv  # noqa: PLC0415 - takes half a second, and few runs ask

    return float(betaincinv(1, trials, (1 + confidence) / 2))


def percentile(values: Sequence[float], q: float) -> float:
    """The q-th percentile (0..100), linear between neighbours. Raises ValueError without values."""
    if not values or not 0 <= q <= 100:
        raise ValueError("a percentile needs a value at least, and q in 0..100")
    ordered = sorted(values)
    place = (len(ordered) - 1) * q / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


class Spread(msgspec.Struct, frozen=True):
    """How long something took, over several trials, in seconds."""

    count: int
    p50: float
    p95: float
    worst: float


def spread(values: Sequence[float]) -> Spread | None:
    """Median, 95th percentile and worst of these; None where there are none."""
    if not values:
        return None
    return Spread(len(values), percentile(values, 50), percentile(values, 95), max(values))


def sample_size(
    error: float, confidence: float = 0.95, *, population: int | None = None, proportion: float = 0.5
) -> int:
    """How many trials bound the error of an estimated proportion, after Leveugle et al.

    n = N t^2 p(1-p) / (e^2 (N-1) + t^2 p(1-p)); `population` None means without bound.
    385 for 95 %/5 %, 9,604 for 95 %/1 %, 16,587 for 99 %/1 %:
    the paper's own numbers, which come with t to four decimals (1.9600, 2.5758).
    Raises ValueError for an error, confidence or proportion outside (0, 1), or a population below 1.
    """
    if not (0 < error < 1 and 0 < confidence < 1 and 0 < proportion < 1) or (population is not None and population < 1):
        raise ValueError("error, confidence and proportion lie between 0 and 1, and a population has a member")
    variance = round(_quantile(confidence), 4) ** 2 * proportion * (1 - proportion)
    if population is None:
        return math.ceil(round(variance / error**2, 6))
    return math.ceil(round(population * variance / (error**2 * (population - 1) + variance), 6))


def _check(events: int, trials: int, confidence: float) -> None:
    if not (0 <= events <= trials and 0 < confidence < 1):
        raise ValueError(
            f"{events} of {trials} at {confidence}: events lie in 0..trials, and confidence between 0 and 1"
        )


def _quantile(confidence: float) -> float:
    """Of the normal distribution, two-sided: 1.96 for 95 %."""
    return NormalDist().inv_cdf((1 + confidence) / 2)
