"""Steady is a row of good probes with its spacing kept; one bad probe starts the row again."""

import itertools
import time
from types import SimpleNamespace

import pytest

from straybit import steady
from straybit.driver import LIVE
from straybit.steady import NotSteadyError, wait_steady

NOBODY = SimpleNamespace(driver=LIVE)
"""A cluster that nobody looks at."""


@pytest.fixture
def probed(monkeypatch):
    """Probes that answer from a list, the last of it for ever; notes when each was made."""
    made = []

    def use(*answers):
        left = itertools.chain(answers, itertools.repeat(answers[-1]))

        def probe(_cluster, _names):
            made.append(time.monotonic())
            return next(left)

        monkeypatch.setattr(steady, "probe_steady", probe)
        return made

    return use


def test_five_good_probes_are_steady(probed):
    """Five good probes in a row are steady, and they began at least 100 ms apart."""
    made = probed(())
    found = wait_steady(NOBODY)
    assert len(made) == found.probes == 5
    assert found.since <= made[0]
    assert found.at >= made[-1]
    assert min(b - a for a, b in itertools.pairwise(made)) >= 0.0999


def test_bad_probe_starts_the_row_again(probed):
    """A bad probe after four good ones makes five more necessary."""
    made = probed((), (), (), (), ("lb-1 is dead",), ())
    found = wait_steady(NOBODY, every_s=0.001)
    assert len(made) == 10
    assert made[4] < found.since <= made[5]


def test_what_is_missing_is_said(probed):
    """Who gives up says within which budget and what was missing."""
    probed(("a is held", "b is held", "c is held", "d is held"))
    with pytest.raises(NotSteadyError, match=r"not steady within 0.05 s: a is held; b is held; c is held and 1 more"):
        wait_steady(NOBODY, budget_s=0.05, every_s=0.001)
