"""Budgets as text."""

import pytest

from straybit.budgets import BUDGETS, budgets_with, parse_budget


@pytest.mark.parametrize(
    ("text", "value"), [("recovered=5s", 5.0), ("detected=800ms", 0.8), ("staged=20", 20.0), ("detected=0.5s", 0.5)]
)
def test_a_budget_has_a_name_and_seconds(text, value):
    """Seconds are the default unit; milliseconds can be said."""
    assert parse_budget(text) == (text.split("=")[0], value)


@pytest.mark.parametrize("text", ["", "recovered", "recovered=", "recovered=-1", "recovered=5m", "lunch=5s", "=5"])
def test_anything_else_is_refused(text):
    """A budget that cannot be read is an error that shows the form."""
    with pytest.raises(ValueError, match="as recovered=5s"):
        parse_budget(text)


@pytest.mark.parametrize("text", ["recovered=0", "detected=0ms", "staged=0.0s"])
def test_no_time_at_all_is_refused(text):
    """Nothing can be done in no time, so the run would only fail."""
    with pytest.raises(ValueError, match="leaves no time; give more than 0"):
        parse_budget(text)


def test_those_not_named_keep_their_defaults():
    """One budget can be set and the others stay."""
    assert budgets_with(["recovered=1s"]) == {**BUDGETS, "recovered": 1.0}
    assert budgets_with({"detected": 3.0}) == {**BUDGETS, "detected": 3.0}
    with pytest.raises(ValueError, match="unknown budget lunch; choose from detected, recovered, staged"):
        budgets_with({"lunch": 1.0})
