"""When an undefended run counts as having failed as published."""

import pytest

from straybit.outcome import Outcome
from straybit.records import Table, Trial, TrialKind
from straybit.result import RunResult
from straybit.scenarios import STORY
from straybit.story import as_published

YES = Table(name=STORY, columns=("what", "so"), rows=(("it fails", "yes"), ("and stays", "yes")))


def test_every_row_has_come_true():
    """The detail counts the points of the story."""
    story = as_published(RunResult(scenario="july-2008", tables=(YES,)))
    assert (story.met, story.detail) == (True, "2 of 2 points of the story")


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (RunResult(), "0 of 0"),
        (RunResult(tables=(Table(name=STORY, columns=("a", "b"), rows=(("it fails", "no"),)),)), "not so: it fails"),
        (RunResult(tables=(YES,), reasons=("a node exited",)), "a node exited"),
        (RunResult(tables=(YES,), trials=(Trial(id="t1", outcome=Outcome.INVALID),)), "trial t1 is INVALID"),
        (
            RunResult(tables=(YES,), trials=(Trial(id="c1", kind=TrialKind.CONTROL, outcome=Outcome.INVALID),)),
            "trial c1 is INVALID",
        ),
    ],
    ids=["no story", "a row", "a reason", "an invalid fault", "an invalid control"],
)
def test_it_is_not_as_published(result, says):
    """Without a story, with a row that is not so, a reason for no verdict, or an INVALID trial of either kind."""
    story = as_published(result)
    assert not story.met
    assert says in story.detail
