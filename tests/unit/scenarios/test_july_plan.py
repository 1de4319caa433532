"""July's six bits keep the rules of the design on every seed."""

from collections import Counter

import pytest

from straybit.scenarios._july_plan import july_plan
from straybit_nodes.topology import Topology

SEEDS = range(200)
SIZES = [Topology(), Topology.sized(eu=(6, 2), us=(18, 3))]


@pytest.mark.parametrize("topology", SIZES)
def test_two_messages_about_each_of_three_owners(topology):
    """One owner of eu and two of us, each in two messages, with a different bit in each."""
    for seed in SEEDS:
        plan = july_plan(topology, seed)
        assert Counter(f.aim.field for f in plan.flips) == {f"{owner}.address": 2 for owner in plan.owners}
        assert len({(f.aim.field, f.aim.bits) for f in plan.flips}) == 6
        regions = [topology.service(owner).region for owner in plan.owners]
        assert Counter(regions) == {"eu": 1, "us": 2}


@pytest.mark.parametrize("topology", SIZES)
def test_every_damaged_address_leads_nowhere(topology):
    """Each bit goes from 0 to 1, and one bit or both of an owner give an address that nobody has."""
    taken = {service.address for service in topology.services()}
    for seed in SEEDS:
        plan = july_plan(topology, seed)
        for owner in plan.owners:
            address = topology.service(owner).address
            one, other = (f.aim.bits[0] for f in plan.flips if f.aim.field == f"{owner}.address")
            assert not address >> one & 1
            assert not address >> other & 1
            assert not {address ^ 1 << one, address ^ 1 << other, address ^ 1 << one ^ 1 << other} & taken


def test_senders_and_receivers_are_others_of_the_region():
    """No owner sends or receives a message about itself, and gossip links of its own region carry it."""
    topology = Topology()
    links = {spec.name for spec in topology.links()}
    for seed in SEEDS:
        for flip in july_plan(topology, seed).flips:
            owner = flip.aim.field.split(".")[0]
            assert str(flip.link) in links
            assert not {flip.link.caller, flip.link.callee} & set(july_plan(topology, seed).owners)
            home = topology.service(owner).region
            assert {topology.service(n).region for n in (flip.link.caller, flip.link.callee)} == {home}


def test_the_same_seed_gives_the_same_plan():
    """A plan is a function of topology and seed."""
    assert july_plan(Topology(), 7) == july_plan(Topology(), 7)
    assert len({july_plan(Topology(), seed).lines() for seed in SEEDS}) > 150
