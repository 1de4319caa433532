"""The space of a message: which bits there are, which a sample takes, and where the controls stand."""

import pytest
from campaign_samples import AIMED, MESSAGE, PLAN, SETUP, replace
from hypothesis import given
from hypothesis import strategies as st

from straybit.campaign.space import Margin, allocate, census, sample
from straybit.campaign.spec import Aimed
from straybit.stats import sample_size
from straybit_faults.flip import Flip


def faults(plan):
    return [flip for flip in map(Flip.parse, plan.flips) if not flip.control]


def test_a_census_holds_every_bit_once_in_the_order_of_the_message():
    """128 bits of 16 bytes, none twice, none left out."""
    bits = [(flip.aim.field, flip.aim.bits) for flip in faults(PLAN)]
    assert len(bits) == len(set(bits)) == 128 == MESSAGE.bits
    assert bits[:9] == [("type", (bit,)) for bit in range(8)] + [("length", (0,))]
    assert PLAN.whole


def test_about_one_trial_in_ten_is_a_control():
    """A control stands beside every tenth flip, at the same place, and changes nothing."""
    flips = list(map(Flip.parse, PLAN.flips))
    controls = [place for place, flip in enumerate(flips) if flip.control]
    assert len(controls) == 13
    assert all(replace(flips[at], control=False) == flips[at + 1] for at in controls)


def test_guard_fields_are_known_by_their_class():
    """Length and type decide whether a check runs; an address does not."""
    assert [field.name for field in MESSAGE.fields if field.guard] == ["type", "length"]


def test_a_campaign_of_some_fields_takes_them_by_bare_name_too():
    """`version` means every owner's, `gossip-1.load` that one alone."""
    plan = census(MESSAGE, SETUP, fields=("version", "gossip-1.load"))
    assert {flip.aim.field for flip in faults(plan)} == {"gossip-1.version", "gossip-1.load"}
    assert plan.sizes == {"gossip-1.version": 64, "gossip-1.load": 8}
    with pytest.raises(ValueError, match="has no field 'colour'; it has type, length"):
        census(MESSAGE, SETUP, fields=("colour",))


def test_repair_is_in_every_flip_of_the_plan():
    """Damage from before the checksum was made, in all of them."""
    assert all(flip.aim.repair for flip in faults(census(MESSAGE, SETUP, repair=True)))


def test_a_sample_has_leveugles_size_and_every_field():
    """10 % at 95 % of 128 bits are 56; each field has its share by bits, and one at least."""
    plan = sample(MESSAGE, SETUP, Margin(0.10, 0.95))
    assert len(faults(plan)) == sample_size(0.10, 0.95, population=128) == 56
    assert plan.drawn["gossip-1.version"] in {27, 28}
    assert min(plan.drawn.values()) >= 1
    assert not plan.whole


def test_a_sample_is_decided_by_its_seed():
    """The same seed draws the same bits in the same order, another one others."""
    plans = [sample(MESSAGE, replace(SETUP, seed=seed), Margin(0.10, 0.95)) for seed in (1, 1, 2)]
    assert plans[0].flips == plans[1].flips
    assert plans[0].flips != plans[2].flips


def test_a_sample_larger_than_the_space_becomes_a_census():
    """Nothing is drawn twice: where all bits are wanted, all are taken."""
    assert sample(MESSAGE, SETUP, Margin(), size=129).flips == PLAN.flips
    assert sample(MESSAGE, SETUP, Margin(0.001, 0.99)).whole


def test_fewer_draws_than_fields_come_from_anywhere():
    """Three of five fields: not always the first ones."""
    drawn = {
        flip.aim.field
        for seed in range(20)
        for flip in faults(sample(MESSAGE, replace(SETUP, seed=seed), Margin(), size=3))
    }
    assert "gossip-1.version" in drawn
    assert len(drawn) == 5


@given(st.dictionaries(st.text("abc", min_size=1), st.integers(1, 200), min_size=1, max_size=8), st.data())
def test_draws_are_shared_out_by_size(sizes, data):
    """As many as wanted, one at least and all at most of each, and no stratum is one draw off its share or more."""
    wanted = data.draw(st.integers(len(sizes), sum(sizes.values())))
    shares = allocate(sizes, wanted)
    total = sum(sizes.values())
    assert all(1 <= shares[name] <= size for name, size in sizes.items())
    assert sum(shares.values()) >= wanted - len(sizes)
    assert all(shares[name] <= max(1, wanted * size / total + 1) for name, size in sizes.items())


def test_trial_ids_tell_campaigns_apart():
    """Another seed or another defence is another word; the number is the place in the plan."""
    words = {
        census(MESSAGE, replace(SETUP, **change)).word for change in ({}, {"seed": 9}, {"defences": ("gossip-crc",)})
    }
    assert len(words) == 3
    assert [spec.id for spec in PLAN.trials()][:2] == [f"{PLAN.word}-0", f"{PLAN.word}-1"]


def test_a_message_is_said_by_link_direction_kind_and_ordinal():
    """Direction and ordinal may be left out; what cannot be read says what would be right."""
    assert Aimed.parse("gossip-1:gossip-2/state") == AIMED
    assert str(Aimed.parse("gossip-1:gossip-2/down/state/2")) == "gossip-1:gossip-2/down/state/2"
    for wrong in ("gossip-1:gossip-2", "gossip-1/state", "gossip-1:gossip-2/state/x", "gossip-1:gossip-2/up/state/1/2"):
        with pytest.raises(ValueError, match=r"such as gossip-1:gossip-2"):
            Aimed.parse(wrong)
