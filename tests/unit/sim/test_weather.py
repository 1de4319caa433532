"""What a network does by itself, and that nothing else depends on it."""

import pytest

from straybit.backends.sim import SimBackend
from straybit.sim.net import SimNet
from straybit.sim.weather import FAIR, Weather
from straybit.steady import wait_steady
from straybit_nodes.defences import GROUPS
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.topology import Topology

STORMY = Weather(latency_s=0.002, jitter_s=0.05, loss=0.02)


def played(weather, *, seed=1, seconds=6.0, defences=()):
    net = SimNet(Topology.gossip_only(6), rules=Rules(), defences=defences, seed=seed, weather=weather)
    net.resume()
    net.run(seconds)
    return net


def exchanges(net, result):
    return sum(host.core.exchanges[result] for host in net.hosts.values())


def believed(net):
    return {name: {o: (e.address, e.version) for o, e in h.core.view.entries.items()} for name, h in net.hosts.items()}


def test_lost_messages_fail_exchanges_and_harm_nothing():
    """With one message in fifty lost some exchanges fail, all views are complete, and nothing untrue is believed."""
    net = played(STORMY)
    assert exchanges(net, "failed") > 5
    assert exchanges(net, "ok") > 10 * exchanges(net, "failed")
    addresses = {member.name: member.address for member in net.topology.members()}
    assert all({o: a for o, (a, _) in view.items()} == addresses for view in believed(net).values())


def test_weather_is_drawn_from_the_seed_alone():
    """Two storms of a seed are the same to the last entry and log line; another seed's is another."""
    one, two, other = played(STORMY), played(STORMY), played(STORMY, seed=2)
    assert (believed(one), one.log) == (believed(two), two.log)
    assert one.log != other.log


def test_jitter_lets_messages_of_different_connections_overtake():
    """Two that dial at the same moment are answered in the order of their calling in calm, and in both in a storm."""

    def first(weather, seed):
        net = SimNet(Topology.gossip_only(3), rules=Rules(), seed=seed, weather=weather, ticks=False)
        net.resume()
        over = []
        for name in ("gossip-1", "gossip-2"):
            net.exchange(name, "gossip-3", lambda _, name=name: over.append(name))
        net.settle()
        return over[0]

    assert {first(Weather(), seed) for seed in range(10)} == {"gossip-1"}
    assert {first(Weather(jitter_s=0.05), seed) for seed in range(10)} == {"gossip-1", "gossip-2"}


def test_checksums_see_no_damage_in_any_weather():
    """A storm is no damage: with every defence on nobody refuses a message."""
    net = played(STORMY, defences=GROUPS["all"])
    refused = {name for host in net.hosts.values() for name in host.core.detections} - {"gossip-alarm"}
    assert refused == set()


def test_a_cluster_is_steady_in_bad_weather():
    """The backend takes its weather as an argument, and a rainy cluster comes to agree."""
    with SimBackend(Weather(jitter_s=0.01)) as backend, backend.start(Topology.gossip_only(6)) as cluster:
        wait_steady(cluster, budget_s=5)


@pytest.mark.parametrize("wrong", [{"latency_s": -1.0}, {"jitter_s": -0.1}, {"loss": 1.5}])
def test_weather_that_cannot_be_is_refused(wrong):
    """Negative times and shares beyond 1 are a mistake, said in one line."""
    with pytest.raises(ValueError, match="cannot be"):
        Weather(**wrong)


def test_everything_lost_means_nobody_knows_anybody():
    """With every message lost no exchange succeeds: the loss is real."""
    net = played(Weather(loss=1.0), seconds=3.0)
    assert exchanges(net, "ok") == 0
    assert all(len(view) == 1 for view in believed(net).values())
    assert exchanges(played(FAIR, seconds=3.0), "ok") > 0
