"""The demo's verdict: green only over four whole runs that ended as published."""

import json
import sys
from contextlib import nullcontext

import pytest

from straybit.cli import demo, main
from straybit.journal import Journal, read_journal
from straybit.observe.host import STALLED
from straybit.outcome import Outcome
from straybit.records import Error, Expectation, RunEnded, SubRun, Table, Trial
from straybit.report import load_result, write_reports
from straybit.runner import started
from straybit.scenarios import STORY


def told(folder, options, *records, name="run"):
    """A run's journal with these records, and its reports."""
    folder.mkdir(parents=True, exist_ok=True)
    with Journal(folder / "journal.ndjson") as journal:
        journal.write(
            started(
                name,
                command="",
                id=folder.name,
                backend="process",
                seed=0,
                defences=tuple(sorted(options.names)),
            )
        )
        for record in (*records, RunEnded()):
            journal.write(record)
    write_reports(folder)
    return load_result(folder)


def as_published(options):
    """What a run that goes well leaves: the story where nothing defends, a held expectation where something does."""
    if options.names:
        return (Expectation(text="it holds", met=True),)
    return (
        Expectation(text="it holds", met=False),
        Table(name=STORY, columns=("what", "so"), rows=(("it fails", "yes"),)),
    )


@pytest.fixture
def play(tmp_path, monkeypatch, capsys):
    """Play the demo with stubbed runs: `also` gives more records for a folder's name, or an exception to raise."""

    def run(also):
        def perform(scenario, options, _backend, folder, **_):
            more = also.get(folder.name, ())
            if isinstance(more, BaseException):
                raise more
            more = more() if callable(more) else more
            return told(folder, options, *as_published(options), *more, name=scenario.name)

        monkeypatch.setattr("straybit.tries.perform", perform)
        monkeypatch.setattr(demo, "open_backend", lambda _: nullcontext())
        monkeypatch.setattr(sys, "argv", ["straybit", "demo", "--out", str(tmp_path / "out")])
        with pytest.raises(SystemExit) as ended:
            main()
        result = json.loads((tmp_path / "out" / "result.json").read_text())
        return ended.value.code, result, capsys.readouterr()

    return run


def test_four_good_runs_are_green(play, tmp_path):
    """Two that failed as published and two that held: met, exit 0, and a replay line of its own."""
    code, result, _ = play({})
    assert (code, result["verdict"]) == (0, "met"), result
    assert len(result["runs"]) == 4
    assert result["replay"] == "straybit demo --backend process --seed 0"
    assert result["command"] == f"straybit demo --out {tmp_path / 'out'}"


def test_a_run_in_which_the_host_stood_still_is_played_again(play, tmp_path):
    """Its try is kept in a folder of its own, said in a line, and the demo is green over the try that counts."""
    tries = iter([(Trial(id="t9", outcome=Outcome.INVALID, why=f"{STALLED} for 0.41 s"),)])
    code, result, said = play({"july-2008-none": lambda: next(tries, ())})
    assert (code, result["verdict"]) == (0, "met"), result
    kept = tmp_path / "out" / "july-2008-none" / "try-1"
    assert (
        f"july-2008: no verdict, {STALLED} for 0.41 s; played again at half speed, that try is kept in {kept}"
        in said.out
    )
    assert [trial.id for trial in load_result(kept).trials] == ["t9"]


def test_two_good_runs_and_a_crash_are_no_verdict(play, tmp_path):
    """What was not played proves nothing: the error is on record, and so is what is missing."""
    code, result, said = play({"july-2008-none": RuntimeError("the disk is full")})
    assert (code, result["verdict"]) == (2, "no-verdict")
    assert "only 2 of 4 runs came to their end; not july-2008-none, july-2008-2008" in result["reasons"]
    assert any("RuntimeError: the disk is full" in reason for reason in result["reasons"])
    assert "no verdict: only 2 of 4" in said.out
    assert "Traceback" not in said.err
    entries = [entry.record for entry in read_journal(tmp_path / "out" / "journal.ndjson")]
    assert [r.folder for r in entries if isinstance(r, SubRun)] == [
        "june-2008-none",
        "june-2008-2008",
        "july-2008-none",
    ]


def test_control_c_is_no_verdict(play):
    """An interrupted demo says so, exits 2, and leaves its reports."""
    code, result, said = play({"june-2008-2008": KeyboardInterrupt()})
    assert (code, result["verdict"]) == (2, "no-verdict")
    assert "the run was interrupted" in result["reasons"]
    assert "interrupted" in said.err


@pytest.mark.parametrize(
    "more",
    [
        (Trial(id="t9", outcome=Outcome.INVALID),),
        (Error(what="a node exited"),),
    ],
    ids=["invalid", "error"],
)
@pytest.mark.parametrize("folder", ["june-2008-none", "july-2008-none"])
def test_an_undefended_run_with_something_in_its_way_does_not_pass(play, folder, more):
    """It failed, as it should, but who knows why: no verdict."""
    code, result, _ = play({folder: more})
    assert (code, result["verdict"]) == (2, "no-verdict")
    assert any(reason.startswith(f"{folder}: ") for reason in result["reasons"])


def test_an_undefended_run_that_fails_otherwise_is_not_met(play):
    """A row of the story that did not come true is a failure of the demo."""
    row = Table(name=STORY, columns=("what", "so"), rows=(("it spreads", "no"),))
    code, result, _ = play({"july-2008-none": (row,)})
    assert (code, result["verdict"]) == (1, "not-met")


def test_a_defended_run_that_does_not_hold_is_not_met(play):
    """A defence that failed is a failure of the demo."""
    code, result, _ = play({"june-2008-2008": (Expectation(text="refused", met=False),)})
    assert (code, result["verdict"]) == (1, "not-met")
