"""What a killed run leaves, and what `straybit sweep` does about it: that run's things, and nobody else's."""

import json
import os
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.docker

HARNESS = """
import sys
from straybit import BitFlip
from straybit.backends.docker import DockerBackend
from straybit_nodes.topology import Topology

with DockerBackend() as backend, backend.start(Topology.gossip_only(2)) as cluster:
    with cluster.trial(BitFlip("gossip-1:gossip-2", message="state", field="version", bit=62)):
        print(cluster.run, flush=True)
        if sys.stdin.readline().strip() == "fail":
            raise RuntimeError("a run that fails")
"""


@pytest.fixture
def harness():
    """Starts a run in a process of its own, in the middle of a trial; gives process and run."""
    started = []

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", HARNESS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        run = process.stdout.readline().strip()
        assert run, process.stderr.read()
        return process, run

    yield start
    for process in started:
        process.communicate(timeout=30)  # whoever still runs hears the end of its input, and takes down what it has


def test_sweep_removes_a_killed_run_and_no_other(harness, straybit, things, engine):
    """What a run killed in mid-trial left is removed, what a living run or anybody else has is not."""
    own = engine.api.create_container(_any_image(engine))
    try:
        dead, gone = harness()
        _, living = harness()
        before = things(living)
        dead.kill()
        dead.wait()
        assert len(things(gone)) == 2 + 2 + 2 + 1
        assert gone in straybit("sweep", "--dry-run").stdout
        assert len(things(gone)) == 2 + 2 + 2 + 1
        swept = straybit("sweep", "--json")
        assert swept.returncode == 0, swept.stderr
        told = {each["run"]: each["removed"] for each in json.loads(swept.stdout)}
        assert (told[gone], told[living]) == (True, False)
        assert things(gone) == []
        assert things(living) == before
        assert engine.api.inspect_container(own["Id"])["Id"] == own["Id"]
        assert straybit("sweep").returncode == 0
    finally:
        engine.api.remove_container(own["Id"], force=True)


def _any_image(engine):
    return engine.api.images()[0]["Id"]


@pytest.mark.parametrize("ending", ["end", "fail", "ctrl-c"])
def test_nothing_is_left_by_a_run_that_could_clean_up(harness, things, ending):
    """After a green run, a failed one and Ctrl-C nothing of the run is there."""
    process, run = harness()
    if ending == "ctrl-c":
        os.killpg(process.pid, signal.SIGINT)
    process.communicate(f"{ending}\n" if ending != "ctrl-c" else None, timeout=30)
    assert things(run) == []
