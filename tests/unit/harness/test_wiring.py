"""Wiring: every port is used once, every dial leads to the caller's own proxy, every proxy to its callee."""

from pathlib import Path

import pytest

from straybit.backends._wiring import configs, ports_needed, share_out
from straybit.cluster import Spec
from straybit_nodes.topology import Role, Topology

SIZES = [Topology(), Topology.gossip_only(3), Topology.sized((3, 1), (4, 1))]


def wired(topology):
    wiring = share_out(topology, range(1000, 1000 + ports_needed(topology)))
    return wiring, configs(Spec(topology=topology), wiring, token="t", data=Path("/f/data"), logs=Path("/f/logs"))


@pytest.mark.parametrize("topology", SIZES)
def test_no_port_is_shared(topology):
    """Every listener of a cluster has a port of its own, and exactly those asked for are used."""
    wiring, nodes = wired(topology)
    used = [wiring.api, *wiring.links.values()]
    for node in nodes.values():
        used += [node.listen[1], node.control[1], *([node.gossip_listen[1]] if node.gossip_listen else [])]
    assert sorted(used) == list(range(1000, 1000 + ports_needed(topology)))


@pytest.mark.parametrize("topology", SIZES)
def test_every_dial_leads_through_a_proxy_of_the_callers_own_link(topology):
    """A node knows no port but the listeners of its own links, and each of these leads to the right callee."""
    wiring, nodes = wired(topology)
    upstreams = {name: int(upstream.rpartition(":")[2]) for name, _, upstream in wiring.proxies()}
    links = {port: name for name, port in wiring.links.items()}
    dialled = set()
    for name, node in nodes.items():
        for dial in node.dials:
            caller, _, callee = links[dial.port].partition(":")
            assert caller == name
            assert topology.service(callee).address == dial.address
            target = nodes[callee]
            gossip = dial.role is Role.GOSSIP and target.gossip_listen is not None
            assert upstreams[links[dial.port]] == (target.gossip_listen if gossip else target.listen)[1]
            dialled.add(links[dial.port])
    assert dialled == {link.name for link in topology.links() if link.caller != "client"}


def test_endpoints_are_the_client_links():
    """A client reaches a balancer through the proxy of its client link."""
    wiring, nodes = wired(Topology())
    assert wiring.endpoints()["lb-2"] == f"http://127.0.0.1:{wiring.links['client:lb-2']}"
    upstream = {name: upstream for name, _, upstream in wiring.proxies()}["client:lb-2"]
    assert upstream == f"127.0.0.1:{nodes['lb-2'].listen[1]}"


def test_nodes_start_silent_with_their_own_folders():
    """Every node starts held, with a log and a data folder that it shares with nobody."""
    _, nodes = wired(Topology())
    assert all(node.held for node in nodes.values())
    assert len({node.log for node in nodes.values()} | {node.data_dir for node in nodes.values()}) == 2 * len(nodes)
