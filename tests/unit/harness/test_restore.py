"""The order of a rolling restart and of a staged restore."""

import pytest

from straybit.restore import restore
from straybit.rollout import batches, servers, staged_plan
from straybit_nodes.topology import Region, Topology


def named(topology, size):
    return [(region.name, [s.name for s in group]) for region, group in batches(topology, size)]


def test_small_region_first_servers_in_pairs_balancers_last():
    """The small region comes first, a server's two services together, its balancers when its servers are back."""
    assert named(Topology(), 2) == [
        ("eu", ["storage-1", "storage-2", "gossip-1", "gossip-2"]),
        ("eu", ["storage-3", "gossip-3"]),
        ("eu", ["lb-1"]),
        ("us", ["storage-4", "storage-5", "gossip-4", "gossip-5"]),
        ("us", ["storage-6", "storage-7", "gossip-6", "gossip-7"]),
        ("us", ["storage-8", "gossip-8"]),
        ("us", ["lb-2", "lb-3"]),
    ]


def test_size_decides_not_the_order_of_regions():
    """A region that is listed last but has fewer servers is restored first."""
    topology = Topology((Region("big", 4, 1), Region("small", 3, 1)))
    assert [region for region, _ in named(topology, 9)] == ["small", "small", "big", "big"]


def test_gossip_alone_has_no_balancers():
    """A gossip-only cluster is restored in batches of gossip nodes."""
    assert named(Topology.gossip_only(3), 2) == [("eu", ["gossip-1", "gossip-2"]), ("eu", ["gossip-3"])]


def test_server_is_restarted_as_a_whole():
    """A rolling restart takes a storage node together with the gossip node beside it, and balancers one by one."""
    order = [[s.name for s in server] for server in servers(Topology())]
    assert order[:2] == [["storage-1", "gossip-1"], ["storage-2", "gossip-2"]]
    assert order[-2:] == [["lb-2"], ["lb-3"]]
    assert sorted(name for server in order for name in server) == sorted(s.name for s in Topology().services())


def test_unknown_recovery_is_refused():
    """An unknown recovery is refused with the names there are."""
    with pytest.raises(ValueError, match="choose from none, rolling, staged"):
        restore(None, "reboot")


def test_every_stage_has_its_gate_and_the_small_region_comes_first():
    """Nothing is resumed before all are silent and cleared; each region ends behind a gate of its own."""
    plan = staged_plan(Topology(), 2)
    assert [step.what for step in plan[:4]] == ["stop", "silence", "clear", "cleared"]
    everybody = tuple(s.name for s in Topology().services())
    assert all(step.services == everybody for step in plan[:4])
    assert sorted(name for step in plan if step.what == "batch" for name in step.services) == sorted(everybody)
    assert [step.name for step in plan if step.what == "region"] == ["region eu", "region us"]
    assert all(step.gate and step.does for step in plan)
