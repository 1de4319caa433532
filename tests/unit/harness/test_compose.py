"""compose.yaml, from the one topology."""

import re
from pathlib import Path

import pytest

from straybit.compose import compose_yaml
from straybit_nodes.contained import Layout
from straybit_nodes.topology import Topology

ROOT = Path(__file__).parents[3]
SERVICE = re.compile(r"^  ([a-z]+-?\d*):$", re.MULTILINE)


def services(text):
    """Names under `services:`."""
    return SERVICE.findall(text.partition("\nservices:")[2].partition("\nnetworks:")[0])


def test_the_file_at_the_top_is_what_the_topology_says():
    """compose.yaml is `straybit compose`, byte for byte."""
    assert (ROOT / "compose.yaml").read_text() == compose_yaml()


def test_every_service_has_a_container_of_its_own():
    """Toxiproxy, the proxy, and each storage node, gossip node and balancer; no other."""
    assert services(compose_yaml()) == ["toxiproxy", "proxy", *(s.name for s in Topology().services())]


def test_every_link_has_a_listener_in_front_and_one_behind():
    """Toxiproxy leads each link to the proxy's listener of that link, which leads to the callee; no port is shared."""
    layout = Layout(Topology())
    front, behind = layout.in_front(), layout.behind()
    names = [link.name for link in Topology().links()]
    assert [name for name, *_ in front] == [name for name, *_ in behind] == names
    assert len({listen for _, listen, _ in front}) == len(names)
    proxy = layout.address("proxy")
    assert [f"{proxy}:{listen.rpartition(':')[2]}" for _, listen, _ in behind] == [up for *_, up in front]
    assert compose_yaml().count('"upstream": ') == len(names)


def test_who_dials_reaches_the_callee_through_both():
    """A row of the dial table is Toxiproxy's listener of the link to that server, in that role."""
    layout = Layout(Topology())
    front = {listen.rpartition(":")[2]: (name, up) for name, listen, up in layout.in_front()}
    behind = {listen.rpartition(":")[2]: (name, up) for name, listen, up in layout.behind()}
    for row in layout.dials("lb-1"):
        name, up = front[str(row.port)]
        assert row.host == layout.address("toxiproxy")
        assert name.startswith("lb-1:")
        assert behind[up.rpartition(":")[2]][0] == name
    ports = {name: up.rpartition(":")[2] for name, _, up in layout.behind()}
    assert (ports["lb-1:lb-2"], ports["client:lb-1"], ports["gossip-1:gossip-2"]) == ("8001", "8000", "8000")


def test_nothing_is_published_beyond_loopback():
    """Every published port names 127.0.0.1."""
    published = re.findall(r"ports: \[(.*)\]", compose_yaml())
    assert published
    assert all(port.startswith('"127.0.0.1:') for ports in published for port in ports.split(", "))


def test_a_cluster_of_gossip_alone_has_no_storage():
    """Other topologies make other files."""
    assert services(compose_yaml(Topology.gossip_only(3))) == ["toxiproxy", "proxy", "gossip-1", "gossip-2", "gossip-3"]


def test_more_services_than_a_network_holds_are_refused():
    """The limit is told with what to do instead; one fewer is fine."""
    with pytest.raises(ValueError, match="201 services are more than the 200 .* run them as processes"):
        Layout(Topology.gossip_only(201))
    assert Layout(Topology.gossip_only(200)).address("gossip-200") == "10.208.0.210"
