"""The reports that are text: summary, JUnit and terminal; and the words they share."""

import io
import re
from xml.etree import ElementTree as ET

import msgspec
import pytest
from report_samples import SAMPLES, control, july_trial, started, write_demo, write_sample
from rich.console import Console

from straybit.outcome import Outcome
from straybit.records import Error, Expectation, Phase, RunEnded, Table
from straybit.report import facts, figures, load_result, write_reports
from straybit.report.history import HISTORY
from straybit.report.junit import junit_xml
from straybit.report.summary import LIMIT_BYTES, summary_md
from straybit.report.terminal import print_result, verdict_line
from straybit.result import Series, fold
from straybit.scenarios import SCENARIOS, find_scenario


def printed(result, **options) -> str:
    out = io.StringIO()
    print_result(result, Console(file=out, width=100, **options))
    return out.getvalue()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "never"),
        (0, "0 ms"),
        (0.0004, "0.4 ms"),
        (0.0021, "2.1 ms"),
        (0.012, "12 ms"),
        (0.5234, "0.52 s"),
        (8.43, "8.4 s"),
        (15.0, "15 s"),
        (25.44, "25.4 s"),
        (600, "10 min"),
        (29880, "8 h 18 min"),
    ],
)
def test_durations_read_well(value, text):
    """Two or three digits, and the unit a person would choose."""
    assert facts.seconds(value) == text


@pytest.mark.parametrize(
    ("flip", "words"),
    [
        ("1/gossip-2:gossip-3/up/state/0/gossip-1.address/22", "state address"),
        ("1/gossip-2:gossip-3/up/state/0/version/62/repair", "state version"),
        ("1/lb-2:storage-5/up/request/17/body/34+37", "request body"),
        ("1/lb-2:storage-5/up/request/17/header.content-md5/3", "request header.content-md5"),
        ("1/lb-2:storage-5/down/reply/3/truncate:100", "reply truncate"),
        ("1/a:b/up/at/0/1316/2", "bit at an offset"),
    ],
)
def test_flips_are_classed_by_what_they_change(flip, words):
    """By kind and field, without the owner and the place."""
    assert facts.fault_class(msgspec.structs.replace(july_trial(0, defended=True), flips=(flip,))) == words


def test_an_expected_outcome_is_no_alarm():
    """At three in the morning, SILENT under the word Held needs its reason beside it."""
    result = fold(SAMPLES["june-2008-2008"]())
    assert "24 trials, 8 SILENT as expected, 4 NOTICED as expected, 12 DETECTED" in facts.sentence(result)
    assert "6 trials, all SPREAD and sticky" in facts.sentence(fold(SAMPLES["july-2008-none"]()))


def test_the_longest_outage_is_found():
    """Stretches are of neighbouring bins; an empty bin neither ends nor lengthens one."""
    series = Series(at_s=tuple(range(7)), ok=(4, 0, 0, 0, 4, 0, 4), total=(4, 4, 0, 4, 4, 4, 4))
    assert figures.outage(series, 1.0) == 2.0


def test_a_trials_own_budget_holds():
    """A staged restore has 15 s where the run's recovery has 5."""
    trial = msgspec.structs.replace(july_trial(0, defended=False), budgets={"recovered": 15.0})
    timing = figures.timings(fold([started("s"), trial]))[1]
    assert (timing.budget, timing.over) == (15.0, 0)
    assert figures.timings(fold([started("s"), july_trial(0, defended=False)]))[1].over == 1


def test_a_trial_without_a_line_of_its_own_has_its_runs():
    """A command that does not exist is never printed."""
    plain = msgspec.structs.replace(july_trial(0, defended=True), replay="")
    assert facts.replay_command(fold([started("july-2008"), plain]), plain) == started("july-2008").replay


def test_invalid_trials_are_in_no_rate():
    """They are shown, and counted nowhere."""
    invalid = msgspec.structs.replace(july_trial(0, defended=False), outcome=Outcome.INVALID)
    result = fold([started("s"), invalid, july_trial(1, defended=True), control(0)])
    assert [trial.id for trial in facts.counted(result)] == ["flip-2"]
    missed = fold([started("s"), invalid, Expectation(text="x", met=False)])
    assert facts.sentence(missed) == "Did not hold: 1 trial, 1 INVALID; 1 of 1 expectation not met."


@pytest.mark.parametrize("name", SAMPLES)
def test_a_summary_tells_the_verdict_first(tmp_path, name):
    """Then how to do it again."""
    folder = write_sample(tmp_path, name)
    write_reports(folder)
    lines = (folder / "summary.md").read_text().splitlines()
    assert lines[0] == f"# {facts.sentence(load_result(folder))}"
    assert "`straybit run " in lines[2]


def test_a_summary_stays_below_the_limit():
    """1,024 KiB is refused by a CI, so a huge run is cut at a line and says so."""
    wide = Table(name="t", columns=("a",), rows=tuple((f"{n} " + "é" * 400,) for n in range(3000)))
    text = summary_md(fold([started("s"), wide, Expectation(text="x", met=True)]))
    assert 900_000 < len(text.encode()) <= LIMIT_BYTES < 1024 * 1024
    assert text.rstrip().endswith("in report.html and result.json.*")


def test_a_summarys_tables_keep_their_shape():
    """A bar, a tag or a line break in a cell stays in its cell."""
    table = Table(name="t", columns=("a|b", "c"), rows=(("x|y\nz", "<b>"),))
    text = summary_md(fold([started("s"), table]))
    assert "| a\\|b | c |" in text
    assert "| x\\|y z | &lt;b> |" in text


def test_junit_counts_what_failed(tmp_path):
    """An expectation that is not met is a failure, and every trial is a case."""
    folder = write_sample(tmp_path, "july-2008-none")
    write_reports(folder)
    root = ET.parse(folder / "junit.xml").getroot()
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("10", "2", "0")
    failure = root.find(".//failure")
    assert failure is not None
    assert "straybit run july-2008 --defences none --seed 7" in (failure.text or "")
    properties = {p.get("name"): p.get("value") for p in root.iter("property")}
    assert (properties["seed"], properties["verdict"]) == ("7", "not-met")


def test_junit_holds_every_run_of_a_demo(tmp_path):
    """A suite for the demo itself and one for each run."""
    write_reports(write_demo(tmp_path / "demo"))
    names = [suite.get("name") for suite in ET.parse(tmp_path / "demo" / "junit.xml").getroot()]
    assert names[0] == "demo"
    assert len(names) == 5


def test_junit_has_an_error_where_there_is_no_verdict():
    """No verdict is never green in a CI that reads only this; characters that XML lacks do not break it."""
    root = ET.fromstring(junit_xml(fold([started("s"), Error(what="port \x00 taken")])))
    assert root.get("errors") == "1"
    error = root.find(".//error")
    assert error is not None
    assert error.get("message") == "port \ufffd taken"


def test_the_terminal_names_the_report_last(tmp_path):
    """One line of verdict per run, then the path, last and whole."""
    folder = write_demo(tmp_path / "a-rather-long-name-for-a-folder-that-would-not-fit-a-narrow-terminal" / "demo")
    out = io.StringIO()
    print_result(load_result(folder), Console(file=out, width=60), report=folder / "report.html")
    lines = out.getvalue().splitlines()
    assert lines[-1] == f"report: {folder / 'report.html'}"
    assert [line.split()[0] for line in lines[-6:-1]] == ["not-met", "met", "not-met", "met", "met"]


def test_the_terminal_shows_phases_against_budgets(tmp_path):
    """A row per phase, with what it took and what it may take, and Amazon's own times beside it."""
    lines = printed(load_result(write_sample(tmp_path, "july-2008-none"))).splitlines()
    assert re.search(r"budget +2008", lines[1])
    assert any(re.search(r"restore +17\.0 s +8\.4 s +15 s .*\d min  \w", line) for line in lines)
    assert any(line.rstrip().endswith("8 h 18 min  US back to normal") for line in lines)


@pytest.mark.parametrize("scenario", sorted(name for name in SCENARIOS if find_scenario(name).incident))
def test_every_incident_has_its_history_on_the_terminal(scenario):
    """Each moment of 2008 in its short form, in a column of its own; a scenario of one's own has no such column."""
    phases = [Phase(name="start", at_s=0, until_s=1)]
    shown = printed(fold([started(scenario), *phases]))
    for moment in HISTORY[scenario].moments:
        assert 0 < len(moment.short) <= 24
        assert f"  {moment.short}" in shown
    assert "2008" not in printed(fold([started("mine"), *phases])).splitlines()[1]


def test_the_terminal_says_what_was_missed(tmp_path):
    """Each expectation that is not met, in its own line."""
    text = printed(load_result(write_sample(tmp_path, "july-2008-none")))
    assert "not met: nothing wrong is adopted; 6 of 6 flips spread" in text


def test_no_colour_where_none_is_wanted(tmp_path, monkeypatch):
    """A pipe gets none, a terminal does, and NO_COLOR takes it away."""
    result = load_result(write_sample(tmp_path, "june-2008-none"))
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b" not in printed(result)
    assert "\x1b[1;31m" in printed(result, force_terminal=True, color_system="standard")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "31m" not in printed(result, force_terminal=True)


def test_a_verdict_is_one_line():
    """Even where a reason runs over several."""
    line = verdict_line(fold([started("s"), Error(what="first\nsecond"), RunEnded()]))
    assert "\n" not in line.plain
