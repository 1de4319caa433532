"""What only containers have: engine events, memory limits, logs by way of the engine, and a Toxiproxy in front."""

import json

import pytest

from straybit import BitFlip
from straybit.compose import RUN
from straybit.network import network_toxic
from straybit.outcome import Outcome
from straybit_nodes.defences import parse_defences
from straybit_nodes.topology import Topology

pytestmark = pytest.mark.docker

LINK = "gossip-1:gossip-2"
FLIP = BitFlip(LINK, message="state", field="version", bit=62)


@pytest.fixture(scope="module")
def kept(backend):
    with backend.start(Topology.gossip_only(3), defences=parse_defences("2008")) as cluster:
        yield cluster


@pytest.fixture
def gossip(kept):
    """Three gossip nodes in containers, clean."""
    assert kept.prove_clean(), kept.doubts()
    return kept


def container(engine, cluster, name):
    """The id of a service's container; the run is known by its folder's compose project."""
    found = [
        c["Id"]
        for c in engine.containers(f"com.docker.compose.service={name}", all=True)
        if c["Labels"][RUN] == cluster.run
    ]
    assert len(found) == 1
    return found[0]


def test_toxics_of_the_network_are_on_real_toxiproxy(gossip):
    """Toxiproxy's own API lists them while they are on, straybit's proxy knows nothing of them."""
    assert gossip.network.version() == "2.12.0"
    with network_toxic(gossip, "latency", {"latency": 200, "jitter": 0}, [LINK]) as shown:
        assert shown == ((LINK, "latency", "upstream", "jitter=0, latency=200"),)
        assert [t.type for t in gossip.network.proxies()[LINK].toxics] == ["latency"]
        assert gossip.proxy.proxies()[LINK].toxics == []
        assert f"proxy {LINK} has the toxic" in " ".join(gossip.doubts())
    assert gossip.network.proxies()[LINK].toxics == []


def test_a_flip_goes_through_both(gossip):
    """A flip on our proxy behind Toxiproxy is sent, delivered, felt and noticed, and its receipt says so."""
    with gossip.trial(FLIP) as trial:
        trial.expect_detected(by="gossip-crc", within_s=2)
    trial.expect_contained()
    trial.expect_outcome(Outcome.DETECTED)
    (receipt,) = trial.record.receipts
    assert receipt.delivered is not None
    assert receipt.felt is not None


def test_what_goes_down_is_delivered_only_when_it_was_felt(gossip):
    """Toxiproxy acknowledges a reply that it then drops: without the receiver's word the trial is INVALID."""
    down = BitFlip(LINK, message="state", field="version", bit=62, direction="down")
    with gossip.trial(down) as trial:
        trial.expect_detected(by="gossip-crc", within_s=2)
    lost = gossip.trial(down)
    with network_toxic(gossip, "timeout", {"timeout": 0}, [LINK], stream="downstream"):
        lost.begin()
        assert not lost.wait_delivered(2.0)
        lost.revert()
    (receipt,) = gossip.proxy.receipts(LINK)[-1:]
    assert receipt.delivered is not None  # by Toxiproxy's kernel
    lost.recover()
    assert lost.finish().outcome is Outcome.INVALID


def test_killed_for_memory_is_invalid_and_never_a_hang(backend, engine):
    """A container that the kernel kills for memory is an exit of the host's doing, and proves nothing of the flip."""
    with backend.start(Topology.gossip_only(3), defences=parse_defences("2008")) as cluster:
        trial = cluster.trial(FLIP)
        trial.begin()
        # files in memory are counted as the container's, and the kernel ends its largest process: the node
        made = engine.api.exec_create(container(engine, cluster, "gossip-2"), ["sh", "-c", "cat /dev/zero >/tmp/all"])
        engine.api.exec_start(made["Id"], detach=True)
        seen = cluster.observers.wait_for(lambda o: o.kind == "exit", 20)
        assert seen is not None
        assert (seen.source, seen.fields.get("host")) == ("gossip-2", "killed for memory")
        trial.settle()
        trial.revert()
        assert trial.finish().outcome is Outcome.INVALID


def test_a_container_that_dies_unasked_is_a_crash(backend, engine):
    """Somebody else kills a container: an exit with its signal, at once, and a CRASH of the trial."""
    with backend.start(Topology.gossip_only(3), defences=parse_defences("2008")) as cluster:
        trial = cluster.trial(FLIP)
        trial.begin()
        engine.api.kill(container(engine, cluster, "gossip-3"), "SIGKILL")
        assert cluster.observers.wait_for(lambda o: (o.source, o.kind) == ("gossip-3", "exit"), 5)
        trial.settle()
        trial.revert()
        assert trial.finish().outcome is Outcome.CRASH
        assert [(e.service, e.status, e.host) for e in cluster.exits()] == [("gossip-3", -9, "")]


def test_logs_come_whole_over_restarts(gossip, until):
    """What a container writes stands in the logs' folder, once, in order, also when it was started again."""
    gossip.restart("gossip-2")
    log = gossip.logs / "gossip-2.ndjson"

    def events():
        return [json.loads(line)["event"] for line in log.read_text().splitlines()]

    until(lambda: events().count("started") >= 2 and events()[-1] == "state")
    assert events().count("stopped") == events().count("started") - 1
    until(gossip.prove_clean)


def test_a_restarted_container_is_reached_where_it_is_now(gossip, until):
    """The engine publishes a control port anew at each start; whoever holds the control goes on with it."""
    control = gossip.control("gossip-3")
    gossip.restart("gossip-3")
    assert control.healthz().state == "running"
    until(gossip.prove_clean)
