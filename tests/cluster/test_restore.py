"""Every recovery on a live cluster, and the gate that catches who kept its state."""

import itertools

import pytest

from straybit.restore import RestoreError, restore
from straybit.steady import wait_steady
from straybit_nodes.topology import Topology

STAGES = [
    "stop all",
    "silence",
    "clear all",
    "cleared",
    "batch storage-1..gossip-2",
    "batch storage-3..gossip-3",
    "batch lb-1..lb-1",
    "region eu",
    "batch storage-4..gossip-5",
    "batch storage-6..gossip-7",
    "batch storage-8..gossip-8",
    "batch lb-2..lb-3",
    "region us",
]


def test_no_recovery_does_nothing(gossip):
    """Without recovery nothing is touched."""
    pids = [gossip.pid(s.name) for s in gossip.services()]
    assert restore(gossip, "none").stages == ()
    assert [gossip.pid(s.name) for s in gossip.services()] == pids


@pytest.mark.long_in_containers
def test_rolling_restart_restarts_everyone(cluster):
    """A rolling restart replaces every process, one server after another, and the cluster is steady afterwards."""
    services = [s.name for s in cluster.services()]
    order = [*(f"storage-{n} and gossip-{n}" for n in range(1, 9)), "lb-1", "lb-2", "lb-3"]
    pids = {name: cluster.pid(name) for name in services}
    restored = restore(cluster, "rolling", budget_s=max(40, 12 * cluster.restart_s))
    assert [stage.name for stage in restored.stages] == [f"restart {names}" for names in order]
    assert all(cluster.pid(name) != pid for name, pid in pids.items())
    assert cluster.exits() == ()
    wait_steady(cluster, budget_s=20)


def test_rolling_restart_keeps_its_bound(gossip):
    """A rolling restart whose time is over stops and says how far it came."""
    with pytest.raises(RestoreError, match="came to gossip-1 when its time was over"):
        restore(gossip, "rolling", budget_s=0)


def test_staged_restore_brings_all_back_in_order(cluster):
    """The staged restore passes every gate in order, the small region first, and ends steady."""
    heard = []
    restored = restore(cluster, "staged", budget_s=40, on_stage=heard.append)
    assert [stage.name for stage in restored.stages] == STAGES
    assert tuple(heard) == restored.stages
    assert all(stage.ok and stage.began <= stage.ended for stage in restored.stages)
    assert all(a.ended <= b.began for a, b in itertools.pairwise(restored.stages))
    assert cluster.prove_clean()


def test_node_that_keeps_its_state_is_caught_at_the_gate(cluster):
    """One node that was not cleared is named at the cleared gate, and nobody is resumed."""
    with pytest.raises(RestoreError, match="gossip-5 still remembers") as caught:
        restore(cluster, "staged", budget_s=40, keep_state=["gossip-5"])
    assert caught.value.culprits == ("gossip-5",)
    assert [(stage.name, stage.ok) for stage in caught.value.stages[-2:]] == [("clear all", True), ("cleared", False)]
    assert {view.state for view in cluster.views().values()} == {"stopped"}
    restore(cluster, "staged", budget_s=40)
    assert cluster.prove_clean()


@pytest.mark.long_in_containers
def test_killed_node_comes_back_with_a_staged_restore(backend):
    """A node that is dead when the restore begins is started first, so that nobody stays behind."""
    with backend.start(Topology.gossip_only(3)) as cluster:
        cluster.kill("gossip-2")
        first = restore(cluster, "staged", budget_s=40).stages[0]
        assert first.note == "restarted first: gossip-2"
        assert cluster.prove_clean()
