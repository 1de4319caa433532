"""Where trials are played: all of them once, whoever dies on the way."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing, suppress

import pytest
from lanes_samples import dies

from straybit.campaign import executors
from straybit.campaign.executors import Dask, ExecutorError, Here, Processes
from straybit.campaign.spec import Setup, TrialSpec
from straybit.waiting import wait_until

STARTED_S = 30.0
FLIP = "1/gossip-1:gossip-2/up/state/0/gossip-3.version/{bit}"
SPECS = [TrialSpec(id=f"abcdef-{n}", flips=(FLIP.format(bit=n),), setup=Setup(rounds=1)) for n in range(24)]


def outcomes(played):
    return {done.trial.id: done.trial for done in played}


@pytest.fixture(scope="module")
def alone():
    """Every spec, played in this process."""
    lanes = Here()
    with closing(lanes.run("sim", SPECS)) as played:
        found = outcomes(played)
    lanes.close()
    return found


def test_lanes_change_nothing(alone):
    """Two processes end every trial as one does, to the last key, each exactly once."""
    lanes = Processes(2)
    try:
        played = list(lanes.run("sim", SPECS))
    finally:
        lanes.close()
    assert len(played) == len(SPECS)
    assert outcomes(played) == alone
    assert 1 <= len({done.pid for done in played}) <= 2


def test_a_worker_that_dies_takes_no_trial_with_it(alone):
    """A SIGKILL in the middle: what it was at is played again, and nothing counts twice."""
    lanes = Processes(2)
    played = []
    try:
        with closing(lanes.run("sim", SPECS)) as ended:
            for done in ended:
                played.append(done)
                if len(played) == 3:
                    os.kill(done.pid, signal.SIGKILL)
    finally:
        lanes.close()
    assert sorted(done.trial.id for done in played) == sorted(alone)
    assert outcomes(played) == alone


def test_a_trial_that_kills_its_workers_is_invalid_and_the_others_are_not(alone, monkeypatch):
    """It is found out by playing suspects one at a time, and given up after three deaths."""
    monkeypatch.setattr(executors, "play", dies)
    lanes = Processes(2)
    try:
        found = outcomes(lanes.run("sim", SPECS[:8]))
    finally:
        lanes.close()
    killer = found.pop("abcdef-5")
    assert (str(killer.outcome), killer.why) == ("INVALID", "the host failed: 3 workers died at this trial")
    assert found == {spec.id: alone[spec.id] for spec in SPECS[:8] if spec.id != "abcdef-5"}


def test_what_a_trial_raises_reaches_the_caller():
    """A flip that cannot be is the caller's to tell."""
    wrong = TrialSpec(id="abcdef-0", flips=("1/gossip-1:gossip-2/up/state/0",))
    lanes = Here()
    with closing(lanes.run("sim", [wrong])) as played, pytest.raises(ValueError, match="needs KIND"):
        next(played)


# A real Dask cluster on loopback: a scheduler and two workers, each a process of its own.


def _dask(*words):
    command = [sys.executable, "-m", "distributed.cli.dask_" + words[0], *words[1:]]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture
def cluster(tmp_path):
    """(address, workers): gone when the test is over."""
    place = tmp_path / "scheduler.json"
    plain = ["--host", "127.0.0.1", "--no-dashboard"]
    processes = [_dask("scheduler", *plain, "--port", "0", "--scheduler-file", str(place))]
    try:
        worker = [*plain, "--no-nanny", "--nthreads", "1", "--scheduler-file", str(place)]
        processes += [_dask("worker", *worker, "--local-directory", str(tmp_path)) for _ in range(2)]
        yield _address(place), processes[1:]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _address(place):
    """The scheduler's address, once it has written it."""
    found = []

    def there():
        with suppress(OSError, ValueError, KeyError):
            found.append(json.loads(place.read_text())["address"])
        return bool(found)

    assert wait_until(there, STARTED_S), "the scheduler did not start"
    return found[0]


def _with_two_workers(address):
    """Lanes on that cluster, once both workers are there."""
    found = []

    def there():
        with suppress(ExecutorError):
            found.append(Dask(address))
            return found[-1].lanes == 2
        return False

    assert wait_until(there, STARTED_S, every_s=0.2), "the workers did not come"
    for lanes in found[:-1]:
        lanes.close()
    return found[-1]


@pytest.mark.filterwarnings("ignore")  # of libraries that Dask stands on; none of them is ours
def test_a_dask_cluster_that_loses_a_worker_plays_every_trial_once(cluster, alone):
    """Two workers, one of them killed in the middle: every trial ends as in one process, and none counts twice."""
    address, workers = cluster
    lanes = _with_two_workers(address)
    played = []
    try:
        with closing(lanes.run("sim", SPECS)) as ended:
            for done in ended:
                played.append(done)
                if len(played) == 4:
                    workers[0].kill()
    finally:
        lanes.close()
    assert sorted(done.trial.id for done in played) == sorted(alone)
    assert outcomes(played) == alone


@pytest.mark.filterwarnings("ignore")
def test_a_worker_with_another_straybit_is_refused(cluster, monkeypatch):
    """The line names the worker and both versions."""
    lanes = _with_two_workers(cluster[0])
    lanes.close()
    monkeypatch.setattr(executors, "version", lambda _: "0.0.1")
    with pytest.raises(ExecutorError, match=r"Dask worker tcp://127\.0\.0\.1:\d+ has (no )?straybit"):
        Dask(cluster[0])


@pytest.mark.filterwarnings("ignore")
def test_a_scheduler_that_is_not_there_is_one_line(monkeypatch):
    """Nobody listens: said with the address, and how to start one."""
    monkeypatch.setattr(executors, "CONNECT_S", 0.5)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ExecutorError, match=f"no Dask scheduler answers at {address} .*starts one"):
            Dask(address)
