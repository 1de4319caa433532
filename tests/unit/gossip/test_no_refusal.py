"""With every defence on, no good message is refused: however long a member has run, whatever its clocks did."""

import json
import time
from collections import Counter
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from straybit_nodes.defences import DEFENCES
from straybit_nodes.gossip import effects as fx
from straybit_nodes.gossip import kept as kept_module
from straybit_nodes.gossip.codec import Bad, Framer, encode
from straybit_nodes.gossip.core import Core, Origin
from straybit_nodes.gossip.kept import Kept
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.gossip.seal import key_of
from straybit_nodes.topology import GENERATION

ALL = [d.name for d in DEFENCES.values() if d.of == "gossip"]
RULES = Rules()
YEAR_S = 365.25 * 86_400
YEAR_BEATS = int(YEAR_S / RULES.heartbeat_interval_s)
NAMES = ("gossip-1", "gossip-2", "gossip-3")


def member(name, *, now=0.0, age_s=0.0, heartbeats=0, kept_generation=None, generation=GENERATION):
    origin = Origin(
        name=name,
        address=int(name[-1]),
        generation=generation,
        age_s=age_s,
        heartbeats=heartbeats,
        kept_generation=kept_generation,
        key=key_of(0),
    )
    others = {other: int(other[-1]) for other in NAMES if other != name}
    core = Core(origin, others, RULES, ALL, Random(name), now=now)
    core.resume(now, ticks=False)
    core.drain()
    return core


class Talk:
    """Exchanges over real frames, each member with a clock of its own."""

    def __init__(self):
        self.refused = []

    def exchange(self, caller, callee, at, there):
        """One exchange at the caller's time `at` and the callee's `there`."""
        caller.round(at, callee.name)
        (dial,) = [effect for effect in caller.drain() if isinstance(effect, fx.Dial)]
        far = callee.accepted(there)
        caller.connected(dial.id, at)
        for _ in range(4):
            self._carry(caller, callee, far, there)
            self._carry(callee, caller, dial.id, at)
        assert caller.exchanges["failed"] == 0

    def _carry(self, sender, receiver, conn, now):
        for effect in sender.drain():
            if isinstance(effect, fx.Send):
                (frame,) = Framer(checked=True).feed(encode(effect.message, sender.name, sealed=True))
                assert not isinstance(frame, Bad)
                receiver.received(conn, frame.sender, frame.message, now, frame.crc)


def detections(*cores):
    return sum((core.detections for core in cores), Counter())


def test_after_a_year_of_uptime():
    """A year of heartbeats later, two members that began together and one that restarts agree on everything."""
    one, two = member("gossip-1"), member("gossip-2")
    for core in (one, two):
        core.heartbeats = YEAR_BEATS - 1
        core._adopt_own(core._made(msgspec.structs.replace(core.view.entries[core.name], version=YEAR_BEATS - 1)))
        core.heartbeat()
        core.drain()
    talk = Talk()
    talk.exchange(one, two, YEAR_S, YEAR_S)
    three = member("gossip-3", now=YEAR_S, age_s=YEAR_S, heartbeats=YEAR_BEATS, kept_generation=GENERATION)
    talk.exchange(three, one, YEAR_S, YEAR_S)
    talk.exchange(two, three, YEAR_S, YEAR_S)
    assert detections(one, two, three) == Counter()
    assert {core.view.entries["gossip-1"].version for core in (one, two, three)} == {YEAR_BEATS}


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1 << 32))
def test_whatever_the_clocks_do(seed):
    """Members of years, restarted with clocks set back and forward by years, left and returned: nothing is refused."""
    rng = Random(seed)
    age = dict.fromkeys(NAMES, rng.uniform(0, 3) * YEAR_S)
    clock = dict.fromkeys(NAMES, 0.0)
    beats = {name: int(age[name] / RULES.heartbeat_interval_s * rng.uniform(0.9, 1)) for name in NAMES}
    cores = {name: member(name, age_s=age[name], heartbeats=beats[name], kept_generation=GENERATION) for name in NAMES}
    for core in cores.values():
        core._adopt_own(core._made(msgspec.structs.replace(core.view.entries[core.name], version=core.heartbeats)))
        core.drain()
    gone = Counter()
    talk = Talk()
    for _ in range(12):
        elapsed = rng.choice([0.1, 3600.0, 0.5 * YEAR_S])
        name = rng.choice(NAMES)
        for each in NAMES:
            clock[each] += elapsed
            age[each] += elapsed
            beaten = int(elapsed / RULES.heartbeat_interval_s * rng.uniform(0.9, 1))
            cores[each].heartbeats += beaten
            own = cores[each].view.entries[each]
            said = msgspec.structs.replace(own, version=own.version + beaten)
            cores[each]._adopt_own(cores[each]._made(said))
            cores[each].drain()
        core = cores[name]
        if rng.random() < 0.4:  # restart, with a wall clock that lies by years in either direction
            if rng.random() < 0.3:
                core.leave()
                gone[name] += 1
            wall = max(age[name] + rng.choice([-3, -0.1, 0.0, 0.1, 3]) * YEAR_S, 0.0)
            clock[name] = rng.uniform(0, 1e6)
            cores[name] = member(
                name,
                now=clock[name],
                age_s=wall,
                heartbeats=core.heartbeats,
                kept_generation=core.view.entries[name].generation,
                generation=GENERATION + gone[name],
            )
        for other in NAMES:
            if other != name:
                talk.exchange(cores[name], cores[other], clock[name], clock[other])
                talk.exchange(cores[other], cores[name], clock[other], clock[name])
    assert detections(*cores.values()) == Counter()


def test_a_member_with_a_new_disk_in_an_old_cluster():
    """After a year a member comes with nothing on its disk: it takes the others' word for the calendar at once."""
    one, two = (member(name, age_s=YEAR_S, heartbeats=YEAR_BEATS, kept_generation=GENERATION) for name in NAMES[:2])
    for core in (one, two):
        core._adopt_own(core._made(msgspec.structs.replace(core.view.entries[core.name], version=YEAR_BEATS)))
        core.drain()
    talk = Talk()
    talk.exchange(one, two, 0.0, 0.0)
    three = member("gossip-3")
    talk.exchange(three, one, 0.0, 0.0)
    assert detections(one, two, three) == Counter()
    assert three.view.entries["gossip-2"].version == YEAR_BEATS


@pytest.mark.parametrize("jump_s", [-10 * YEAR_S, -3600.0, 3600.0, 10 * YEAR_S])
def test_a_wall_clock_that_jumps_over_a_restart(tmp_path, monkeypatch, jump_s):
    """A clock set back cannot make a member look too young for its heartbeats: they are kept as well."""
    before = Kept(tmp_path)
    before.keep(GENERATION)
    before.beat(YEAR_BEATS)
    before.close()
    wall = time.time() + jump_s
    monkeypatch.setattr(kept_module.time, "time", lambda: wall)
    kept = Kept(tmp_path)
    again = member("gossip-1", age_s=kept.age_s, heartbeats=kept.heartbeats, kept_generation=kept.generation)
    assert kept.age_s >= 0
    kept.close()
    other = member("gossip-2", age_s=YEAR_S, heartbeats=YEAR_BEATS, kept_generation=GENERATION)
    other._adopt_own(other._made(msgspec.structs.replace(other.view.entries["gossip-2"], version=YEAR_BEATS)))
    other.drain()
    Talk().exchange(again, other, 0.0, 0.0)
    assert detections(again, other) == Counter()
    assert json.loads((tmp_path / "generation.json").read_text())["generation"] == GENERATION


def test_the_check_finds_a_bound_that_is_too_tight(monkeypatch):
    """The planted fault: a bound that allows for no uptime refuses honest members, and the year's test says so."""
    monkeypatch.setattr("straybit_nodes.gossip.bounds.ALLOWANCE_S", -2 * YEAR_S)
    with pytest.raises(AssertionError):
        test_after_a_year_of_uptime()
