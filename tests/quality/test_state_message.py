"""What a census of the state message finds unaided: the bits that brought July about, and what stops them."""

import pytest

from straybit.campaign.diff import compare
from straybit.campaign.map import draw_map
from straybit.campaign.record import record_message
from straybit.campaign.space import census
from straybit.campaign.spec import Aimed, Setup
from straybit.campaign.stages import recorder
from straybit.campaign.stepped import run_trial
from straybit.outcome import DANGEROUS, Outcome
from straybit.sim.stage import SimStage
from straybit_nodes.defences import parse_defences

AIMED = Aimed.parse("gossip-1:gossip-2/state")
FIELDS = ("version", "generation", "address")


def surveyed(defences, *, repair=False, every=1):
    """The map of those fields, every bit of them or every so manieth."""
    setup = Setup(defences=tuple(sorted(parse_defences(defences))))
    plan = census(record_message(AIMED, setup, recorder(setup)), setup, repair=repair, fields=FIELDS)
    with SimStage(defences=setup.defences) as stage:
        trials = [run_trial(spec, stage) for spec in plan.trials()[::every]]
    found = draw_map(plan, trials, backend="sim")
    assert found.detected.control_detected == found.invalid == 0
    return found


@pytest.fixture(scope="module")
def undefended():
    return surveyed("none")


def cells(found, name, *bits):
    return [cell for row in found.fields if row.bare == name for cell in row.cells if cell.bit in bits or not bits]


@pytest.mark.parametrize("field", ["version", "generation"])
def test_high_bits_of_version_and_generation_spread_and_stick(undefended, field):
    """Every bit of the upper half, of every entry: nobody notices, and a rolling restart does not help."""
    high = cells(undefended, field, *range(32, 64))
    assert len(high) == 64
    assert {(cell.outcome, cell.sticky, cell.by) for cell in high} == {(Outcome.SPREAD, True, ())}
    assert all(cell.survives_restart for cell in high if field == "version")


def test_the_address_bits_that_take_requests_down_are_those_that_stick(undefended):
    """Most bits of an address leave request legs with nobody at the other end, for as long as they are believed."""
    address = cells(undefended, "address")
    taking = {cell.bit for cell in address if cell.lost}
    assert len(taking) >= 24
    assert all(cell.sticky for cell in address if cell.lost)
    assert not any(cell.lost for name in ("version", "generation") for cell in cells(undefended, name))


def test_every_dangerous_bit_is_refused_by_the_checksum_of_2008():
    """Detected by name, with nothing adopted."""
    found = surveyed("2008", every=3)
    assert set(found.outcomes) >= {"DETECTED"}
    assert found.outcomes["DETECTED"] == found.tried
    assert {cell.by for cell in cells(found, "version")} == {("gossip-crc",)}


def test_damage_from_before_the_checksum_gets_through_and_the_owners_digest_stops_it(undefended):
    """With `gossip-crc` alone the repaired flips do what they did undefended; with `entry-digest` none of them does."""
    through = surveyed("gossip-crc", repair=True, every=3)
    assert through.dangerous.count > 0.9 * through.tried * len(FIELDS) / len(FIELDS) * 0.8
    kinds = {cell.outcome for cell in cells(through, "version", *range(32, 64))}
    assert kinds == {Outcome.SPREAD}
    stopped = surveyed("gossip-crc,entry-digest", repair=True, every=3)
    assert not any(stopped.outcomes[outcome] for outcome in DANGEROUS)
    assert {cell.by for cell in cells(stopped, "version")} == {("entry-digest",)}
    assert compare(through, stopped).worse is False
    assert compare(stopped, through).worse


def test_the_map_shows_it_at_a_glance(undefended):
    """The fields that hurt come first, the highest bits the worst."""
    from straybit.report.map_words import danger_first, ranges

    first = danger_first(undefended)[0]
    assert first.bare == "version"
    assert ranges(first.cells).startswith("63..")
