"""Nothing of ours is left, however a run ends: no process, no socket, no temporary file."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

HARNESS = """
import json, sys, threading
from straybit.backends.process import ProcessBackend
from straybit.steady import wait_steady
from straybit_nodes.topology import Topology

with ProcessBackend() as backend, backend.start(Topology.sized((3, 1), (3, 1))) as cluster:
    wait_steady(cluster, budget_s=20)
    names = [*(s.name for s in cluster.topology.services()), "proxy"]
    print(json.dumps({name: cluster.pid(name) for name in names}), flush=True)
    ending = sys.stdin.readline().strip()
    if ending == "fail":
        raise RuntimeError("a run that fails")
    if ending == "wait":
        threading.Event().wait()
"""


def run(tmp_path, ending, act=lambda harness: None):
    """Run a harness with a cluster, let it end as told, and answer with the processes it had."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", HARNESS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    ) as harness:
        said = harness.stdout.readline()
        assert said, harness.stderr.read()
        pids = json.loads(said)
        nursery = psutil.Process(pids["proxy"]).parent()
        processes = [nursery, *(psutil.Process(pid) for pid in pids.values())]
        assert any(Path(tmp_path).iterdir())
        harness.stdin.write(ending + "\n")
        harness.stdin.flush()
        act(harness)
        harness.wait(20)
        return processes, harness.stderr.read()


def left(processes):
    _, alive = psutil.wait_procs(processes, timeout=5)
    return alive


@pytest.mark.parametrize(
    ("ending", "act", "said"),
    [
        ("end", lambda harness: None, ""),
        ("fail", lambda harness: None, "a run that fails"),
        ("wait", lambda harness: os.killpg(harness.pid, signal.SIGINT), "KeyboardInterrupt"),
        ("wait", lambda harness: harness.kill(), ""),
    ],
    ids=["green", "failed", "ctrl-c", "sigkill"],
)
def test_nothing_is_left(tmp_path, until, ending, act, said):
    """After a green run, a failed one, Ctrl-C and SIGKILL no process and no temporary file is left."""
    processes, errors = run(tmp_path, ending, act)
    assert len(processes) == 16
    assert left(processes) == []
    assert said in errors
    assert until(lambda: not any(Path(tmp_path).iterdir()))
