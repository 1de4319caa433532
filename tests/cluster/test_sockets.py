"""Nothing reaches a node but through a proxy, nor leaves it: read from the sockets of its process."""

import psutil

from straybit.steady import wait_steady


def sockets(pid):
    return psutil.Process(pid).net_connections("inet")


def test_no_connection_bypasses_a_proxy(cluster):
    """Under requests and gossip every connection of a node is to or from the proxy, or to its control port."""
    seen = 0
    proxy = cluster.pid("proxy")
    for _ in range(3):
        wait_steady(cluster)
        of_proxy = {c.laddr.port for c in sockets(proxy)} | set(listeners(cluster))
        for service in cluster.topology.services():
            control = cluster.control(service.name).address[1]
            for connection in sockets(cluster.pid(service.name)):
                assert connection.laddr.ip == "127.0.0.1"
                if connection.raddr and connection.laddr.port != control and connection.status == "ESTABLISHED":
                    assert connection.raddr.ip == "127.0.0.1"
                    assert connection.raddr.port in of_proxy, f"{service.name}: {connection}"
                    seen += 1
    assert seen


def test_every_listener_is_on_loopback(cluster):
    """A node listens on its own ports of 127.0.0.1 and nowhere else, and so does the proxy."""
    for name in (*(s.name for s in cluster.topology.services()), "proxy"):
        listening = [c for c in sockets(cluster.pid(name)) if c.status == psutil.CONN_LISTEN]
        assert listening
        assert {c.laddr.ip for c in listening} == {"127.0.0.1"}


def listeners(cluster):
    return (proxy.address[1] for proxy in cluster.proxy.proxies().values())
