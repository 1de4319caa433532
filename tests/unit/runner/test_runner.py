"""From a scenario to a folder with a verdict, when things go wrong on the way; no cluster is needed for that."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from straybit.backends import BackendError
from straybit.driver import LIVE
from straybit.records import Verdict
from straybit.report import load_result
from straybit.runner import RunOptions, perform, run_id
from straybit.scenarios import Scenario
from straybit.trial import InvalidTrial, TrialFailed
from straybit_nodes.topology import Topology


class Backend:
    """Starts clusters that nobody looks at."""

    driver = LIVE

    def __init__(self, error=None):
        self.error = error

    def start(self, topology, **_):
        if self.error is not None:
            raise self.error
        return Cluster(topology)


class Cluster(SimpleNamespace):
    """Enough of a cluster for a run that never touches it."""

    def __init__(self, topology):
        super().__init__(topology=topology, defences=frozenset())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def exits(self):
        return ()


class StubbornCluster(Cluster):
    """It cannot be taken down."""

    def __exit__(self, *_):
        raise BackendError("the engine is gone")


def scenario(play):
    return Scenario(name="mine", title="mine", incident="", plan=lambda *_: (), play=play)


def raises(error):
    def play(_):
        raise error

    return scenario(play)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            ZeroDivisionError("division by zero"),
            "mine raised ZeroDivisionError: division by zero (test_runner.py, line",
        ),
        (TrialFailed("nobody noticed\nflip: x"), "mine raised TrialFailed: nobody noticed flip: x"),
        (InvalidTrial("INVALID: no message came"), "mine raised InvalidTrial: INVALID: no message came"),
        (SystemExit(0), "mine raised SystemExit: 0"),
        (FileNotFoundError("gone"), "FileNotFoundError: gone"),
    ],
)
def test_what_a_scenario_raises_is_no_verdict(tmp_path, error, says):
    """A mistake in a scenario is on record as the reason for no verdict: it refutes nothing, and is never green."""
    result = perform(raises(error), RunOptions(), Backend(), tmp_path / "run")
    assert result.verdict is Verdict.NO_VERDICT
    assert result.reasons[0].startswith(says)
    assert (tmp_path / "run" / "report.html").exists()


def test_a_traceback_only_when_asked_for(tmp_path, monkeypatch, capsys):
    """STRAYBIT_DEBUG shows where a scenario raised; without it nothing is printed."""
    monkeypatch.delenv("STRAYBIT_DEBUG", raising=False)
    perform(raises(KeyError("x")), RunOptions(), Backend(), tmp_path / "quiet")
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("STRAYBIT_DEBUG", "1")
    perform(raises(KeyError("x")), RunOptions(), Backend(), tmp_path / "loud")
    assert "Traceback" in capsys.readouterr().err


def test_a_cluster_that_does_not_start_is_no_verdict(tmp_path):
    """The backend's own words are the reason."""
    result = perform(raises(ValueError("never played")), RunOptions(), Backend(BackendError("no port")), tmp_path / "r")
    assert result.reasons == ("BackendError: no port",)


def test_the_first_error_is_the_one_that_is_told(tmp_path):
    """A folder that vanishes under an interrupted run does not hide the interruption."""

    def play(_):
        (tmp_path / "run" / "journal.ndjson").unlink()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        perform(scenario(play), RunOptions(), Backend(), tmp_path / "run")


def test_an_interruption_goes_on_where_taking_down_failed_behind_it(tmp_path):
    """Else the next run would begin; both are on record."""

    def play(_):
        raise KeyboardInterrupt

    class Stubborn(Backend):
        def start(self, topology, **_):
            return StubbornCluster(topology)

    with pytest.raises(BackendError, match="the engine is gone"):
        perform(scenario(play), RunOptions(), Stubborn(), tmp_path / "run")
    result = load_result(tmp_path / "run")
    assert result.verdict is Verdict.NO_VERDICT
    assert "BackendError: the engine is gone" in result.reasons
    assert [line for line in result.reasons if "interrupted" in line]


def test_a_journal_that_is_there_is_left_alone(tmp_path):
    """Neither it nor its reports are written over."""
    perform(scenario(lambda run: None), RunOptions(), Backend(), tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    with pytest.raises(FileExistsError):
        perform(raises(ValueError("x")), RunOptions(), Backend(), tmp_path / "run")
    assert {path: path.read_bytes() for path in before} == before


def test_a_run_says_how_it_was_called_and_what_it_played_on(tmp_path):
    """`run_id`, `command`, `servers` and `replay` are those of the run."""
    options = RunOptions(
        seed=4,
        names=frozenset({"gossip-crc"}),
        topology=Topology.sized((4, 1), (6, 2)),
        budgets={"recovered": 0.5, "detected": 2.0},
        source="a folder/mine.py",
        run_id="mine-4",
    )
    result = perform(raises(ValueError("x")), options, Backend(), tmp_path / "run", command="straybit run mine.py")
    assert (result.run_id, result.command) == ("mine-4", "straybit run mine.py")
    assert result.servers == {"eu": (4, 1), "us": (6, 2)}
    assert result.replay == (
        "straybit run 'a folder/mine.py' --recovery staged --defences gossip-crc --backend process --seed 4"
        " --budget recovered=0.5s --servers 4 6"
    )


def test_a_run_is_named_after_its_folder_unless_told_otherwise(tmp_path):
    """One name, made once: the folder's by default."""
    name = run_id("mine", 3, "gossip-crc,value-bounds")
    assert name.startswith("mine-gossip-crc+value-bounds-3-20")
    assert perform(raises(ValueError("x")), RunOptions(), Backend(), Path(tmp_path / name)).run_id == name
