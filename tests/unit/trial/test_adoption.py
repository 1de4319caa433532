"""Who took a wrong value from whom."""

from straybit.adoption import Tracer
from straybit.oracle import Wrong


def wrong(*holders, field="version", value=9):
    return [Wrong(holder, "gossip-3", field, value) for holder in holders]


def test_each_holder_names_the_one_it_talked_to():
    """A value that goes from the receiver to one and from there to another is two hops deep."""
    tracer = Tracer(["gossip-2"])
    tracer.saw(wrong("gossip-2"))
    tracer.saw(wrong("gossip-2", "gossip-4"), ("gossip-4", "gossip-2"))
    tracer.saw(wrong("gossip-2", "gossip-4", "gossip-1"), ("gossip-4", "gossip-1"))
    assert [(a.holder, a.source, a.hops, a.step) for a in tracer.adoptions] == [
        ("gossip-2", "", 0, 0),
        ("gossip-4", "gossip-2", 1, 1),
        ("gossip-1", "gossip-4", 2, 2),
    ]
    assert tracer.depth == 2
    assert tracer.spread == ("gossip-1", "gossip-4")


def test_a_value_that_stays_with_its_receiver_has_no_depth():
    """The receiver alone is depth 0 and nobody reached."""
    tracer = Tracer(["gossip-2"])
    tracer.saw(wrong("gossip-2"))
    tracer.saw([])
    assert (tracer.depth, tracer.spread) == (0, ())


def test_a_poisoned_value_that_its_owner_raises_is_no_new_adoption():
    """A wrong version that grows with heartbeats was adopted once."""
    tracer = Tracer(["gossip-2"])
    for value in (9, 10, 11):
        tracer.saw(wrong("gossip-2", value=value))
    assert len(tracer.adoptions) == 1


def test_who_was_right_in_between_adopts_anew():
    """A relapse counts, and from the one that was talked to."""
    tracer = Tracer(["gossip-2"])
    tracer.saw(wrong("gossip-2"))
    tracer.saw(wrong("gossip-2", "gossip-1"), ("gossip-1", "gossip-2"))
    tracer.saw(wrong("gossip-1"))
    tracer.saw(wrong("gossip-1", "gossip-2"), ("gossip-2", "gossip-1"))
    assert [(a.holder, a.source) for a in tracer.adoptions][-1] == ("gossip-2", "gossip-1")


def test_between_two_looks_with_several_exchanges_the_nearest_holder_is_named():
    """Without knowing who talked to whom the source is a known holder, never nobody."""
    tracer = Tracer(["gossip-2"])
    tracer.saw(wrong("gossip-2"))
    tracer.saw(wrong("gossip-2", "gossip-1", "gossip-4"))
    assert {a.source for a in tracer.adoptions[1:]} == {"gossip-2"}
    assert tracer.depth == 1
