"""Two maps compared: what got worse leads, and only what both have tried counts."""

import msgspec
import pytest
from campaign_samples import AIMED, MESSAGE, PLAN, SETUP, field, played, replace

from straybit.campaign.diff import MapError, compare, newly_dangerous, read_map
from straybit.campaign.map import draw_map
from straybit.campaign.space import Margin, census, sample
from straybit.campaign.spec import Aimed
from straybit.report.map_page import write_map


def drawn(ends, plan=PLAN):
    return draw_map(plan, played(plan, ends), backend="sim")


def test_what_got_worse_is_told_by_field():
    """+64 dangerous bits in `version`, whoever's it is."""
    found = compare(drawn({}), drawn({"gossip-1.version": "SPREAD"}))
    assert [str(change) for change in found.changes] == ["+64 dangerous bits in `version`"]
    assert found.worse
    assert found.changes[0].bits[0] == "+gossip-1.version/0"


def test_what_got_better_is_no_reason_to_fail():
    """The other way round nothing is worse."""
    found = compare(drawn({"gossip-1.version": "SPREAD"}), drawn({("gossip-1.version", 3): "SPREAD"}))
    assert [str(change) for change in found.changes] == ["-63 dangerous bits in `version`"]
    assert not found.worse


def test_worse_and_better_in_one_field_are_both_told():
    """A bit that healed does not hide one that broke."""
    found = compare(drawn({("type", 1): "CRASH"}), drawn({("type", 2): "HANG"}))
    assert str(found.changes[0]) == "+1 and -1 dangerous bits in `type`"
    assert found.worse


def test_another_kind_of_danger_is_no_change():
    """SILENT to SPREAD: the bit was dangerous and is."""
    assert compare(drawn({"type": "SILENT"}), drawn({"type": "SPREAD"})).changes == ()


def test_bits_that_one_map_did_not_try_prove_nothing():
    """Against a sample only its own bits count."""
    plan = sample(MESSAGE, SETUP, Margin(), size=20)
    found = compare(drawn({}, plan), drawn({"gossip-1.version": "SPREAD"}))
    assert found.changes[0].more == plan.drawn["gossip-1.version"]


def test_a_field_that_is_new_counts_in_full():
    """A layout that grew has no excuse."""
    grown = replace(MESSAGE, length=17, fields=(*MESSAGE.fields, field("gossip-1.mood", 16, 1)))
    found = compare(drawn({}), drawn({"gossip-1.mood": "SPREAD"}, census(grown, SETUP)))
    assert str(found.changes[0]) == "+8 dangerous bits in `mood`"


def test_maps_of_different_kinds_are_not_compared():
    """A digest is no state."""
    other = replace(MESSAGE, aimed=Aimed.parse("gossip-1:gossip-2/digest"))
    with pytest.raises(MapError, match="different kinds of message"):
        compare(drawn({}), drawn({}, census(other, SETUP)))
    assert AIMED.kind == "state"


def test_without_a_baseline_every_dangerous_bit_is_new():
    """And with one, those that it lacks."""
    new = drawn({"type": "SILENT"})
    assert len(newly_dangerous(None, new)) == 8
    assert newly_dangerous(drawn({("type", 0): "HANG"}), new) == {("type", bit) for bit in range(1, 8)}


def test_a_map_is_read_from_its_folder_or_refused_in_a_line(tmp_path):
    """What is missing, torn or of another schema is said in a line."""
    with pytest.raises(MapError, match="cannot be read"):
        read_map(tmp_path)
    write_map(drawn({}), tmp_path)
    assert read_map(tmp_path) == read_map(tmp_path / "map.json") == drawn({})
    whole = (tmp_path / "map.json").read_bytes()
    (tmp_path / "map.json").write_bytes(whole[:100])
    with pytest.raises(MapError, match="is no map"):
        read_map(tmp_path)
    (tmp_path / "map.json").write_bytes(msgspec.json.encode({**msgspec.json.decode(whole), "schema": 7}))
    with pytest.raises(MapError, match="schema 7, and this straybit reads 1"):
        read_map(tmp_path)
