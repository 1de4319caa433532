"""Nothing reaches a node but through a proxy, nor leaves it: read from the sockets of its process."""

import psutil
import pytest

from straybit.steady import wait_steady

# who listens where in a container is its network's matter: tests/docker/test_by_hand.py
pytestmark = pytest.mark.parametrize("backend", ["process"], indirect=True, scope="session")


def sockets(pid):
    return psutil.Process(pid).net_connections("inet")


@pytest.fixture
def frozen(cluster):
    """A busy cluster whose proxy stands still, so that no connection through it comes or goes while one looks."""
    wait_steady(cluster, budget_s=20)
    proxy = psutil.Process(cluster.pid("proxy"))
    proxy.suspend()
    yield cluster
    proxy.resume()


def test_no_connection_bypasses_a_proxy(frozen):
    """Every connection of a node is to one of its proxies, from the proxy, or to its control port; all on loopback."""
    of_proxy = {c.laddr.port for c in sockets(frozen.pid("proxy"))}
    seen = set()
    for service in frozen.topology.services():
        control = frozen.control(service.name).address[1]
        for connection in sockets(frozen.pid(service.name)):
            if connection.raddr and connection.laddr.port != control and connection.status == "ESTABLISHED":
                assert connection.raddr.ip == connection.laddr.ip == "127.0.0.1"
                assert connection.raddr.port in of_proxy, f"{service.name}: {connection}"
                seen.add(service.name)
    assert {"storage-1", "lb-1", "gossip-1"} <= seen


def test_every_listener_is_on_loopback(cluster):
    """A node listens on its own ports of 127.0.0.1 and nowhere else, and so does the proxy."""
    for name in (*(s.name for s in cluster.topology.services()), "proxy"):
        listening = [c for c in sockets(cluster.pid(name)) if c.status == psutil.CONN_LISTEN]
        assert listening
        assert {c.laddr.ip for c in listening} == {"127.0.0.1"}
