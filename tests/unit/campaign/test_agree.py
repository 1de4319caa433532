"""Which flips agreement is tried on."""

from collections import Counter

import pytest

from straybit.campaign.agree import SERVED_MIX, chosen
from straybit.campaign.spec import SERVED, is_served
from straybit.faults import check_flip


def test_half_are_in_requests_and_half_undefended():
    """Where storage takes part: every field of every group as often as the next, and each flip can be."""
    specs = chosen(200, nodes=3, seed=1, served=True)
    assert len({spec.id for spec in specs}) == len(specs) == 200
    served = [spec for spec in specs if is_served(spec)]
    assert len(served) == 100
    assert sum(not spec.setup.defences for spec in specs) == 100
    for spec in served:
        for flip in spec.parsed():
            check_flip(flip, SERVED)
    places = Counter((spec.flips[0].rpartition("/")[0], spec.setup.defences) for spec in served)
    assert len(places) == len(SERVED_MIX) == 14
    assert max(places.values()) - min(places.values()) <= 1


def test_without_storage_all_are_gossip():
    """What the simulator plays."""
    assert not any(map(is_served, chosen(50, nodes=3, seed=1)))


def test_a_link_that_is_not_there_is_nobodys():
    """Neither kind; the stage says so when it is played."""
    (spec, *_) = chosen(50, nodes=3, seed=1)
    assert not is_served(type(spec)(id="x", flips=("1/lb-9:storage-1/up/request/0/body/1",)))


def test_seeds_draw_other_bits():
    """And the same one the same."""
    assert chosen(40, nodes=3, seed=1, served=True) == chosen(40, nodes=3, seed=1, served=True)
    assert chosen(40, nodes=3, seed=1, served=True) != chosen(40, nodes=3, seed=2, served=True)


def test_too_few_are_refused():
    """A sample that leaves a group out says so."""
    with pytest.raises(ValueError, match="cannot cover"):
        chosen(10, nodes=3, seed=1, served=True)
