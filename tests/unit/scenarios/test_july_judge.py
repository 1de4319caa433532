"""What July is held against, row by row."""

import msgspec
import pytest

from straybit.clients import Reply
from straybit.outcome import Outcome
from straybit.records import Trial, TrialPhases
from straybit.run import Stored
from straybit.scenarios._july_judge import expectations, story

FLIPS = tuple(f"1/gossip-1:gossip-2/up/state/0/gossip-3.address/{n}" for n in range(6))
HELD = Trial(
    id="july",
    outcome=Outcome.DETECTED,
    flips=FLIPS,
    detected_by=("gossip-crc",),
    phases=TrialPhases(recovered_s=0.2),
    budgets={"detected": 2.0, "recovered": 5.0, "staged": 15.0},
)
RIGHT = Stored("key", "right", Reply(True))
NOTICED = (0.1,) * 6


def missed(trial=HELD, noticed=NOTICED, found=(RIGHT,), through=1.0, verified=1.0):
    """First words of the expectations that are not met."""
    judged = expectations(trial, noticed, found, through=through, verified=verified)
    return [e.text.split(",")[0] for e in judged if not e.met]


def test_a_cluster_that_holds_meets_everything():
    """Six refusals in time, nothing believed, every request answered, steady, nothing lost."""
    assert missed() == []


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"noticed": (0.1,) * 5 + (None,)}, "every flip is noticed by name"),
        ({"noticed": (0.1,) * 5 + (2.5,)}, "every flip is noticed by name"),
        ({"noticed": (None,)}, "every flip is noticed by name"),
        ({"trial": msgspec.structs.replace(HELD, by_luck=True)}, "every flip is noticed by name"),
        ({"trial": msgspec.structs.replace(HELD, outcome=Outcome.SPREAD)}, "nobody believes a wrong value"),
        ({"trial": msgspec.structs.replace(HELD, outcome=Outcome.INVALID)}, "nobody believes a wrong value"),
        ({"trial": msgspec.structs.replace(HELD, outcome=Outcome.NOTICED)}, "nobody believes a wrong value"),
        ({"through": 0.999}, "every request succeeds in each region"),
        ({"trial": msgspec.structs.replace(HELD, phases=TrialPhases())}, "the cluster is steady again within budget"),
        (
            {"trial": msgspec.structs.replace(HELD, phases=TrialPhases(recovered_s=5.1))},
            "the cluster is steady again within budget",
        ),
        ({"verified": 0.9}, "at the end every request succeeds"),
        ({"found": (RIGHT, Stored("k", "lost", Reply(False, 404)))}, "no acknowledged object is lost"),
        ({"found": (RIGHT, Stored("k", "wrong", Reply(True)))}, "no acknowledged object is lost"),
        ({"found": (RIGHT, Stored("k", "error", Reply(False, 503)))}, "no acknowledged object is lost"),
        ({"found": ()}, "no acknowledged object is lost"),
    ],
)
def test_each_expectation_can_fail(changes, text):
    """Each single thing that goes wrong misses its own expectation and no other."""
    assert missed(**changes) == [text]


def test_a_staged_restore_has_its_own_budget():
    """Where poison had to be cleared, recovery is held against the staged restore's budget."""
    slow = msgspec.structs.replace(HELD, sticky=True, phases=TrialPhases(recovered_s=9.0))
    assert missed(slow) == []


def rows(**changes):
    """Rows of the story that did not come true, by number."""
    spread = msgspec.structs.replace(HELD, outcome=Outcome.SPREAD, sticky=True)
    given = {"trial": spread, "found": (RIGHT,), "down": True, "down_again": True, "restored": True, **changes}
    table = story(given.pop("trial"), given.pop("found"), **given)
    return [number for number, row in enumerate(table.rows) if row[-1] != "yes"]


def test_the_story_as_published():
    """Six rows, each of which can be missing."""
    assert rows() == []
    assert rows(trial=HELD) == [0, 1]
    assert rows(down=False) == [2]
    assert rows(down_again=False) == [3]
    assert rows(restored=False) == [4]
    assert rows(found=()) == [5]
