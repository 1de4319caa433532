"""A run whose host stood still is played again, at most twice, and nothing of it is lost."""

import pytest

from straybit.backends import DISAGREED
from straybit.journal import Journal
from straybit.observe.host import STALLED
from straybit.outcome import Outcome
from straybit.records import Error, RunEnded, Trial
from straybit.report import load_result, write_reports
from straybit.runner import RunOptions, started
from straybit.scenarios import Scenario
from straybit.scenarios.scenario import UNSTEADY
from straybit.tries import PACES, perform_tries

SCENARIO = Scenario(name="mine", title="mine", incident="", plan=lambda *_: (), play=lambda _: None)
SOUND = Trial(id="t1", outcome=Outcome.MASKED)
STALL = Trial(id="t1", outcome=Outcome.INVALID, why=f"{STALLED} for 0.41 s, as long as a time-out")


@pytest.fixture
def play(tmp_path, monkeypatch):
    """Play tries that end in these trials, one after another; answers with the result and the lines said."""

    def run(*ends):
        run.paces = []
        left = iter(ends)

        def perform(_scenario, options, _backend, folder, *, before, **_):
            run.paces.append(options.pace)
            (folder / "logs").mkdir(parents=True)
            with Journal(folder / "journal.ndjson") as journal:
                head = started("mine", command="", id="x", backend="process", seed=0)
                for record in (head, *before, next(left), RunEnded()):
                    journal.write(record)
            write_reports(folder)
            return load_result(folder)

        monkeypatch.setattr("straybit.tries.perform", perform)
        said = []
        return perform_tries(SCENARIO, RunOptions(), None, tmp_path / "run", say=said.append), said

    return run


def test_a_sound_run_is_played_once(play, tmp_path):
    """One try, no word, no folder beside its files."""
    result, said = play(SOUND)
    assert (result.trials, said) == ((SOUND,), [])
    assert not list((tmp_path / "run").glob("try-*"))


def test_a_stalled_run_is_played_again_and_kept(play, tmp_path):
    """The try that counts is in the run's folder; the one before is whole in its own, and named in the log."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("not of the run")
    result, said = play(STALL, SOUND)
    kept = tmp_path / "run" / "try-1"
    assert result.trials == (SOUND,)
    assert load_result(kept).trials == (STALL,)
    assert (kept / "report.html").exists()
    assert (kept / "logs").is_dir()
    assert (tmp_path / "run" / "mine.txt").exists()
    assert said == [f"mine: no verdict, {STALL.why}; played again at half speed, that try is kept in {kept}"]
    assert [line.what for line in result.log] == [
        f"try-1 proved nothing, and was played again at half speed: {STALL.why}"
    ]


@pytest.mark.parametrize("what", [f"{UNSTEADY}: 2 requests failed", f"{DISAGREED} within 30 s: lb-1 lacks gossip-3"])
def test_what_went_wrong_before_any_fault_is_played_again(play, what):
    """It is the machine, which is too slow for so many, or it comes again."""
    unsteady = Error(what=what)
    result, said = play(unsteady, SOUND)
    assert result.trials == (SOUND,)
    assert [line.what for line in result.log] == [
        f"try-1 proved nothing, and was played again at half speed: {unsteady.what}"
    ]
    assert len(said) == 1


def test_there_is_an_end_to_it(play, tmp_path):
    """After the third try the run stays without a verdict."""
    result, said = play(*[STALL] * len(PACES))
    assert result.trials == (STALL,)
    assert result.verdict == "no-verdict"
    assert len(said) == len(result.log) == len(PACES) - 1 == 2
    assert play.paces == [1.0, 2.0, 4.0]
    assert sorted(path.name for path in (tmp_path / "run").glob("try-*")) == ["try-1", "try-2"]


def test_what_is_invalid_for_another_reason_is_not_played_again(play):
    """Only the host's own standstill is tried again: a flip that never arrives is a finding."""
    lost = Trial(id="t1", outcome=Outcome.INVALID, why="the flip was not delivered")
    result, said = play(lost)
    assert (result.trials, said) == ((lost,), [])
