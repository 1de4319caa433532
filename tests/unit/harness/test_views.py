"""What a view has against what was originated, in words."""

import pytest

from straybit.control import View
from straybit.oracle import Entry, Originated
from straybit.views import disagreements

TRUTH = {"gossip-1": Originated(1, 1, 7, 4), "gossip-2": Originated(2, 1, 7, 4)}
GOOD = {"gossip-1": Entry(1, 1, 0, 7, 4), "gossip-2": Entry(2, 1, 9, 7, 2)}


def view(**entries) -> View:
    return View("gossip-1", 0.0, "running", {**GOOD, **{k.replace("_", "-"): v for k, v in entries.items()}})


def test_true_view_has_none():
    """Load and older versions are no disagreement."""
    assert disagreements(view(), TRUTH, versions=True) == ()


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (Entry(3, 1, 0, 7, 1), "gossip-1's view has gossip-2.address = 3"),
        (Entry(2, 9, 0, 7, 1), "gossip-1's view has gossip-2.status = 9"),
        (Entry(2, 1, 0, 8, 1), "gossip-1's view has gossip-2.generation = 8"),
    ],
)
def test_value_nobody_originated_is_named(entry, said):
    """A wrong address, status or generation is named with holder, owner and value."""
    (line,) = disagreements(view(gossip_2=entry), TRUTH)
    assert line.startswith(said)


def test_missing_and_strange_members_are_named():
    """A member that is missing, and one that nobody knows, are disagreements."""
    stranger = View("gossip-1", 0.0, "running", {"gossip-1": GOOD["gossip-1"], "gossip-x": GOOD["gossip-2"]})
    lines = disagreements(stranger, TRUTH)
    assert "gossip-1's view lacks gossip-2" in lines
    assert any("gossip-x" in line for line in lines)


def test_versions_count_when_asked():
    """A version beyond the owner's heartbeats is a disagreement only for who asks for versions."""
    ahead = view(gossip_2=Entry(2, 1, 0, 7, 5))
    assert disagreements(ahead, TRUTH) == ()
    assert len(disagreements(ahead, TRUTH, versions=True)) == 1
