"""`bad-digest-alarm`: which balancer is named, and how seldom a good one is."""

import random

import pytest

from straybit_nodes.balancer.alarm import FALSE_ALARM_RATE, MIN_REJECTED, culprits


@pytest.mark.parametrize(
    ("counts", "named"),
    [
        ({}, ()),
        ({"lb-1": (100, 0), "lb-2": (100, 0)}, ()),
        ({"lb-1": (100, 10), "lb-2": (100, 0), "lb-3": (100, 0)}, ("lb-1",)),
        ({"lb-1": (50, 0), "lb-2": (25, 8), "lb-3": (25, 0)}, ("lb-2",)),
        ({"lb-1": (100, 20), "lb-2": (100, 20), "lb-3": (100, 20)}, ()),
        ({"lb-1": (1000, 60), "lb-2": (1000, 10), "lb-3": (1000, 12)}, ("lb-1",)),
        ({"lb-1": (10000, MIN_REJECTED - 1), "lb-2": (1000000, 0)}, ()),
        ({"lb-1": (100, 100)}, ()),
    ],
)
def test_the_one_that_stands_out_is_named(counts, named):
    """A balancer is named when its share of refusals cannot be chance; alone it is compared with nobody."""
    assert culprits(counts) == named


def test_counts_that_cannot_be_are_refused():
    """More refusals than requests is a mistake of the caller."""
    with pytest.raises(ValueError, match="lb-1"):
        culprits({"lb-1": (1, 2)})


def life(rng, shares, rate, requests):
    """Whether a cluster is alarmed about in its life; counts are looked at whenever a refusal came."""
    counts = {f"lb-{n}": (0, 0) for n in range(len(shares))}
    for name in rng.choices(list(counts), shares, k=requests):
        refused = rng.random() < rate
        total, rejected = counts[name]
        counts[name] = (total + 1, rejected + refused)
        if refused and culprits(counts):
            return True
    return False


@pytest.mark.parametrize(("shares", "rate"), [((1, 1, 1), 0.1), ((1, 4, 4), 0.05), ((3, 1, 1), 0.1)])
def test_a_clean_cluster_is_left_in_peace(shares, rate):
    """Clients' own mistakes, alike everywhere, raise an alarm in at most the stated share of clusters' lives."""
    alarmed = sum(life(random.Random(seed), shares, rate, 500) for seed in range(120))
    assert alarmed / 120 <= 3 * FALSE_ALARM_RATE


def test_a_bad_balancer_is_named_before_its_tenth_refusal():
    """With no other refusals and a third of the requests, eight refusals are enough."""
    assert culprits({"lb-1": (100, 8), "lb-2": (100, 0), "lb-3": (100, 0)}) == ("lb-1",)
