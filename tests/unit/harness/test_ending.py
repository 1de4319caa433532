"""Everything is let go of, also when a part of the ending fails."""

import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from straybit.backends import BackendError
from straybit.backends import docker as docker_module
from straybit.backends import process as process_module
from straybit.backends._engine import EngineError
from straybit.backends._messages import Exited
from straybit.backends._processes import Processes
from straybit.backends.docker import DockerBackend
from straybit.backends.nursery import NurseryError
from straybit.backends.process import ProcessBackend
from straybit.cluster import Cluster, Spec
from straybit.interruption import interruption
from straybit.testing import Clusters
from straybit_nodes.topology import Topology


class FakeNursery:
    """A warm parent that forks nothing; children named `stubborn` survive every signal."""

    alive = True

    def __init__(self, *_, tidy_fails=False, **__):
        self.tidy_fails = tidy_fails
        self.killed = []
        self.reserved = []
        self.closed = False
        self.processes = None
        self._labels = {}

    def tidy(self, folder):
        if self.tidy_fails:
            raise NurseryError("the nursery did not answer within 10 s")

    def untidy(self, folder):
        pass

    def reserve(self, count):
        self.reserved = list(range(20_000, 20_000 + count))
        return self.reserved

    def release(self, ports):
        self.reserved = [port for port in self.reserved if port not in ports]

    def fork(self, target, *args, label, errors):
        pid = 1_000_000 + len(self._labels)
        self._labels[pid] = label.partition("/")[2]
        return pid

    def signal(self, pid, number):
        name = self._labels[pid]
        if number is signal.SIGKILL:
            self.killed.append(name)
        if number is not signal.SIGCONT and name != "stubborn":
            self.processes.exited(name, Exited(pid, f"1/{name}", 0, 0.0))

    def close(self):
        self.closed = True


def test_one_that_cannot_be_killed_does_not_keep_the_others(tmp_path, monkeypatch):
    """Every process is tried, and the error names the one that is left."""
    monkeypatch.setattr("straybit.backends._processes.GRACE_S", 0.01)
    monkeypatch.setattr("straybit.backends._processes.GONE_S", 0.01)
    nursery = FakeNursery()
    nursery.processes = Processes(
        nursery,
        "1",
        configs={},
        controls={},
        logs=tmp_path,
        temporary=[tmp_path],
        keep=True,
        ports=(),
        on_exit=lambda _: None,
    )
    for name in ("stubborn", "gossip-1", "also-gone"):
        nursery.processes._fork(name, "a:b")
    with pytest.raises(BackendError, match=r"^stubborn did not end within 0.01 s of SIGKILL$"):
        nursery.processes.end()
    assert nursery.processes.ended("gossip-1")
    assert nursery.processes.ended("also-gone")


def test_a_cluster_that_cannot_be_built_leaves_nothing(tmp_path, monkeypatch):
    """When the nursery cannot note the folder, the folder goes, and the ports are free again."""
    nursery = FakeNursery(tidy_fails=True)
    monkeypatch.setattr(process_module, "Nursery", lambda *_, **__: nursery)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with ProcessBackend() as backend, pytest.raises(NurseryError, match="did not answer"):
        backend.start(Topology.gossip_only(2))
    assert nursery.reserved == []
    assert list(Path(tmp_path).iterdir()) == []
    assert nursery.closed


class Broken:
    """A cluster that cannot be closed."""

    def close(self):
        raise BackendError("gossip-1 did not end")


def test_a_backend_ends_its_warm_parent_whatever_a_cluster_says(monkeypatch):
    """Closing goes on behind a cluster that cannot be closed."""
    nursery = FakeNursery()
    monkeypatch.setattr(process_module, "Nursery", lambda *_, **__: nursery)
    nursery.import_s = 0.1
    backend = ProcessBackend()
    backend.warm()
    backend._clusters["1"] = (Broken(), None)
    with pytest.raises(BackendError, match="gossip-1 did not end"):
        backend.close()
    assert nursery.closed


def test_the_plugins_clusters_close_their_backends_whatever_a_cluster_says():
    """The kept cluster's failure is told after every backend has been closed."""
    closed = []
    clusters = Clusters()
    clusters._kept = (None, Broken())
    clusters._stack.callback(closed.append, "backend")
    with pytest.raises(BackendError, match="gossip-1 did not end"), clusters:
        pass
    assert closed == ["backend"]


class Services:
    """A cluster's, in whose ending somebody presses Ctrl-C again and again; or that cannot be ended."""

    def __init__(self, error=None):
        self.error = error
        self.done = []

    def end(self):
        signal.raise_signal(signal.SIGINT)
        self.done.append("end")

    def clean(self, keep):
        signal.raise_signal(signal.SIGINT)
        if self.error:
            raise self.error
        self.done.append("clean")


def cluster_of(services, tmp_path, run="straybit-1"):
    return Cluster(
        Spec(topology=Topology.gossip_only(2)),
        tmp_path,
        backend="docker",
        services=services,
        controls={},
        proxy=None,
        run=run,
        endpoints={},
        observers=SimpleNamespace(close=lambda: None),
    )


def test_an_interrupt_comes_when_a_cluster_has_been_taken_down(tmp_path):
    """Ctrl-C, again and again, does not leave containers behind."""
    services = Services()
    with pytest.raises(KeyboardInterrupt):
        cluster_of(services, tmp_path).close()
    assert services.done == ["end", "clean"]


def test_an_interrupt_comes_when_every_cluster_has_been_taken_down():
    """Those that a backend still has."""
    every = [Slow(), Slow()]
    backend = DockerBackend()
    backend._clusters = every
    with pytest.raises(KeyboardInterrupt):
        backend.close()
    assert [cluster.closed for cluster in every] == [True, True]


class Slow:
    """A cluster during whose closing somebody presses Ctrl-C."""

    closed = False

    def close(self):
        signal.raise_signal(signal.SIGINT)
        self.closed = True


@pytest.mark.parametrize(("run", "left"), [("straybit-1", "containers of the run straybit-1"), ("", "processes")])
def test_a_cluster_that_could_not_be_taken_down_says_what_is_left(tmp_path, run, left):
    """Behind the interrupt, for whoever tells the user."""
    with pytest.raises(KeyboardInterrupt) as caught:
        cluster_of(Services(BackendError("the engine is gone")), tmp_path, run).close()
    assert str(caught.value.__context__) == "the engine is gone"
    assert caught.value.__context__.left == left


def test_a_start_that_is_interrupted_takes_down_what_it_made(tmp_path, monkeypatch):
    """Ctrl-C while containers come up, and once more while they go down: they are gone before it is passed on."""
    asked = []

    def ask(run, file, arguments, *, env):
        signal.raise_signal(signal.SIGINT)
        asked.append(arguments[0])

    monkeypatch.setattr(docker_module, "ask_compose", ask)
    backend = DockerBackend()
    backend._engine = SimpleNamespace(ask=lambda *_: [], close=lambda: None)
    with pytest.raises(KeyboardInterrupt):
        backend.start(Topology.gossip_only(2), folder=tmp_path)
    assert asked == ["down"]


def test_an_interrupted_start_that_cannot_be_taken_down_says_what_is_left(tmp_path, monkeypatch):
    """The interrupt is behind the error."""

    def ask(run, file, arguments, *, env):
        if arguments[0] == "up":
            raise KeyboardInterrupt
        raise EngineError("docker compose down failed")

    monkeypatch.setattr(docker_module, "ask_compose", ask)
    backend = DockerBackend()
    backend._engine = SimpleNamespace(ask=lambda *_: [], close=lambda: None)
    with pytest.raises(BackendError, match="what is left of this run carries the label .*`straybit sweep`") as caught:
        backend.start(Topology.gossip_only(2), folder=tmp_path)
    assert isinstance(interruption(caught.value), KeyboardInterrupt)
