"""The budget of retries."""

from hypothesis import given
from hypothesis import strategies as st

from straybit_nodes.balancer.budget import RESERVE_PER_S, SHARE, RetryBudget


def spend(budget):
    taken = 0
    while budget.take():
        taken += 1
    return taken


def test_a_budget_is_spent_and_earned():
    """At rest there is a second's reserve and more; then each request earns a fifth, and each second a reserve."""
    now = [0.0]
    budget = RetryBudget(lambda: now[0])
    assert spend(budget) == int(RESERVE_PER_S + 100 * SHARE)
    assert not budget.take()
    for _ in range(11):
        budget.earn()
    assert spend(budget) == 2
    now[0] = 1.0
    assert spend(budget) == int(RESERVE_PER_S)


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(0, 50)), max_size=30))
def test_retries_are_a_share_of_requests_and_a_reserve(seconds):
    """Over any time there are never more retries than the share, the reserve and what was saved up."""
    now, requests, taken = [0.0], 0, 0
    budget = RetryBudget(lambda: now[0])
    for passed, count in seconds:
        now[0] += passed
        for _ in range(count):
            budget.earn()
            requests += 1
            taken += sum(budget.take() for _ in range(2))
    saved = RESERVE_PER_S + 100 * SHARE
    assert taken <= SHARE * requests + RESERVE_PER_S * now[0] + saved + 1e-6
