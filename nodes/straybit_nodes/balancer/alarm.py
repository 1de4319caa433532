"""`bad-digest-alarm`: which balancer has more digests refused than all others together.

Theory of operation.
Each balancer counts the requests that carry a digest, and those of them answered 400 with an integrity code.
Some refusals are the clients' own fault and fall on all balancers alike.
Given how many there are in all, their share of one balancer is then hypergeometric:
the exact test of one balancer against the pooled others (Fisher, 1922), one-sided.
The counts only grow and are looked at again and again, so one look may spend only part of the false-alarm rate:
with `K` refusals in all it spends 4 / (K (K - 1)) of it, which sums to 1 over K = 5, 6, ...,
and that part is shared among the balancers (Bonferroni).
Between two refusals the test hardly moves, so looking often costs next to nothing; the measured rate is in the tests.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["FALSE_ALARM_RATE", "MIN_REJECTED", "culprits"]

FALSE_ALARM_RATE = 0.01
"""Chance that a clean cluster, over its whole life, is ever alarmed about; lower it and the alarm comes later."""
MIN_REJECTED = 5
"""Refusals below which nobody is named."""


def culprits(counts: Mapping[str, tuple[int, int]]) -> tuple[str, ...]:
    """Names of balancers whose rate of refusals stands out, sorted; usually none, or one.

    `counts` holds (requests with a digest, of those refused) for each balancer, since the cluster began.
    Nobody is named where there is nobody to compare with.
    Raises ValueError when more were refused than requested.
    """
    for name, (requests, rejected) in counts.items():
        if not 0 <= rejected <= requests:
            raise ValueError(f"{name} cannot have {rejected} refusals among {requests} requests")
    total = sum(requests for requests, _ in counts.values())
    rejected_in_all = sum(rejected for _, rejected in counts.values())
    if rejected_in_all < MIN_REJECTED:
        return ()
    spent = FALSE_ALARM_RATE * (MIN_REJECTED - 1) / (rejected_in_all * (rejected_in_all - 1)) / len(counts)
    return tuple(
        name
        for name, (requests, rejected) in sorted(counts.items())
        if rejected >= MIN_REJECTED and _chance(requests, rejected, total, rejected_in_all) <= spent
    )


def _chance(requests: int, rejected: int, total: int, rejected_in_all: int) -> float:
    """Chance that at least `rejected` of all refusals fall on `requests` of `total`, were all balancers alike."""
    from scipy.stats import hypergeom  # noqa: PLC0415 - 100 ms and 60 MB that no node needs

    return float(hypergeom.sf(rejected - 1, total, rejected_in_all, requests))
