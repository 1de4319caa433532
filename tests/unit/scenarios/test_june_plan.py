"""June's plan: enough damage in every mode, computed before anything runs."""

from collections import Counter
from functools import cache

import pytest

from straybit.clients import MODES
from straybit.scenarios import _june_plan
from straybit.scenarios._june_plan import june_plan
from straybit_nodes.topology import Topology

SEEDS = range(200)


@cache
def planned(seed, unit="byte"):
    """The plan of a seed on the default cluster; made once, since many tests ask for two hundred."""
    return june_plan(Topology(), seed, unit=unit)


@pytest.mark.parametrize("unit", ["byte", "bit"])
def test_enough_is_damaged_in_every_mode(unit):
    """300 requests however many are refused, 24 damaged, 12 of them under a checksum, 2 in each mode, 2 controls."""
    for seed in SEEDS:
        plan = planned(seed, unit)
        assert len(plan.writes) + (len(plan.writes) - len(plan.damaged)) // 3 >= 300
        assert len(plan.damaged) >= 24
        assert sum(bool(MODES[write.mode].checksum) for write in plan.damaged) >= 12
        assert min(Counter(write.mode for write in plan.damaged)[mode] for mode in MODES) >= 2
        assert len(plan.controls) >= 2


@pytest.mark.parametrize(
    ("name", "wanted", "count"),
    [
        ("WRITES", 450, lambda plan: len(plan.writes)),
        ("DAMAGED", 90, lambda plan: len(plan.damaged)),
        ("DAMAGED_PER_MODE", 12, lambda plan: min(Counter(write.mode for write in plan.damaged).values())),
        ("COVERED", 60, lambda plan: sum(bool(MODES[write.mode].checksum) for write in plan.damaged)),
        ("CONTROLS", 20, lambda plan: len(plan.controls)),
    ],
)
def test_writes_go_on_until_there_is_enough(monkeypatch, name, wanted, count):
    """Each of the numbers that are asked for is waited for: a plan is as long as it takes, and no longer."""
    assert count(june_plan(Topology(), 1)) < wanted
    monkeypatch.setattr(_june_plan, name, wanted)
    assert count(june_plan(Topology(), 1)) >= wanted


def test_no_more_is_written_than_it_takes():
    """A demo has a minute for four runs: hardly any seed needs more than 240 writes, and none over 330."""
    sizes = [len(planned(seed).writes) for seed in SEEDS]
    assert max(sizes) <= 330
    assert sum(size > 240 for size in sizes) <= len(SEEDS) // 10


def test_only_one_balancer_damages_anything():
    """Damage and controls sit on writes through the faulty balancer; the seed decides which one that is."""
    for seed in SEEDS:
        plan = planned(seed)
        assert {write.balancer for write in (*plan.damaged, *plan.controls)} == {plan.balancer}
        assert {write.balancer for write in plan.writes} == {"lb-1", "lb-2", "lb-3"}
    assert {planned(seed).balancer for seed in SEEDS} == {"lb-1", "lb-2", "lb-3"}


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
