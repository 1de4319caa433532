"""Steady and clean: proved when all is well, and otherwise with what is missing."""

import pytest

from straybit.steady import NotSteadyError, probe_steady, wait_steady


def test_healthy_cluster_is_steady(cluster):
    """Five probes in a row through every balancer succeed on a healthy cluster."""
    steady = wait_steady(cluster, budget_s=20)
    assert steady.probes == 5
    assert steady.at - steady.since >= 0.4
    assert cluster.prove_clean()


def test_gossip_alone_is_steady_by_its_views(gossip):
    """A cluster without balancers is steady when its views are."""
    assert wait_steady(gossip, budget_s=20).probes == 5


def test_dead_storage_is_named(cluster):
    """While too few storage nodes are left to write to, the probe names the balancers that fail."""
    for name in ("storage-1", "storage-2"):
        cluster.kill(name)
    with pytest.raises(NotSteadyError, match="through lb-1 failed"):
        wait_steady(cluster, budget_s=1.0)
    for name in ("storage-1", "storage-2"):
        cluster.restart(name)
    assert wait_steady(cluster, budget_s=20).probes == 5


def test_unasked_silence_is_named(gossip):
    """A node that was stopped is named by the probe."""
    gossip.control("gossip-2").stop()
    assert "gossip-2 is stopped" in probe_steady(gossip)
    assert not gossip.prove_clean()
    gossip.control("gossip-2").resume()
    wait_steady(gossip, budget_s=20)


def test_new_status_is_steady_once_all_views_have_it(gossip):
    """What an owner newly originates is what steady means from then on: all views come to hold it."""
    gossip.control("gossip-2").originate(2)
    wait_steady(gossip, budget_s=20)
    assert {view.entries["gossip-2"].status for view in gossip.views().values()} == {2}
    gossip.control("gossip-2").originate(1)
    wait_steady(gossip, budget_s=20)


def test_toxic_is_a_doubt(gossip):
    """A cluster with a toxic on a link is not clean until it is gone."""
    gossip.proxy.add_toxic("gossip-1:gossip-2", "latency", {"latency": 1}, name="slow")
    assert gossip.doubts() == ("proxy gossip-1:gossip-2 has the toxic slow",)
    gossip.proxy.reset()
    assert gossip.prove_clean()


def test_disabled_proxy_is_a_doubt(gossip):
    """A cluster with a link that is off is not clean, and the link comes back at its port."""
    gossip.proxy.enable("gossip-1:gossip-2", False)
    assert "proxy gossip-1:gossip-2 is off" in gossip.doubts()
    before = gossip.proxy.proxies()["gossip-1:gossip-2"].listen
    assert gossip.proxy.enable("gossip-1:gossip-2").listen == before
    wait_steady(gossip, budget_s=20)
    assert gossip.prove_clean()
