"""Does a census find what is there to be found? Planted holes, each in an otherwise sound node."""

import pytest
import weak_nodes as weak

from straybit.campaign.map import draw_map
from straybit.campaign.record import record_message
from straybit.campaign.space import census
from straybit.campaign.spec import Aimed, Setup, TrialSpec
from straybit.campaign.stepped import run_trial
from straybit.outcome import Outcome
from straybit.records import TrialKind
from straybit.sim.stage import SimStage
from straybit.sim.weak import SOUND, Weak
from straybit_faults.flip import Flip

pytestmark = pytest.mark.proof

AIMED = Aimed.parse("gossip-1:gossip-2/state")
EVERY = 4
"""Of wide payload fields every fourth bit is tried; of guard fields every bit."""
VALUES = frozenset({"owner", "address", "status", "generation", "version"})
"""Of an entry; its load is nobody's business, and its digest is no value."""


def surveyed(parts, *defences, repair=False, fields=()):
    """The map of a state message between nodes made of `parts`, and its trials."""
    setup = Setup(defences=defences, rounds=1)
    message = record_message(AIMED, setup, SimStage(defences=defences, weak=parts, record=True))
    plan = census(message, setup, repair=repair, fields=fields)
    guards = {field.name for field in message.fields if field.guard and not field.name.endswith(".digest")}
    with SimStage(defences=defences, weak=parts) as stage:
        trials = [run_trial(spec, stage) for spec in plan.trials() if _worth(spec, guards)]
    return draw_map(plan, trials, backend="sim"), trials


def _worth(spec, guards):
    aim = Flip.parse(spec.flips[0]).aim
    return aim.field in guards or aim.bits[0] % EVERY == 0


def holes(found):
    """Bare names of the fields in which some bit ended otherwise than caught by a check."""
    return {row.bare for row in found.fields if row.uncaught}


def hurt(found):
    """Bare names of the fields in which some bit was believed or kept, noticed or not."""
    return {row.bare for row in found.fields if row.dangerous or "NOTICED" in row.outcomes}


def quiet_controls(found):
    return found.controls > 5 and found.detected.control_detected == 0


FRAMES = [
    pytest.param(SOUND, set(), id="sound"),
    pytest.param(weak.OWN_FRAMER, set(), id="sound, by a framer of its own"),
    pytest.param(Weak(framer=weak.TypeForgotten, encode=weak.encode_without_type), {"type"}, id="type left out"),
    pytest.param(Weak(framer=weak.LengthTrusted), {"length"}, id="length trusted"),
    pytest.param(Weak(framer=weak.FlagBelieved), {"flags"}, id="flag believed"),
]


@pytest.mark.parametrize(("parts", "named"), FRAMES)
def test_a_hole_in_the_checksum_is_found_and_its_field_named(parts, named):
    """With `gossip-crc` every bit is caught by it, but for those of the field with the hole."""
    found, _ = surveyed(parts, "gossip-crc")
    assert holes(found) == named
    assert quiet_controls(found)


def test_a_flag_that_switches_the_check_off_is_one_bit():
    """Not the whole field: bit 0, and the map says which."""
    found, _ = surveyed(Weak(framer=weak.FlagBelieved), "gossip-crc", fields=("flags",))
    (row,) = found.fields
    assert [cell.bit for cell in row.cells if not cell.caught] == [0]


ENTRIES = ("gossip-3.owner", "gossip-3.address", "gossip-3.status", "gossip-3.load", "gossip-3.generation",
           "gossip-3.version", "gossip-3.digest")  # fmt: skip
CORES = [
    pytest.param(SOUND, set(), id="sound"),
    pytest.param(weak.OWN_CORE, set(), id="sound, by a core of its own"),
    pytest.param(Weak(core=weak.VersionByMax), {"version"}, id="version by max"),
    pytest.param(Weak(core=weak.DigestTooLate), VALUES, id="digest too late"),
    pytest.param(Weak(core=weak.SecondTry), VALUES, id="second try"),
]


@pytest.mark.parametrize(("parts", "named"), CORES)
def test_a_hole_behind_the_checksum_is_found_and_its_field_named(parts, named):
    """Repaired flips pass the checksum; no bit of an entry is believed past `entry-digest`, but for the hole's."""
    found, _ = surveyed(parts, "entry-digest", "gossip-crc", repair=True, fields=ENTRIES)
    assert hurt(found) == named
    assert quiet_controls(found)


def test_a_version_without_bound_spreads_by_its_high_bits():
    """The map shows the hole at a glance: dangerous from the highest bit down, and sticky."""
    found, _ = surveyed(Weak(core=weak.VersionByMax), "entry-digest", "gossip-crc", repair=True, fields=("version",))
    worst = [cell for row in found.fields for cell in row.cells if cell.bit == 60]
    assert {(cell.outcome, cell.sticky) for cell in worst} == {(Outcome.SPREAD, True)}


def test_damage_that_waits_on_a_disk_is_latent():
    """Nothing shows until a node is restarted; the aftershock brings it out, and only there."""
    found, trials = surveyed(Weak(core=weak.WrittenUnread), "entry-digest", "gossip-crc", repair=True, fields=ENTRIES)
    latent = {row.bare for row in found.fields if "LATENT" in row.outcomes}
    assert latent == VALUES
    assert found.outcomes["SPREAD"] == found.outcomes["SILENT"] == 0
    assert all(trial.outcome is Outcome.MASKED for trial in trials if trial.kind is TrialKind.CONTROL)
    setup = Setup(defences=("entry-digest", "gossip-crc"), rounds=1, aftershock=False)
    spec = TrialSpec(id="t1", flips=next(t for t in trials if t.outcome is Outcome.LATENT).flips, setup=setup)
    again = run_trial(spec, SimStage(defences=setup.defences, weak=Weak(core=weak.WrittenUnread)))
    assert again.outcome is Outcome.MASKED
