"""The backend `sim`: scenarios, trials and restores as on processes, on virtual time."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from straybit import BitFlip
from straybit.backends import BackendError
from straybit.control import NodeRefusedError, NodeSilentError
from straybit.outcome import Outcome
from straybit.records import Verdict
from straybit.restore import RestoreError, restore
from straybit.scenarios import STORY
from straybit.scenarios.scenario import Scenario
from straybit.steady import _put_and_get as put_and_get
from straybit.steady import wait_steady
from straybit.trial import InvalidTrial
from straybit_faults.client import ProxyError
from straybit_nodes.defences import GROUPS
from straybit_nodes.topology import Topology

from .conftest import SEEDS

SIX = Topology.gossip_only(6)


def scenario(play):
    def expecting(run):
        play(run)
        run.expect("it came to its end", True)

    return Scenario(name="mine", title="mine", incident="", plan=lambda *_: (), play=expecting)


@pytest.mark.parametrize("seed", SEEDS)
def test_july_fails_undefended_as_published(play, seed):
    """The scenario's own file collapses on virtual time, and every row of the published story comes true."""
    result = play("july-2008", seed=seed)
    assert result.verdict is Verdict.NOT_MET
    (story,) = [table for table in result.tables if table.name == STORY]
    assert [row for row in story.rows if row[1] != "yes"] == []
    assert result.outcomes[Outcome.SPREAD] == 1


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_july_is_met_with_the_defences_of_2008(play, seed):
    """With checksums every flip is refused by name and every request succeeds."""
    result = play("july-2008", defences="2008", seed=seed)
    assert result.verdict is Verdict.MET
    (fault,) = [trial for trial in result.trials if trial.kind == "fault"]
    assert (fault.outcome, fault.detected_by) == (Outcome.DETECTED, ("gossip-crc",))


@pytest.mark.proof
@pytest.mark.parametrize("pace", [2.0, 4.0])
def test_july_is_the_same_story_in_slow_motion(play, pace):
    """Down for as many times as long, and back; with checksums nothing is felt, and budgets are longer too."""
    usual = play("july-2008", folder="usual")
    slow = play("july-2008", pace=pace, folder="slow")
    (story,) = [table for table in slow.tables if table.name == STORY]
    assert [row for row in story.rows if row[1] != "yes"] == []
    assert slow.budgets == {name: budget_s * pace for name, budget_s in usual.budgets.items()}
    watched = [next(p.until_s - p.at_s for p in one.timeline if p.name == "watch") for one in (usual, slow)]
    assert watched[1] > 0.7 * pace * watched[0]
    assert play("july-2008", defences="2008", pace=pace, folder="defended").verdict is Verdict.MET


PLAY = """
import sys
from pathlib import Path
from straybit.backends.sim import SimBackend
from straybit.budgets import budgets_with
from straybit.runner import RunOptions, perform
from straybit.scenarios import find_scenario
from straybit_nodes.defences import parse_defences
folder, seed, scenario, defences = sys.argv[1:]
names = parse_defences(defences)
options = RunOptions(
    backend="sim", seed=int(seed), defences=defences, names=names, budgets=budgets_with(), run_id="a run"
)
perform(find_scenario(scenario), options, SimBackend(), Path(folder), command="straybit run")
"""


@pytest.mark.proof
@pytest.mark.parametrize(("scenario", "defences"), [("july-2008", "none"), ("june-2008", "2008")])
def test_two_runs_of_a_seed_are_identical_to_the_byte(tmp_path, scenario, defences):
    """A scenario leaves the same bytes in two processes, which hash differently; another seed leaves others."""
    for folder, seed, hashed in (("one", "5", "1"), ("two", "5", "2"), ("other", "6", "1")):
        command = [sys.executable, "-c", PLAY, str(tmp_path / folder), seed, scenario, defences]
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": hashed}, check=True, timeout=100)
    one, two, other = (
        {
            str(path.relative_to(tmp_path / folder)): path.read_bytes()
            for path in sorted((tmp_path / folder).rglob("*"))
            if path.is_file() and path.suffix in {".ndjson", ".json"}
        }
        for folder in ("one", "two", "other")
    )
    assert len(one) == 21
    assert [name for name, data in one.items() if two[name] != data] == []
    assert one["journal.ndjson"] != other["journal.ndjson"]


def test_waiting_takes_virtual_time_only(play):
    """A wait lasts as long as it was told to on the run's clock, whatever the machine's says."""
    seen = []

    def wait(run):
        seen.append(run.now())
        run.wait_until(lambda: False, 120, every_s=60)
        seen.append(run.now())

    began = time.monotonic()
    assert play(scenario(wait), topology=Topology.gossip_only(2)).reasons == ()
    assert 120 <= seen[1] - seen[0] <= 180
    assert time.monotonic() - began < 120


def test_a_scenario_that_raises_in_one_of_several_tasks_is_on_record(play):
    """An error in one of the calls that are made together is the scenario's, and ends in no verdict."""

    def explode(run):
        run.together(lambda: run.wait_until(lambda: False, 1), lambda: 1 / 0)

    result = play(scenario(explode))
    assert result.verdict is Verdict.NO_VERDICT
    assert any("ZeroDivisionError" in reason for reason in result.reasons)


def test_threads_are_refused_in_one_line(play):
    """Virtual time has one thread: a scenario that waits in another is told what to say instead."""

    def thread(run):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(run.wait_until, lambda: False, 1.0).result()

    result = play(scenario(thread))
    assert any("run.together" in reason for reason in result.reasons)


def test_calls_together_overlap_in_virtual_time(play):
    """Three waits of a second take one second together, and three when one is made at a time."""
    took = []

    def wait(run):
        for at_once in (None, 1):
            began = run.now()
            calls = [lambda: run.wait_until(lambda: False, 1.0, every_s=0.5)] * 3
            assert run.together(*calls, at_once=at_once) == (False, False, False)
            took.append(run.now() - began)

    play(scenario(wait))
    assert took == pytest.approx([1.0, 3.0])


def test_objects_are_there_to_read_and_absent_ones_are_absent(play):
    """What was acknowledged is read back through every balancer of its region, and nothing else is."""
    seen = []

    def use(run):
        run.create_buckets()
        for balancer in run.balancers():
            key = f"k-{balancer}"
            assert run.put(key, b"some bytes", balancer=balancer).ok
            seen.append(run.get(key, balancer=balancer).verdict)
            seen.append(run.get("never written", balancer=balancer).reply.status)
        seen.extend(stored.verdict for stored in run.scan([("k-lb-2", "lb-3"), ("k-lb-3", "lb-2")]))

    assert play(scenario(use)).reasons == ()
    assert seen == ["right", 404] * 3 + ["right", "right"]


def test_a_user_s_own_test_runs_on_it(cluster):
    """The README's example: a flipped version is refused by name, contained and recovered from."""
    here = cluster(SIX, defences=GROUPS["2008"])
    with here.trial(BitFlip("gossip-1:gossip-2", message="state", field="version", bit=62)) as trial:
        trial.expect_detected(by="gossip-crc", within_s=2)
    trial.expect_contained()
    trial.expect_recovered(within_s=5)
    trial.expect_outcome("DETECTED")


def test_the_same_flip_spreads_undefended(cluster):
    """Without defences the same flip is believed by everybody and sticks."""
    here = cluster(SIX)
    with here.trial(BitFlip("gossip-1:gossip-2", message="state", field="version", bit=62)) as trial:
        pass
    trial.expect_outcome("SPREAD")
    assert trial.record.sticky
    assert trial.record.blast_radius == 5


def test_a_flip_that_finds_no_message_is_invalid(cluster):
    """A kind of message that never comes leaves an invalid trial, as on processes."""
    here = cluster(SIX)
    with pytest.raises(InvalidTrial, match="no message came"):
        with here.trial(BitFlip("gossip-1:gossip-2", message="failed", field="version", bit=1)):
            pass


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_a_clean_fault_recovers_and_the_server_comes_back(cluster, how):
    """A crashed or paused server and no flip: requests succeed again in time, and the server is taken back."""
    here = cluster()
    for name in ("gossip-2", "storage-2"):
        getattr(here, how)(name)
    with pytest.raises(NodeSilentError):
        here.control("gossip-2").view()
    wait_steady(here, budget_s=5, probe=lambda: tuple(filter(None, (put_and_get(here, n) for n in here.endpoints()))))
    for name in ("gossip-2", "storage-2"):
        here.restart(name) if how == "kill" else here.unpause(name)
    wait_steady(here, budget_s=5)
    assert here.driver.wait_until(here.prove_clean, 5)


def test_a_staged_restore_goes_through_every_gate(cluster):
    """Stop, silence, clear, batches, regions: each stage holds on a sound cluster."""
    here = cluster()
    restored = restore(here, "staged", budget_s=15)
    assert all(stage.ok for stage in restored.stages)
    assert [stage.name for stage in restored.stages][:4] == ["stop all", "silence", "clear all", "cleared"]
    assert here.prove_clean()


def test_one_that_keeps_its_state_is_caught_at_the_gate(cluster):
    """A node that was not cleared is named, and nothing is resumed."""
    here = cluster()
    with pytest.raises(RestoreError, match="gossip-3 still remembers") as caught:
        restore(here, "staged", budget_s=15, keep_state=["gossip-3", "storage-3"])
    assert "gossip-3" in caught.value.culprits
    assert here.control("gossip-1").healthz().state == "stopped"


def test_stopped_nodes_serve_nobody_and_running_ones_are_not_cleared(cluster):
    """A stopped balancer answers no request; clearing a running node is refused with 409."""
    here = cluster()
    with pytest.raises(NodeRefusedError, match="409"):
        here.control("gossip-1").clear()
    for service in here.topology.services():
        here.control(service.name).stop()
    with pytest.raises(Exception, match="503"):
        wait_steady(here, budget_s=1)


def test_there_is_one_virtual_time(backend):
    """A second cluster at the same time is refused; after the first is closed, time goes on from where it was."""
    first = backend.start(SIX)
    with pytest.raises(BackendError, match="runs already"):
        backend.start(SIX)
    backend.driver.pause(10)
    first.close()
    left = backend.driver.now()
    with backend.start(SIX) as second:
        assert second.driver.now() >= left >= 10


def test_a_link_that_carries_no_bytes_is_refused(cluster):
    """A flip between storage nodes is no flip that never comes: it is refused before anything is armed."""
    here = cluster()
    with pytest.raises(ProxyError, match="use --backend process"):
        here.trial(BitFlip("storage-1:storage-2", message="request", field="body", bit=1)).begin()


def test_a_watch_looks_on_virtual_time_and_ends_with_its_block(cluster):
    """Beside a wait of two seconds it looks every half second, also with a look that waits, and then no more."""
    driver, looks = cluster(SIX).driver, []

    def look():
        began = driver.now()
        driver.pause(0.25)
        looks.append(began)

    began = driver.now()
    with driver.often(look, 0.5):
        driver.pause(2.1)
    assert [at - began for at in looks] == pytest.approx([0.5, 1.25, 2.0])
    driver.pause(5)
    assert len(looks) == 3


def test_logs_are_left_as_real_nodes_leave_them(cluster, tmp_path):
    """Each service has a log file, and a refused frame is a line in its receiver's."""
    here = cluster(SIX, defences=GROUPS["2008"], folder=tmp_path)
    with here.trial(BitFlip("gossip-1:gossip-2", message="state", field="version", bit=62)):
        pass
    here.close()
    assert {path.stem for path in (tmp_path / "logs").iterdir()} == {f"gossip-{n}" for n in range(1, 7)}
    assert '"event":"refused"' in (tmp_path / "logs" / "gossip-2.ndjson").read_text()
