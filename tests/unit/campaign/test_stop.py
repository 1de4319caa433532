"""When a campaign stops early, and what its count says on the way."""

import itertools
from collections import Counter

import pytest
from campaign_samples import PLAN, one

from straybit.campaign.figures import Tally
from straybit.campaign.stop import Stop, read_duration, read_stop
from straybit.campaign.worker import Done
from straybit.outcome import Outcome


def test_the_first_of_a_kind_or_so_many_end_it():
    """`SPREAD` is the first one; `SILENT=3` the third."""
    stop = read_stop(["SPREAD", "SILENT=3"], None)
    assert stop.reason(Counter({Outcome.SILENT: 2}), 1e9) == ""
    assert stop.reason(Counter({Outcome.SILENT: 3}), 0) == "3 SILENT, as asked for"
    assert stop.reason(Counter({Outcome.SPREAD: 1}), 0) == "1 SPREAD, as asked for"


def test_a_time_budget_ends_it():
    """After five minutes, not before."""
    stop = read_stop([], "5m")
    assert stop.reason(Counter(), 299.9) == ""
    assert stop.reason(Counter(), 300.0) == "300 s are over"
    assert Stop().reason(Counter({Outcome.SPREAD: 10**6}), 1e9) == ""


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200)])
def test_durations_are_read_with_their_unit(text, seconds):
    """Seconds where none is said."""
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["SPRED", "SPREAD=0", "SPREAD=x", "=3"])
def test_a_stop_that_cannot_be_is_refused(text):
    """An outcome that is none, or a number that is none."""
    with pytest.raises(ValueError, match=r"is no outcome; choose from|is not OUTCOME or OUTCOME=N"):
        read_stop([text], None)


@pytest.mark.parametrize("text", ["", "soon", "0", "5d", "-3s"])
def test_a_duration_that_cannot_be_is_refused(text):
    """And says what can."""
    with pytest.raises(ValueError, match="say 90s, 5m or 1h"):
        read_duration(text)


def test_the_count_knows_its_rate_and_what_is_left():
    """Ten trials in ten seconds, of 141: 131 s to go; earlier sessions count as done, and not for the rate."""
    clock = itertools.count(start=0.0, step=1.0)
    now = next(clock)
    specs = PLAN.trials()
    tally = Tally(len(specs), [one(spec, {}) for spec in specs[:11]], lambda: now)
    for spec in specs[11:21]:
        now = next(clock)
        tally.add(Done((one(spec, {"length": "SPREAD"}),), 0.5, 0.25, 1))
    assert (tally.done, tally.played) == (21, 10)
    assert tally.left_s == pytest.approx(120)
    assert tally.cost.cpu_per_trial_s == pytest.approx(0.25)
    assert tally.line() == f"21 of 141 trials, 1.0/s, 120 s left, {tally.dangerous} dangerous"
    assert tally.dangerous == 9
