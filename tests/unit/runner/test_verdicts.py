"""The benchmark of verdicts: what it takes for holding, what it deletes, and what it compares."""

from contextlib import nullcontext
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import click
import pytest

from straybit.outcome import Outcome
from straybit.records import Expectation, Receipt, Table, Trial, Verdict
from straybit.result import RunResult
from straybit.scenarios import SCENARIOS, STORY

ROOT = Path(__file__).parents[3]
FLIP = "1/gossip-1:gossip-2/up/state/0/load/1"

CASES = [(incident, word) for incident in ("june-2008", "july-2008") for word in ("none", "2008")]
CASES += [(bad, "2008") for bad in ("flip-under-latency", "flip-during-reset", "restore-over-slow-links")]
"""What no incident tells how to fail is played defended only."""


@pytest.fixture(scope="module")
def verdicts():
    spec = spec_from_file_location("straybit_verdicts", ROOT / "benchmarks" / "verdicts.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def trial(**more):
    return Trial(**{"id": "t1", "outcome": Outcome.DETECTED, "flips": (FLIP,), "detected_by": ("gossip-crc",), **more})


def damage(connection, mask=3):
    return Receipt(
        flip=f"1/lb-1:storage-1/up/request/{connection}/body/80",
        link="lb-1:storage-1",
        direction="up",
        connection=connection,
        message="request",
        identity="PUT /b/k",
        field="body",
        field_bits=(80,),
        before=0,
        after=mask,
    )


def test_an_invalid_trial_never_holds(verdicts):
    """Neither undefended nor defended, whatever else was met."""
    story = Table(name=STORY, columns=("what", "so"), rows=(("it fails", "yes"),))
    invalid = trial(outcome=Outcome.INVALID)
    for defences, verdict in (("none", Verdict.NOT_MET), ("2008", Verdict.MET)):
        good = RunResult(verdict=verdict, tables=(story,), trials=(trial(),))
        assert verdicts.holds(good, defences)[0]
        held, why = verdicts.holds(RunResult(verdict=verdict, tables=(story,), trials=(invalid,)), defences)
        assert not held
        assert "trial t1 is INVALID" in why


def test_what_was_missed_is_said(verdicts):
    """A defended run that did not hold names the expectation and its figure."""
    missed = RunResult(verdict=Verdict.NOT_MET, expectations=(Expectation(text="refused", met=False, detail="5 of 6"),))
    assert verdicts.holds(missed, "2008") == (False, "not-met; refused (5 of 6)")


def test_only_a_folder_of_verdicts_is_emptied(verdicts, tmp_path):
    """A folder that holds something else stays as it is; an empty, a missing and one of verdicts are taken."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(click.BadParameter, match="holds no verdicts.json, so it is not ours to empty"):
        verdicts.emptied(mine)
    assert (mine / "thesis.txt").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "missing" / "deep", tmp_path / "empty"):
        verdicts.emptied(folder)
        (folder / "june-2008-none-0").mkdir()
        assert [path.name for path in verdicts.emptied(folder).iterdir()] == ["verdicts.json"]


def test_a_file_is_not_emptied(verdicts, tmp_path):
    """`--out` that names a file is refused."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(click.BadParameter, match="not ours to empty"):
        verdicts.emptied(tmp_path / "file")


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (trial(flips=("1/a:b/up/state/0/load/2",)), "trial t1: flips"),
        (trial(outcome=Outcome.NOTICED), "trial t1: outcome DETECTED then NOTICED"),
        (trial(detected_by=("value-bounds",)), "trial t1: noticed ('gossip-crc',) then ('value-bounds',)"),
        (trial(id="t2"), "trial t1 is in one of them only"),
    ],
)
def test_two_runs_of_a_seed_that_differ(verdicts, second, says):
    """Flips, outcome, who noticed, and which trials there were are compared."""
    lines = verdicts.differences(RunResult(trials=(trial(),)), RunResult(trials=(second,)))
    assert any(line.startswith(says) for line in lines)
    assert verdicts.differences(RunResult(trials=(trial(),)), RunResult(trials=(trial(),))) == []


def test_under_live_load_key_byte_and_value_count(verdicts):
    """Another connection, or a second try of the same request, is the same flip; another value is not."""
    first = RunResult(trials=(trial(receipts=(damage(0),), flips=("x",)),))
    alike = RunResult(trials=(trial(receipts=(damage(4), damage(5)), flips=("y",)),))
    other = RunResult(trials=(trial(receipts=(damage(0, mask=5),), flips=("x",)),))
    assert verdicts.differences(first, alike) == []
    assert verdicts.differences(first, other) != []


def test_every_scenario_can_be_asked_for(verdicts):
    """`--only` takes june-2008-bits too."""
    (only,) = [p for p in verdicts.main.params if p.name == "only"]
    assert list(only.type.choices) == list(SCENARIOS)
    assert "june-2008-bits" in only.type.choices


@pytest.mark.parametrize(
    ("options", "twice"),
    [
        ((), []),
        (("--twice-for", "june-2008/2008"), [("june-2008", "2008", 4)]),
        (("--twice",), [(*case, seed) for case in CASES for seed in (4, 5)]),
    ],
    ids=["none", "one", "all"],
)
def test_a_seed_is_played_twice_where_it_is_asked_for(verdicts, monkeypatch, tmp_path, options, twice):
    """`--twice-for` compares two runs of one case's first seed, `--twice` of every seed, and by default none."""
    seen = []

    def played(case, seed, *_, twice, **__):
        seen.extend([(case.scenario, case.defences, seed)] * twice)
        return True

    monkeypatch.setattr(verdicts, "played", played)
    monkeypatch.setattr(verdicts, "open_backend", lambda _: nullcontext())
    words = ["--seeds", "2", "--first", "4", "--out", str(tmp_path / "out"), *options]
    with pytest.raises(SystemExit) as ended:
        verdicts.main(words)
    assert ended.value.code == 0
    assert seen == twice
