"""Members that fall silent, and members that leave."""

import pytest

from straybit.sim.net import SimNet
from straybit_nodes.gossip import core as core_module
from straybit_nodes.gossip import messages as m
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.gossip.silence import Silence
from straybit_nodes.topology import GENERATION, Topology


def running(nodes=5, **how):
    net = SimNet(Topology.gossip_only(nodes), rules=how.pop("rules", Rules()), **how)
    net.resume()
    net.run(2.0)
    return net


def views(net, owner):
    return {name: host.core.view.entries.get(owner) for name, host in net.hosts.items() if host.up and name != owner}


# Silence


def test_silence_is_counted_in_beats():
    """Whoever was heard is due so many beats later, once, and again as many beats after that; the forgotten never."""
    silence = Silence()
    for owner in ("a", "b", "c"):
        silence.heard(owner)
    silence.beat = 2
    silence.heard("b")
    silence.forget("c")
    due = []
    for beat in range(3, 12):
        silence.beat = beat
        due += [(beat, owner) for owner in silence.overdue(5)]
    assert due == [(5, "a"), (7, "b"), (10, "a")]


@pytest.mark.parametrize("on", [True, False])
def test_a_silent_member_is_found_though_nobody_talks_to_it(on):
    """On: a crashed member that no round happens to meet is asked after ten heartbeats and marked. Off: never."""
    rules = Rules(silent_after=10 if on else 1 << 30, gossip_interval_s=1000.0, tell_count=0)
    net = running(rules=rules, nodes=3)
    for name in net.hosts:
        for peer in net.hosts:
            if name != peer:
                net.exchange(name, peer)
    net.run(2.2)
    net.crash("gossip-3")
    net.run(9.0)
    assert {name for name, host in net.hosts.items() if "gossip-3" in host.core.marks} == (
        {"gossip-1", "gossip-2"} if on else set()
    )
    assert bool([event for _, _, event, _ in net.log if event == "silent"]) == on


def test_nobody_is_silent_in_a_clean_run():
    """In a minute without faults no member is suspected, for silence or anything else."""
    net = running(nodes=8)
    net.run(60.0)
    assert net.log == []


def test_a_paused_member_suspects_nobody_for_its_own_pause():
    """One that stood still for as long as it takes to be silent has had no heartbeats either."""
    net = running()
    net.pause("gossip-1")
    net.run(12.0)
    net.unpause("gossip-1")
    net.run(20.0)
    assert [(name, event) for _, name, event, _ in net.log if event == "silent" and name == "gossip-1"] == []
    assert all(not host.core.marks for host in net.hosts.values())


# Leaving


def leave(net, name):
    host = net.hosts[name]
    for peer in host.core.leave():
        net.exchange(name, peer)
    net.run(net.now + 0.5)
    net.stop(name)
    net.run(net.now + 3.0)


def test_one_that_leaves_is_nobodys_failure():
    """Its tombstone reaches all; nobody talks to it, marks it, or misses it, however long it stays away."""
    net = running()
    leave(net, "gossip-2")
    assert {entry.status for entry in views(net, "gossip-2").values()} == {m.LEFT}
    net.run(net.now + 30.0)
    assert [event for _, _, event, _ in net.log] == []
    for host in net.hosts.values():
        assert "gossip-2" not in host.core.peers.known()
        assert host.core.peers.address("gossip-2") is None


def test_one_that_did_not_say_so_is_a_failure():
    """The same absence without a word: everybody marks it."""
    net = running()
    net.crash("gossip-2")
    net.run(net.now + 10.0)
    assert all("gossip-2" in host.core.marks for host in net.hosts.values() if host.up)


def test_an_old_word_does_not_bring_back_who_left():
    """A member that was cut off and still believes it is up learns of the tombstone, and teaches nobody else."""
    net = running()
    net.crash("gossip-5")
    leave(net, "gossip-2")
    old = m.Entry("gossip-2", 9, m.UP, 0, GENERATION, 1)
    core = net.hosts["gossip-1"].core
    core.received(core.accepted(net.now), "gossip-5", m.State((old,)), net.now)
    net.run(net.now + 2.0)
    assert {entry.status for entry in views(net, "gossip-2").values()} == {m.LEFT}


@pytest.mark.parametrize("how", ["resume", "restart"])
def test_one_that_returns_is_taken_back(how):
    """Resumed or started anew, it has the next generation, is up in every view, and is talked to; twice over."""
    net = running()
    for time in (1, 2):
        leave(net, "gossip-2")
        if how == "restart":
            net.crash("gossip-2")
            net.restart("gossip-2")
        else:
            net.resume(["gossip-2"])
        net.run(net.now + 3.0)
        assert {(entry.status, entry.generation) for entry in views(net, "gossip-2").values()} == {
            (m.UP, GENERATION + time)
        }
        assert net.hosts["gossip-2"].core.generation == GENERATION + time
        assert all("gossip-2" in host.core.peers.known() for name, host in net.hosts.items() if name != "gossip-2")


def test_tombstones_do_not_last_for_ever(monkeypatch):
    """After a day of heartbeats the entry is gone everywhere and does not come back, with every exchange tried."""
    monkeypatch.setattr(core_module, "TOMBSTONE_BEATS", 20)
    net = running()
    leave(net, "gossip-2")
    assert set(views(net, "gossip-2").values()) != {None}
    net.run(net.now + 12.0)
    assert set(views(net, "gossip-2").values()) == {None}
    for host in net.hosts.values():
        assert "gossip-2" not in host.core.peers.known()


def test_only_who_runs_can_leave():
    """A stopped member has nobody to tell."""
    net = running()
    net.stop("gossip-1")
    with pytest.raises(ValueError, match="resume it"):
        net.hosts["gossip-1"].core.leave()
