"""Why July collapses: the mechanisms make the storm, each of them is needed, and what ends it.

The figures of many seeds come from `python -m straybit.sim.july`.
"""

from collections import Counter

import pytest

from straybit.faults import BitFlip
from straybit.scenarios._july_plan import july_plan
from straybit.sim.july import REMOVED, play, rolling_restart, staged_clear
from straybit_nodes.defences import DEFENCES
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.topology import Topology

from .conftest import SEEDS

REGIONS = {"eu", "us"}


def worst(played, since_s=2.5, until_s=7.5):
    return min(played.success(since_s, until_s).values())


@pytest.mark.parametrize("seed", SEEDS)
def test_six_flipped_bits_bring_both_regions_down(seed):
    """With every mechanism in place almost no request succeeds for five seconds, and poison is everywhere."""
    played = play(Rules(), seed=seed, length_s=8.5)
    assert max(played.success(3.5, 8.5).values()) < 0.05
    owners = {owner for _, owner in played.poisoned()}
    assert owners
    assert {member for member, _ in played.poisoned()} == set(played.net.hosts)


def test_july_is_the_same_story_with_24_storage_nodes():
    """Three times the servers: six bits bring both regions down, and with `gossip-crc` no request fails."""
    topology = Topology.sized((8, 2), (16, 4))
    undefended = play(Rules(), seed=1, topology=topology, length_s=9)
    assert max(undefended.success(5, 9).values()) < 0.05
    defended = play(Rules(), seed=1, topology=topology, defences=["gossip-crc"], length_s=3)
    assert sum(host.core.detections["gossip-crc"] for host in defended.net.hosts.values()) == 6
    assert min(defended.success(0, 2).values()) == 1.0


def test_gossip_takes_nearly_all_slot_time():
    """In the collapse almost everything that slots are spent on is talk, little of it before a request."""
    played = play(Rules(), seed=1)
    spent = {}
    for host in played.net.hosts.values():
        if not host.core.balancer:
            for work, seconds in host.core.places.spent(played.net.now).items():
                spent[work] = spent.get(work, 0.0) + seconds
    assert spent["verify"] + spent["tell"] + spent["gossip"] > 3 * spent["request"]


@pytest.mark.parametrize("seed", SEEDS[:2])
@pytest.mark.parametrize("row", [name for name in REMOVED if name != "nothing"])
def test_without_any_one_mechanism_nothing_collapses(row, seed):
    """With one mechanism removed each region keeps at least 40 % of at least 40 requests, though the poison stays."""
    length_s = 6.0 if row == "the bound on slots" else 7.5  # without the bound a storm is work without end
    played = play(REMOVED[row], seed=seed, length_s=length_s)
    assert worst(played, length_s - 5, length_s) >= 0.4
    for region in REGIONS:
        assert sum(where == region and began >= played.over for began, where, _ in played.load.ends) >= 40
    if row == "owners believe others":
        assert played.poisoned() == set()
    else:
        assert played.poisoned()


@pytest.mark.parametrize("rules", [Rules(tell_count=0), Rules(verify_retries=0)], ids=["rumours", "retries"])
def test_rumours_or_retries_alone_do_not_save_it(rules):
    """Removing only one of the two still ends in collapse."""
    assert max(play(rules, seed=1, length_s=12).success(7, 12).values()) < 0.3


@pytest.mark.parametrize("how", ["crash", "pause"])
@pytest.mark.parametrize("name", ["gossip-2", "gossip-6"])
def test_a_clean_failure_recovers(how, name):
    """One crashed or paused server and no flip: both regions are back at 100 % within five seconds, and stay."""
    played = play(Rules(), seed=4, flips=[], act=lambda net: getattr(net, how)(name), length_s=12)
    assert worst(played, 5, 10.9) == 1.0


@pytest.mark.parametrize("how", ["crash", "pause"])
def test_one_that_comes_back_is_taken_back(how):
    """After a short absence nobody marks the server any more."""

    def absence(net):
        getattr(net, how)("gossip-2")
        net.after(2.0, lambda: (net.restart if how == "crash" else net.unpause)("gossip-2"))

    played = play(Rules(), seed=5, flips=[], act=absence, length_s=9)
    assert all(not host.core.marks for host in played.net.hosts.values())
    assert worst(played, 4, 8) == 1.0


@pytest.mark.parametrize("latency_s", [0.1, 0.4])
def test_a_slow_spell_is_no_outage(latency_s):
    """When everything was too slow for every time-out for three seconds, all is well again within five."""

    def spell(net):
        usual, net.latency_s = net.latency_s, latency_s
        net.after(3.0, lambda: setattr(net, "latency_s", usual))

    played = play(Rules(), seed=6, flips=[], act=spell, length_s=12)
    assert worst(played, 8, 10.9) == 1.0
    assert all(not host.core.places.waiting for host in played.net.hosts.values())


def test_a_rolling_restart_does_not_help():
    """Every member restarted in turn learns the poison again from its peers."""
    played = play(Rules(), seed=2, act=rolling_restart, length_s=16)
    assert {member for member, _ in played.poisoned()} == set(played.net.hosts)
    assert max(played.success(11, 15).values()) < 0.05


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_a_staged_clear_restores_everything(seed):
    """Stop all, clear all, start in batches: no poison is left and every request succeeds."""
    played = play(Rules(), seed=seed, act=staged_clear, length_s=11)
    assert played.poisoned() == set()
    assert worst(played, 6, 10) == 1.0


@pytest.mark.parametrize("keep", ["gossip-3", "lb-3"])
def test_one_that_keeps_its_state_poisons_everyone_again(keep):
    """A single member that was not cleared brings everything back, the outage included."""
    played = play(Rules(), seed=2, act=lambda net: staged_clear(net, keep), length_s=14)
    assert {member for member, _ in played.poisoned()} == set(played.net.hosts)
    assert max(played.success(10, 13).values()) < 0.05


def test_shedding_load_does_not_help():
    """With a tenth of the requests the storm goes on: it feeds on gossip, not on load."""
    played = play(Rules(), seed=1, length_s=4)
    played.load.scale(0.1)
    played.net.run(played.net.now + 8)
    assert max(played.success(6, 11).values()) < 0.05


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_gossip_crc_alone_leaves_no_dip(seed):
    """Every flip is refused and counted, nothing is adopted, and no request fails."""
    played = play(Rules(), seed=seed, defences=["gossip-crc"])
    assert sum(host.core.detections["gossip-crc"] for host in played.net.hosts.values()) == 6
    assert played.poisoned() == set()
    assert min(played.success(1 - played.over, 7).values()) == 1.0


REPAIRED = [
    BitFlip("gossip-1:gossip-2", message="state", field=f"gossip-3.{field}", bit=bit, repair=True)
    for field, bit in (("address", 30), ("status", 3), ("load", 4), ("generation", 3), ("version", 9), ("digest", 60))
]


@pytest.mark.parametrize("flip", REPAIRED, ids=str)
def test_entry_digest_refuses_what_was_damaged_before_the_checksum(flip):
    """A repaired flip passes `gossip-crc` and is believed; with `entry-digest` it is refused once, by that name."""
    for defences in (["gossip-crc"], ["gossip-crc", "entry-digest"]):
        played = play(Rules(), seed=1, defences=defences, flips=[flip], length_s=1)
        found = sum((host.core.detections for host in played.net.hosts.values()), Counter())
        assert found == Counter(defences[1:])
        assert len(played.net.proxies.receipts()) == 1
        if defences[1:]:
            assert played.poisoned() == set()
        elif flip.aim.field.partition(".")[2] in {"address", "status", "generation"}:
            assert {name for name, owner in played.poisoned() if owner == "gossip-3"} == set(played.net.hosts)


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_entry_digest_alone_leaves_no_dip(seed):
    """July's six flips with the digest and nothing else: each refused, nothing adopted, no request fails."""
    played = play(Rules(), seed=seed, defences=["entry-digest"])
    assert sum(host.core.detections["entry-digest"] for host in played.net.hosts.values()) == 6
    assert played.poisoned() == set()
    assert min(played.success(1 - played.over, 7).values()) == 1.0


@pytest.mark.parametrize("field", ["generation", "version"])
@pytest.mark.parametrize("defences", [[], ["value-bounds"]], ids=["off", "on"])
def test_value_bounds_stop_jumps_of_generation_and_version(field, defences):
    """A high bit of a generation or a version spreads everywhere and sticks without it, and nowhere with it."""
    flips = [BitFlip("gossip-1:gossip-2", message="state", field=f"gossip-3.{field}", bit=40)]
    played = play(Rules(), seed=1, defences=defences, flips=flips, length_s=3)
    holders = [name for name, host in played.net.hosts.items() if getattr(entry(host, "gossip-3"), field) >> 40]
    assert len(holders) == (0 if defences else len(played.net.hosts))
    assert sum(host.core.detections["value-bounds"] for host in played.net.hosts.values()) == len(defences)
    assert min(played.success(0, 2).values()) == 1.0


def entry(host, owner):
    return host.core.view.entries[owner]


def test_value_bounds_do_not_stop_addresses():
    """Every address is possible, so July happens with them as without."""
    played = play(Rules(), seed=1, defences=["value-bounds"])
    assert max(played.success(2.5, 7.5).values()) < 0.05


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_failed_peer_damping_prevents_the_collapse(seed):
    """With talk about failed members bounded the poison stays, and each region keeps at least 40 %."""
    played = play(Rules(), seed=seed, defences=["failed-peer-damping"])
    assert worst(played) >= 0.4
    assert played.poisoned()


def test_failed_peer_damping_bounds_the_measured_rate():
    """Reopenings, tells and verifications about one member stay within the bound on, and far beyond it off."""
    on, off = (play(Rules(), seed=1, defences=defences) for defences in (["failed-peer-damping"], []))

    def most(played, kind):
        return max(host.core.suspicion.talk[kind, "done"] for host in played.net.hosts.values())

    owners = 3
    bound = owners * (on.net.now / 2.0 + 1)
    for kind in ("reopen", "tell", "verify"):
        assert most(on, kind) <= bound
    assert most(off, "verify") > bound


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_gossip_alarm_fires_in_the_storm_and_names_a_poisoned_server(seed):
    """The first alarm comes within two seconds of the first flip; every node has one; none names a sound server."""
    played = play(Rules(), seed=seed, defences=["gossip-alarm"])
    owners = set(july_plan(Topology(), seed).owners)
    alarms = [(at, name, fields["culprit"]) for at, name, event, fields in played.net.log if event == "alarm"]
    assert alarms
    assert {culprit for _, _, culprit in alarms} <= owners
    assert alarms[0][0] - played.net.proxies.receipts()[0].sent < 2.0
    assert {name for _, name, _ in alarms} >= {name for name in played.net.hosts if name.startswith("gossip")}


def test_alarms_are_silent_in_a_clean_run():
    """Start, load and heartbeats raise nothing and refuse nothing, with every defence on."""
    defences = [d.name for d in DEFENCES.values() if d.of == "gossip"]
    played = play(Rules(), seed=6, defences=defences, flips=[], length_s=20)
    assert {event for _, _, event, _ in played.net.log} == {"request"}
    assert all(not host.core.detections for host in played.net.hosts.values())
    assert min(played.success(-1, 18).values()) == 1.0


def test_two_runs_of_a_seed_are_the_same():
    """Requests, logs and views of two runs agree to the last entry."""
    one, two = (play(Rules(), seed=3, length_s=2) for _ in range(2))
    assert one.load.ends == two.load.ends
    assert one.net.log == two.net.log
    assert [h.core.view.entries for h in one.net.hosts.values()] == [
        h.core.view.entries for h in two.net.hosts.values()
    ]
