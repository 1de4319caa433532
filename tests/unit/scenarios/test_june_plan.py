"""June's plan: enough damage in every mode, computed before anything runs."""

from collections import Counter

import pytest

from straybit.clients import MODES
from straybit.scenarios._june_plan import DAMAGED, DAMAGED_PER_MODE, REQUESTS, june_plan
from straybit_nodes.topology import Topology

SEEDS = range(40)


@pytest.mark.parametrize("unit", ["byte", "bit"])
def test_enough_is_damaged_in_every_mode(unit):
    """At least 300 requests, 24 damaged, 2 of them in each mode, and some controls."""
    for seed in SEEDS:
        plan = june_plan(Topology(), seed, unit=unit)
        assert len(plan.writes) + len(plan.writes) // 3 >= REQUESTS - 1
        assert len(plan.damaged) >= DAMAGED
        assert min(Counter(write.mode for write in plan.damaged)[mode] for mode in MODES) >= DAMAGED_PER_MODE
        assert len(plan.controls) >= 2


def test_only_one_balancer_damages_anything():
    """Damage and controls sit on writes through the faulty balancer; the seed decides which one that is."""
    for seed in SEEDS:
        plan = june_plan(Topology(), seed)
        assert {write.balancer for write in (*plan.damaged, *plan.controls)} == {plan.balancer}
        assert {write.balancer for write in plan.writes} == {"lb-1", "lb-2", "lb-3"}
    assert {june_plan(Topology(), seed).balancer for seed in SEEDS} == {"lb-1", "lb-2", "lb-3"}


def test_keys_are_written_once():
    """No key is written twice, so that a key names its request."""
    plan = june_plan(Topology(), 1)
    assert len({write.key for write in plan.writes}) == len(plan.writes)


def test_the_same_seed_gives_the_same_plan():
    """A plan is a function of topology, seed and unit, and a dry run prints all of it."""
    assert june_plan(Topology(), 4) == june_plan(Topology(), 4)
    lines = june_plan(Topology(), 4).lines()
    assert len(lines) == 1 + len(june_plan(Topology(), 4).damaged)
    assert lines != june_plan(Topology(), 5).lines()
