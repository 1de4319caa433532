"""Nothing of ours is left, however a run ends: no process, no socket, no temporary file, no data in memory."""

import json
import os
import signal
import subprocess
import sys

import psutil
import pytest
from ports import listening, open_ports

from straybit.backends._folders import DATA_VARIABLE

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
    """Run a harness with a cluster, let it end as told, and answer with its processes and ports."""
    folders = {"TMPDIR": tmp_path / "tmp", DATA_VARIABLE: tmp_path / "data"}
    for folder in folders.values():
        folder.mkdir()
    environment = {**os.environ, **{name: str(folder) for name, folder in folders.items()}}
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
        ports = listening(process.pid for process in processes)
        assert len(ports) > 20
        assert all(any(folder.iterdir()) for folder in folders.values())
        harness.stdin.write(ending + "\n")
        harness.stdin.flush()
        act(harness)
        harness.wait(20)
        return processes, ports, harness.stderr.read()


def left(processes):
    _, alive = psutil.wait_procs(processes, timeout=5)
    return alive


@pytest.mark.alone  # a port that is free again may be another test's a moment later
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
    """After a green run, a failed one, Ctrl-C and SIGKILL no process, port, temporary file or data is left."""
    processes, ports, errors = run(tmp_path, ending, act)
    assert len(processes) == 16
    assert left(processes) == []
    assert said in errors
    assert open_ports(ports) == set()
    for folder in ("tmp", "data"):
        assert until(lambda folder=folder: not any((tmp_path / folder).iterdir()))
