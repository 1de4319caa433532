"""The map: what trials add up to, and how it is told as text, drawing and JSON."""

import re
import xml.etree.ElementTree as ET

import msgspec
import pytest
from campaign_samples import MESSAGE, PLAN, SETUP, one, played

from straybit.campaign.map import Map, draw_map
from straybit.campaign.space import Margin, sample
from straybit.records import TrialKind
from straybit.report.map_draw import layout
from straybit.report.map_page import map_html, write_map
from straybit.report.map_words import headline, map_text, ranges

ENDS = {"gossip-1.version": "SPREAD", "type": "DETECTED", ("gossip-1.version", 0): "MASKED"}


@pytest.fixture
def found():
    return draw_map(PLAN, played(PLAN, ENDS), backend="sim")


def test_the_count_of_dangerous_bits_leads(found):
    """A census counts them; there is no interval to give."""
    assert (found.dangerous.count, found.dangerous.exact) == (63, True)
    assert headline(found).startswith("gossip-1:gossip-2/up/state/0: 63 of 128 bits are dangerous")
    assert found.complete


def test_what_never_happened_has_a_bound(found):
    """0 of 128 is at most 2.84 %, not 0 %."""
    assert found.intervals["HANG"] == (0.0, pytest.approx(0.0284, abs=1e-4))
    assert "HANG      0, at most 2.84 %" in map_text(found)


def test_controls_and_invalid_trials_are_in_no_rate():
    """An INVALID flip leaves the rates; a control that raised something is a false alarm."""
    trials = played(PLAN, {**ENDS, "gossip-1.load": "INVALID"})
    loud = next(n for n, trial in enumerate(trials) if trial.kind is TrialKind.CONTROL)
    trials[loud] = msgspec.structs.replace(trials[loud], outcome="DETECTED", detected_by=("gossip-crc",))
    found = draw_map(PLAN, trials, backend="sim")
    assert (found.invalid, found.tried, found.controls) == (8, 120, 13)
    assert sum(found.outcomes.values()) == 120
    assert (found.detected.control_detected, found.detected.control_quiet) == (1, 12)
    assert "1 false alarms in 13" in map_text(found)


def test_injected_and_detected_make_a_two_by_two(found):
    """The eight bits of `type` were noticed, the others not."""
    two = found.detected
    assert (two.fault_detected, two.fault_missed, two.control_detected, two.control_quiet) == (8, 120, 0, 13)


def test_fields_stand_danger_first_with_every_bit(found):
    """The dangerous field is the first row, its highest bit the first letter."""
    lines = map_text(found).splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("field"))
    assert lines[at + 1].split()[:3] == ["gossip-1.version", "payload", "63/64"]
    assert lines[at + 1].endswith("SSSSSSSS SSSSSSSS SSSSSSSS SSSSSSSS SSSSSSSS SSSSSSSS SSSSSSSS SSSSSSS.")


def test_bits_that_ended_alike_are_one_stretch(found):
    """63..1 SPREAD; 0 MASKED: not 64 lines."""
    row = next(row for row in found.fields if row.name == "gossip-1.version")
    assert ranges(row.cells) == "63..1 SPREAD; 0 MASKED"


def test_a_sample_weighs_each_field_with_its_bits():
    """Where all of `version` is dangerous, the estimate is near its 64 bits, and within the interval."""
    plan = sample(MESSAGE, SETUP, Margin(), size=20)
    found = draw_map(plan, played(plan, {"gossip-1.version": "SPREAD"}), backend="sim")
    assert not found.dangerous.exact
    assert found.dangerous.count == pytest.approx(64, abs=0.1)
    assert 30 < found.dangerous.low < 64 < found.dangerous.high < 100


def test_a_field_with_more_than_its_share_does_not_count_double():
    """One draw of one bit in a field of 8 stands for 8 bits, not for a fifth of the sample."""
    plan = sample(MESSAGE, SETUP, Margin(), size=10)
    only = {"type": "SILENT"}
    found = draw_map(plan, played(plan, only), backend="sim")
    assert found.dangerous.count == pytest.approx(8, abs=0.1)


def test_the_drawing_has_a_cell_for_every_bit_to_scale(found):
    """128 cells, none on top of another, each in its field's frame; guard fields stand out."""
    tree = ET.fromstring(str(layout(found)).replace('class="map"', 'class="map" xmlns="http://www.w3.org/2000/svg"'))
    cells = [e for e in tree.iter() if "cell" in e.get("class", "").split()]
    places = {(e.get("x"), e.get("y")) for e in cells}
    assert len(cells) == len(places) == 128
    assert len([e for e in tree.iter() if e.get("class") == "frame guard"]) == 2
    assert len([e for e in cells if "o-spread" in e.get("class")]) == 63


def test_a_numbers_bit_0_is_in_its_last_byte():
    """The layout follows the wire: the masked bit 0 of `version` lies in byte 14, row 0 from below."""
    drawing = layout(draw_map(PLAN, played(PLAN, ENDS), backend="sim"))
    place = r'</title><rect class="[^"]*" x="([0-9]+)" y="([0-9]+)"'
    cell = re.search(r"<title>gossip-1\.version bit 0: MASKED[^<]*" + place, drawing)
    other = re.search(r"<title>gossip-1\.version bit 63: [^<]*" + place, drawing)
    assert int(cell[1]) - int(other[1]) == 7 * 24
    assert int(cell[2]) - int(other[2]) == 7 * 11


def test_the_page_is_one_file_that_says_the_count_first(found):
    """No script, no address to fetch from, the count as its heading, and what was not tested."""
    page = map_html(found)
    assert "<h1>63 of 128 bits are dangerous</h1>" in page
    assert "What was not tested" in page
    assert not re.search(r"<script|https?://|@import|url\(", page)
    assert page == map_html(found)


def test_a_map_written_is_a_map_read(found, tmp_path):
    """map.json holds all of it."""
    write_map(found, tmp_path)
    assert msgspec.json.decode((tmp_path / "map.json").read_bytes(), type=Map) == found
    assert (tmp_path / "map.txt").read_text() == map_text(found)


def test_a_map_of_half_a_campaign_says_so():
    """What is not there yet is blank, and the headline does not speak of the whole."""
    trials = [one(spec, ENDS) for spec in PLAN.trials()[:20]]
    found = draw_map(PLAN, trials, backend="sim")
    assert not found.complete
    assert "18 of 128 bits tried so far" in headline(found)
    assert layout(found).count("untried") == 110
