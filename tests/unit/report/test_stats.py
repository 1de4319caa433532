"""Statistics agree with the literature's numbers and with SciPy."""

import pytest
from scipy.stats import binomtest

from straybit.stats import at_most, percentile, sample_size, spread, wilson


@pytest.mark.parametrize(
    ("confidence", "error", "trials"), [(0.95, 0.05, 385), (0.95, 0.01, 9604), (0.99, 0.01, 16587)]
)
def test_sample_sizes_of_the_paper(confidence, error, trials):
    """Leveugle et al., DATE 2009, without bound on the population."""
    assert sample_size(error, confidence) == trials


def test_a_small_population_needs_fewer():
    """278 of 1,000 for 95 %/5 %, and never more than there are."""
    assert sample_size(0.05, population=1000) == 278
    assert sample_size(0.01, population=10) == 10


def test_zero_of_a_thousand():
    """Zero events are a bound: Clopper-Pearson's two-sided 0.37 %; Wilson's is 0.38 %."""
    assert round(at_most(1000) * 100, 2) == 0.37
    assert round(wilson(0, 1000)[1] * 100, 2) == 0.38
    assert at_most(0) == 1.0


@pytest.mark.parametrize("trials", [1, 7, 1000])
def test_wilson_agrees_with_scipy(trials):
    """At both ends and in between."""
    for events in {0, 1, trials // 3, trials}:
        theirs = binomtest(events, trials).proportion_ci(0.95, method="wilson")
        assert wilson(events, trials) == pytest.approx((theirs.low, theirs.high))
        assert at_most(trials) == pytest.approx(binomtest(0, trials).proportion_ci(0.95, method="exact").high)


def test_no_trial_says_nothing():
    """Without trials the interval is everything."""
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    "call", [lambda: wilson(2, 1), lambda: wilson(-1, 5), lambda: at_most(5, 1.0), lambda: sample_size(0)]
)
def test_nonsense_is_refused(call):
    """Counts and shares that cannot be."""
    with pytest.raises(ValueError):
        call()


def test_percentiles():
    """Linear between neighbours; one value is all of them."""
    assert percentile([4, 1, 3, 2], 50) == 2.5
    assert percentile([7], 95) == 7
    assert spread([]) is None
    found = spread([0.1, 0.2, 0.3])
    assert found is not None
    assert (found.count, found.p50, found.worst) == (3, 0.2, 0.3)
