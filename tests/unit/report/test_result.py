"""The fold from a journal's records to result.json."""

from pathlib import Path

import jsonschema
import msgspec
import pytest
from report_samples import SAMPLES, control, false_alarm, july_trial, started, write_demo, write_journal, write_sample

from straybit.outcome import Outcome
from straybit.records import (
    Error,
    Expectation,
    FalseAlarm,
    Interrupted,
    Receipt,
    RunEnded,
    Sample,
    SubRun,
    TrialPhases,
    Verdict,
)
from straybit.report import load_result, write_reports
from straybit.report.schema import result_schema, schema_text
from straybit.result import Controls, decide, exit_code, fold

DOCS = Path(__file__).parents[3] / "docs"
YES, NO = Expectation(text="a", met=True), Expectation(text="b", met=False)
GOOD = july_trial(0, defended=True)
INVALID = msgspec.structs.replace(GOOD, outcome=Outcome.INVALID, id="bad")


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        ([YES, GOOD], Verdict.MET),
        ([GOOD], Verdict.MET),
        ([YES, NO], Verdict.NOT_MET),
        ([YES, INVALID], Verdict.NO_VERDICT),
        ([NO, INVALID], Verdict.NOT_MET),
        ([YES, Error(what="no port")], Verdict.NO_VERDICT),
        ([YES, Interrupted()], Verdict.NO_VERDICT),
        ([NO, Interrupted()], Verdict.NOT_MET),
        ([], Verdict.NO_VERDICT),
        ([YES, control(0)], Verdict.MET),
        ([YES, msgspec.structs.replace(control(0), outcome=Outcome.INVALID)], Verdict.MET),
        ([YES, false_alarm()], Verdict.NOT_MET),
    ],
)
def test_the_verdict(records, verdict):
    """Not met beats no verdict, and an invalid fault trial is never green."""
    assert fold([started("s"), *records, RunEnded()]).verdict is verdict


def test_a_damaged_journal_has_no_verdict_at_all():
    """Nothing is certain in a damaged journal, not even that an expectation was missed."""
    result = fold([started("s"), NO], damage="line 3: gone")
    assert (result.verdict, result.reasons) == (Verdict.NO_VERDICT, ("line 3: gone",))


@pytest.mark.parametrize(("verdict", "code"), [(Verdict.MET, 0), (Verdict.NOT_MET, 1), (Verdict.NO_VERDICT, 2)])
def test_exit_codes(verdict, code):
    """0, 1 and 2, as every command ends."""
    assert exit_code(verdict) == code


def test_an_invalid_trial_is_named():
    """Whoever reads that there is no verdict learns which trial is to blame."""
    assert fold([started("s"), YES, INVALID]).reasons == ("1 trial INVALID: bad",)


def test_controls_are_in_no_count_of_outcomes():
    """Outcomes count fault trials, and every outcome has its number, zeros too."""
    result = fold([started("s"), GOOD, control(0), INVALID])
    assert result.outcomes == {o.value: int(o in (Outcome.DETECTED, Outcome.INVALID)) for o in Outcome}
    assert result.controls == Controls(trials=1)


def test_a_loud_control_is_a_false_alarm():
    """A detection in a control trial fails the run, whether or not somebody wrote a false alarm about it."""
    loud = msgspec.structs.replace(control(0), detected_by=("gossip-crc",))
    result = fold([started("s"), YES, loud])
    assert result.verdict is Verdict.NOT_MET
    assert result.controls.detected == 1
    assert [(e.text, e.met) for e in result.expectations][-1] == ("no false alarm", False)


def test_samples_become_series():
    """Per region and in order of time, however the lines came."""
    samples = [Sample(region=r, at_s=a, ok=o, total=3) for r, a, o in [("us", 1, 2), ("eu", 0, 3), ("us", 0, 1)]]
    requests = fold([started("s"), *samples]).measurements.requests
    assert list(requests) == ["eu", "us"]
    assert (requests["us"].at_s, requests["us"].ok, requests["us"].total) == ((0, 1), (1, 2), (3, 3))


def test_the_head_is_the_runs_own():
    """What run-started says stands in the result."""
    result = fold([started("july-2008")])
    assert (result.scenario, result.seed, result.recovery, result.budgets["recovered"]) == ("july-2008", 7, "staged", 5)


def test_runs_inside_are_judged_by_what_they_should_do():
    """An undefended run that held is as wrong as a defended one that did not."""
    met, missed = fold([started("s"), YES]), fold([started("s"), NO])
    both = [(SubRun(folder="a", expect=Verdict.NOT_MET), missed), (SubRun(folder="b"), met)]
    assert fold([started("demo")], runs=both).verdict is Verdict.MET
    assert fold([started("demo")], runs=[(SubRun(folder="a", expect=Verdict.NOT_MET), met)]).verdict is Verdict.NOT_MET


def test_a_run_inside_without_a_verdict_leaves_none():
    """Its reasons are handed up, and it counts neither for nor against."""
    lost = fold([], damage="gone")
    result = fold([started("demo")], runs=[(SubRun(folder="a", expect=Verdict.NOT_MET), lost)])
    assert (result.verdict, result.reasons) == (Verdict.NO_VERDICT, ("a: gone",))


def test_decide_without_anything_is_met():
    """The pure rule knows no more than what it is given."""
    assert decide([], []) is Verdict.MET


@pytest.mark.parametrize("name", SAMPLES)
def test_results_are_valid_by_the_schema(tmp_path, name):
    """What is written as result.json is what docs/result.schema.json describes, and reads back as it was."""
    folder = write_sample(tmp_path, name)
    write_reports(folder)
    data = (folder / "result.json").read_bytes()
    jsonschema.validate(msgspec.json.decode(data), msgspec.json.decode((DOCS / "result.schema.json").read_bytes()))
    assert msgspec.json.decode(data, type=type(load_result(folder))) == load_result(folder)


def test_the_demos_result_is_valid_by_the_schema(tmp_path):
    """So is a run of several runs."""
    write_reports(write_demo(tmp_path / "demo"))
    data = msgspec.json.decode((tmp_path / "demo" / "result.json").read_bytes())
    jsonschema.validate(data, result_schema())
    assert [run["verdict"] for run in data["runs"]] == ["not-met", "met", "not-met", "met"]


def test_the_schema_refuses_what_it_does_not_know():
    """Another schema number, an unknown key, an outcome that is none."""
    good = msgspec.json.decode(msgspec.json.encode(fold([started("s"), GOOD])))
    for wrong in (
        {"schema": 2},
        {"surprise": 1},
        {"verdict": "maybe"},
        {"trials": [{**good["trials"][0], "outcome": "X"}]},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**good, **wrong}, result_schema())


def test_the_schema_in_docs_is_current():
    """`python -m straybit.report.schema > docs/result.schema.json` was run after the last change."""
    assert (DOCS / "result.schema.json").read_text() == schema_text()


def test_the_docs_explain_every_key():
    """Each record of result.json has its section in docs/result.md, and each key stands in it."""
    sections = {part.split("\n", 1)[0]: part for part in (DOCS / "result.md").read_text().split("\n### ")}
    for name, definition in result_schema()["$defs"].items():
        for key in definition.get("properties", ()):
            assert f"`{key}`" in sections[name], f"{name}.{key}"


def test_phases_that_never_came_are_absent():
    """Not null: absent."""
    assert msgspec.json.encode(TrialPhases(felt_s=0.5)) == b'{"felt_s":0.5}'


def test_a_proxys_receipt_becomes_ours():
    """Its monotonic times become the run's, its number of a checksum becomes hex, and what is unknown is left out."""
    api = {
        "seq": 1, "toxic": "bitflip_upstream", "proxy": "a:b", "link": "a:b", "direction": "up", "connection": 0,
        "message": "state", "ordinal": 2, "identity": None, "field": "version", "field_bit": 62, "field_bits": [62],
        "offset": 77, "byte_bit": 6, "before": 0, "after": 64, "bytes": [[77, 0, 64]], "control": False, "flip": "1/x",
        "crc": 0xBEEF, "context": "00ff", "context_at": 76, "sent": 100.5, "delivered": 100.75, "felt": None, "new": 1,
    }  # fmt: skip
    receipt = Receipt.from_proxy(api, 100.0)
    assert (receipt.sent, receipt.delivered, receipt.felt, receipt.crc) == (0.5, 0.75, None, "0000beef")
    assert receipt.bytes == ((77, 0, 64),)
    with pytest.raises(msgspec.ValidationError):
        Receipt.from_proxy({**api, "offset": "far"}, 100.0)


def test_a_false_alarm_without_controls_counts(tmp_path):
    """An alarm about the innocent needs no control trial to be wrong."""
    folder = write_journal(tmp_path, [started("s"), YES, FalseAlarm(trial="", name="bad-digest-alarm"), RunEnded()])
    assert load_result(folder).verdict is Verdict.NOT_MET
