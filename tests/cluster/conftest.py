"""Clusters for tests, on every backend: one default cluster and one of gossip alone, reused while proved clean."""

import sys
from pathlib import Path

import pytest
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

from straybit.backends.docker import DockerBackend
from straybit.backends.process import ProcessBackend
from straybit_nodes.topology import Topology

sys.path.insert(0, str(Path(__file__).parent))  # the helpers beside it

SOON_S = 10.0
BACKENDS = {"process": ProcessBackend, "docker": DockerBackend}


@pytest.fixture(scope="session", params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def backend(request):
    """One suite over all backends."""
    if request.param == "docker":
        request.getfixturevalue("docker_engine")
    with BACKENDS[request.param]() as backend:
        yield backend


class Reused:
    """A cluster that is started anew only when the last test left it in doubt."""

    def __init__(self, start):
        self._start = start
        self._cluster = None

    def get(self):
        if self._cluster is not None and not self._cluster.prove_clean():
            self.close()
        if self._cluster is None:
            self._cluster = self._start()
        return self._cluster

    def close(self):
        if self._cluster is not None:
            self._cluster.close()
            self._cluster = None


@pytest.fixture(scope="session")
def default_cluster(backend):
    reused = Reused(lambda: backend.start(Topology()))
    yield reused
    reused.close()


@pytest.fixture(scope="session")
def gossip_cluster(backend):
    reused = Reused(lambda: backend.start(Topology.gossip_only(3)))
    yield reused
    reused.close()


@pytest.fixture
def cluster(default_cluster):
    """The default cluster, clean: eleven members in two regions, with storage."""
    return default_cluster.get()


@pytest.fixture
def gossip(gossip_cluster):
    """Three gossip nodes, clean: for tests that need no storage."""
    return gossip_cluster.get()


@pytest.fixture
def until():
    """Waits until a check answers with something true, and hands it back; fails after 10 s."""

    def wait(check, timeout_s=SOON_S):
        retrying = retry(
            retry=retry_if_result(lambda seen: not seen), stop=stop_after_delay(timeout_s), wait=wait_fixed(0.01)
        )
        return retrying(check)()

    return wait
