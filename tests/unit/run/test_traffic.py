"""Which traffic makes messages flow on which link, and what its clients saw."""

import pytest

from straybit.clients import Reply
from straybit.traffic import GossipTraffic, S3Traffic, traffic_for
from straybit_faults.flip import Link


def through(traffic, world):
    """The balancers that three steps of S3 traffic go through."""
    world.calls.clear()
    for _ in range(3):
        traffic.step()
    return sorted({endpoint.removeprefix("http://") for _, endpoint, _, _ in world.calls})


@pytest.mark.parametrize("link", ["gossip-1:gossip-2", "gossip-4:lb-2", "lb-1:gossip-1"])
def test_members_talk_to_each_other(cluster, world, link):
    """Between members, balancers among them, it is gossip that flows, and no client is needed."""
    assert isinstance(traffic_for(cluster, Link(*link.split(":")), name="t"), GossipTraffic)
    assert world.calls == []


@pytest.mark.parametrize(
    ("link", "balancers"),
    [
        ("client:lb-2", ["lb-2"]),
        ("lb-3:storage-5", ["lb-3"]),
        ("storage-4:storage-6", ["lb-2", "lb-3"]),
        ("storage-1:storage-2", ["lb-1"]),
        ("storage-7:gossip-7", ["lb-2", "lb-3"]),
    ],
)
def test_clients_talk_through_the_link(cluster, world, link, balancers):
    """To and from a balancer clients use that one; between servers those of the region, in turn."""
    traffic = traffic_for(cluster, Link(*link.split(":")), name="t")
    assert isinstance(traffic, S3Traffic)
    assert through(traffic, world) == balancers


def test_each_step_writes_a_fresh_key_and_reads_it(cluster, world):
    """Answers name the requests as receipts do, and say what the ledger makes of them."""
    traffic = S3Traffic(cluster, ["lb-2", "lb-3"], name="t")
    traffic.step()
    traffic.step()
    identities = [a.identity for a in traffic.answers()]
    assert identities == [f"{method} /straybit-trial/t/{n}" for n in (0, 1) for method in ("PUT", "GET")]
    assert {a.verdict for a in traffic.answers()} == {"right"}


def test_refused_and_unanswered_writes(cluster, world):
    """A 4xx is a value that must not be there; a write without a reply may be there or not."""
    traffic = S3Traffic(cluster, ["lb-1"], name="t")
    world.say("t/0", Reply(False, 400, "BadDigest"))
    world.say("t/1", Reply(False, 0, "gone"))
    traffic.step()
    traffic.step()
    assert [a.verdict for a in traffic.answers()] == ["error", "right", "error", "right"]
    world.objects["t/0"] = world.objects["t/1"] = b"something else"
    assert [a.verdict for a in traffic.scan()] == ["wrong", "wrong"]


def test_scan_reads_every_key_through_every_balancer(cluster, world):
    """After the fault each key is read through each balancer, and all of it counts as seen."""
    traffic = S3Traffic(cluster, ["lb-2", "lb-3"], name="t")
    traffic.step()
    del world.objects["t/0"]
    assert [a.verdict for a in traffic.scan()] == ["lost", "lost"]
    assert len(traffic.answers()) == 4
    traffic.close()
    assert sorted(world.closed) == ["http://lb-2", "http://lb-3"]
