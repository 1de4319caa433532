"""How long the cluster takes to start, and a trial on a clean one; measured here and now."""

from __future__ import annotations

import statistics
import sys
import time
from datetime import UTC, datetime

import msgspec

from straybit import BitFlip
from straybit.backends import BackendError
from straybit.backends.docker import DockerBackend
from straybit.backends.process import ProcessBackend
from straybit.runner import machine
from straybit.trial import QUIET_S
from straybit_nodes.defences import parse_defences
from straybit_nodes.topology import Topology

STARTS = 5
TRIALS = 15
GOALS = {"start": 1.0, "trial": 0.5, "docker_start": 20.0, "docker_down": 5.0}
DOCKER_STARTS = 3


def main() -> None:
    """Print medians beside the goals, and the same as one line of JSON."""
    with ProcessBackend() as backend:
        import_s = backend.warm()
        starts = []
        for number in range(STARTS):
            began = time.monotonic()
            cluster = backend.start(Topology(), defences=parse_defences("2008"), seed=number)
            starts.append(time.monotonic() - began)
            if number < STARTS - 1:
                cluster.close()
        with cluster:
            trials = [one_trial(cluster) for _ in range(TRIALS)]
    figures = {
        "parent_import_s": import_s,
        "start_s": statistics.median(starts),
        "start_s_all": starts,
        "trial_s": statistics.median(trials),
        "trial_s_all": trials,
    }
    print(f"import of the warm parent, once           {import_s:6.2f} s")
    print(f"default cluster, start to healthy         {figures['start_s']:6.2f} s   goal {GOALS['start']:g} s")
    print(f"one trial, beside steady and quiet times  {figures['trial_s']:6.2f} s   goal {GOALS['trial']:g} s")
    figures |= in_containers()
    facts = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine()}
    print(msgspec.json.encode({**facts, **figures}).decode())
    sys.exit(0)


def in_containers() -> dict[str, object]:
    """The same start in containers, beside it; a line that says why not where there is no engine."""
    up, down = [], []
    try:
        with DockerBackend() as backend:
            for number in range(DOCKER_STARTS):
                began = time.monotonic()
                cluster = backend.start(Topology(), defences=parse_defences("2008"), seed=number)
                up.append(time.monotonic() - began)
                began = time.monotonic()
                cluster.close()
                down.append(time.monotonic() - began)
    except BackendError as error:
        print(f"the same in containers: not measured: {error}")
        return {}
    figures = {"docker_start_s": statistics.median(up), "docker_down_s": statistics.median(down)}
    for name, what in (("docker_start", "start to healthy"), ("docker_down", "down")):
        print(f"the same in containers, {what:18}{figures[f'{name}_s']:6.2f} s   goal {GOALS[name]:g} s")
    return {**figures, "docker_start_s_all": up, "docker_down_s_all": down}


def one_trial(cluster) -> float:  # noqa: ANN001 - a Cluster
    """Seconds of one whole trial, less the wait for steady and the quiet time."""
    flip = BitFlip("gossip-1:gossip-2", message="state", field="version", bit=62)
    trial = cluster.trial(flip)
    began = time.monotonic()
    trial.begin()
    trial.settle()
    trial.revert()
    reverted = time.monotonic()
    trial.recover()
    recovered = time.monotonic()
    trial.finish()
    trial.expect_outcome("DETECTED")
    return time.monotonic() - began - (recovered - reverted) - QUIET_S


if __name__ == "__main__":
    main()
