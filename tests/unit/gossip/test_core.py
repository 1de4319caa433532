"""A gossip member as events see it: what it says, marks, tells, verifies and reopens."""

from random import Random

import pytest

from straybit_nodes.gossip import effects as fx
from straybit_nodes.gossip import messages as m
from straybit_nodes.gossip.codec import Bad
from straybit_nodes.gossip.core import Core, Origin
from straybit_nodes.gossip.places import Work
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.topology import GENERATION

PEERS = {f"gossip-{number}": number for number in range(2, 7)}


def made(rules=None, *, defences=(), balancer=False, ticks=False, **origin):
    core = Core(
        Origin(name="gossip-1", address=1, generation=GENERATION, balancer=balancer, **origin),
        PEERS,
        rules or Rules(),
        defences,
        Random(1),
        now=0.0,
    )
    core.resume(0.0, ticks=ticks)
    core.drain()
    return core


def entry(owner="gossip-2", **values):
    base = {"address": int(owner[-1]), "status": m.UP, "load": 0, "generation": GENERATION, "version": 1}
    return m.Entry(owner, **(base | values))


def dials(core):
    return [effect for effect in core.drain() if isinstance(effect, fx.Dial)]


def sent(core):
    return [effect.message for effect in core.drain() if isinstance(effect, fx.Send)]


def begin(core, peer="gossip-2", now=0.0):
    """An exchange with `peer` whose connection is up; its number."""
    core.round(now, peer)
    (dial,) = dials(core)
    assert dial.address == core.peers.address(peer)
    core.connected(dial.id, now)
    return dial.id


def learn(core, *entries, sender="gossip-6", now=0.0):
    core.received(core.accepted(now), sender, m.State(entries), now)


def fail(core, peer="gossip-2", now=0.0):
    """An exchange with `peer` that finds nobody."""
    core.round(now, peer)
    (dial,) = dials(core)
    core.lost(dial.id, now, "refused")


def test_an_exchange_from_the_callers_side():
    """Digest, then what is wanted and always the own entry, then the connection closes and the slot is free."""
    core = made()
    learn(core, entry("gossip-3"))
    core.drain()
    conn = begin(core)
    assert {row.owner for row in sent(core)[0].rows} == {"gossip-1", "gossip-3"}
    core.received(conn, "gossip-2", m.State((entry(),), ("gossip-3",)), 0.1)
    send, close = core.drain()[:2]
    assert [each.owner for each in send.message.entries] == ["gossip-1", "gossip-3"]
    assert close == fx.Close(conn)
    assert core.view.entries["gossip-2"].version == 1
    assert not core.places.busy
    assert core.exchanges == {"ok": 1, "failed": 0}


def test_an_exchange_from_the_callees_side_takes_no_slot():
    """With every slot and the queue full, a digest is still answered and its state merged."""
    core = made(Rules(slots=1, queue=0))
    core.round(0.0, "gossip-2")
    assert len(core.places.busy) == 1
    conn = core.accepted(0.0)
    core.received(conn, "gossip-3", m.Digest((entry("gossip-3").row,)), 0.0)
    (answer,) = sent(core)
    assert [each.owner for each in answer.entries] == ["gossip-1"]
    assert answer.wanted == ("gossip-3",)
    core.received(conn, "gossip-3", m.State((entry("gossip-3"),)), 0.0)
    assert "gossip-3" in core.view.entries
    assert core.inflight == 1


def test_heartbeats_keep_what_is_stored_and_count_apart():
    """A member believes a poisoned entry about itself: its heartbeat says it again, its origin stays known."""
    core = made()
    learn(core, entry("gossip-1", address=0x81, version=7))
    core.heartbeat()
    own = core.view.entries["gossip-1"]
    assert (own.address, own.version) == (0x81, 8)
    assert (core.address, core.heartbeats) == (1, 1)
    assert fx.Beat(1) in core.drain()


def test_an_owner_that_refutes_contradicts():
    """With that rule a foreign address about oneself is answered with the true one at a higher version."""
    core = made(Rules(owner_refutes=True))
    learn(core, entry("gossip-1", address=0x81, version=7))
    own = core.view.entries["gossip-1"]
    assert (own.address, own.version) == (1, 8)


def test_an_owner_sets_its_own_status():
    """A new status is originated and goes out with a higher version."""
    core = made()
    core.originate(3)
    own = core.view.entries["gossip-1"]
    assert (own.status, own.version, core.status) == (3, 1, 3)


def test_failure_marks_tells_and_verifies():
    """A failed exchange marks the peer, tells so many others, and is verified again so many times, 0.2 s apart."""
    core = made(Rules(tell_count=3, verify_retries=2))
    learn(core, entry(version=4))
    core.drain()
    fail(core, now=1.0)
    assert core.marks == {"gossip-2": (GENERATION, 4)}
    tells = dials(core)
    assert len({dial.address for dial in tells}) == 3
    assert 2 not in {dial.address for dial in tells}
    core.connected(tells[0].id, 1.0)
    assert sent(core) == [m.Failed("gossip-2", GENERATION, 4)]
    core.received(tells[0].id, "gossip-3", m.Ok(), 1.0)
    assert tells[0].id not in core.places.busy
    for tell in tells[1:]:
        core.lost(tell.id, 1.0, "reset")
    times = []
    while core.wake_at is not None:
        now = core.wake_at
        core.wake(now)
        for dial in dials(core):
            if dial.address == 2:
                times.append(round(now - 1.0, 6))
            core.lost(dial.id, now, "refused")
    assert times == [0.2, 0.4]


@pytest.mark.parametrize(("connects", "costs_s"), [(False, 0.5), (True, 1.0)])
def test_a_member_that_does_not_answer_costs_a_time_out(connects, costs_s):
    """Where nobody is, the connect time-out is all; a peer that is there has twice as long to answer."""
    core = made(Rules(tell_count=0, verify_retries=0))
    core.round(5.0, "gossip-2")
    conn = dials(core)[0].id
    if connects:
        core.connected(conn, 5.0)
    assert core.wake_at == 5.0 + costs_s
    core.wake(5.0 + costs_s)
    assert fx.Close(conn) in core.drain()
    assert "gossip-2" in core.marks
    assert core.wake_at is None


def test_a_balancer_only_marks():
    """A balancer neither tells nor verifies, and takes no notice of being told."""
    core = made(balancer=True)
    fail(core)
    assert set(core.marks) == {"gossip-2"}
    assert dials(core) == []
    assert core.wake_at is None
    conn = core.accepted(0.0)
    core.received(conn, "gossip-4", m.Failed("gossip-3", GENERATION, 1), 0.0)
    assert sent(core) == [m.Ok()]
    assert not core.places.busy


def test_who_is_told_verifies_unless_it_has_marked_the_peer():
    """Being told leads to an exchange of one's own, once; about a marked peer or oneself to nothing."""
    core = made()
    core.received(core.accepted(0.0), "gossip-4", m.Failed("gossip-2", GENERATION, 1), 0.0)
    assert [job.work for job in core.places.busy.values()] == [Work.VERIFY]
    core = made(Rules(tell_count=0, verify_retries=0))
    fail(core)
    for owner in ("gossip-2", "gossip-1", "gossip-9"):
        core.received(core.accepted(0.0), "gossip-4", m.Failed(owner, GENERATION, 1), 0.0)
    assert not core.places.busy


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("how", ["news", "contact"])
def test_good_news_about_a_marked_peer_reopens_its_case(how, on):
    """A newer entry, or a word from it, takes the mark away and is verified; without the rule it stays marked."""
    core = made(Rules(tell_count=0, verify_retries=0, reopen_on_news=on, reopen_on_contact=on))
    learn(core, entry(version=4))
    core.drain()
    fail(core)
    core.drain()
    if how == "news":
        learn(core, entry(version=5))
    else:
        core.received(core.accepted(0.0), "gossip-2", m.Digest(()), 0.0)
    assert ("gossip-2" not in core.marks) == on
    assert [job.work for job in core.places.busy.values()] == [Work.VERIFY] * on


def test_old_news_reopens_nothing():
    """An entry no newer than the mark leaves it."""
    core = made(Rules(tell_count=0, verify_retries=0))
    learn(core, entry(version=4))
    core.drain()
    fail(core)
    learn(core, entry(version=4, address=0xFF))
    assert core.view.entries["gossip-2"].address == 0xFF
    assert "gossip-2" in core.marks


def test_a_successful_exchange_unmarks():
    """A marked peer that answers is good again."""
    core = made(Rules(tell_count=0, verify_retries=0))
    fail(core)
    core.drain()
    conn = begin(core)
    core.received(conn, "gossip-2", m.State((entry(),)), 0.0)
    assert core.marks == {}


def test_an_answer_settles_what_was_to_be_verified():
    """Verifications of a peer that wait for a slot or for their time are dropped when it answers."""
    core = made(Rules(slots=1, tell_count=0))
    fail(core)
    core.round(0.0, "gossip-2")
    core.received(core.accepted(0.0), "gossip-2", m.Digest(()), 0.0)
    assert [job.work for job in core.places.waiting.values()] == [Work.VERIFY]
    assert core.wake_at == 0.2
    (conn,) = core.places.busy
    core.connected(conn, 0.0)
    core.received(conn, "gossip-2", m.State((entry(),)), 0.0)
    assert not core.places.waiting
    assert not core.places.busy
    assert core.wake_at == 2.0


def test_rounds_avoid_marked_peers_and_now_and_then_try_one():
    """Marked members are left out of rounds but for every tenth, so that one that returned is found."""
    core = made(Rules(tell_count=0, verify_retries=0, slots=None))
    fail(core)
    picked = []
    for _ in range(40):
        core.round(0.0)
        picked += [dial.address for dial in dials(core)]
    assert picked.count(2) == 4
    assert set(picked) == {2, 3, 4, 5, 6}


def test_contacts_limit_whom_a_member_speaks_to_first():
    """After a resume with contacts only those are partners, until others are learnt of."""
    core = made()
    core.stop(0.0)
    core.clear()
    core.resume(0.0, ["gossip-3"], ticks=False)
    assert core.peers.known() == ["gossip-3"]
    learn(core, entry("gossip-5"))
    assert core.peers.known() == ["gossip-3", "gossip-5"]


def test_a_leg_waits_for_place_and_exchange_and_holds_its_slot():
    """Granted after the exchange, the slot held until released; then whoever waited goes on."""
    core = made(Rules(slots=1))
    core.request(7, "gossip-2", 0.0)
    core.request(8, "gossip-3", 0.0)
    (dial,) = dials(core)
    core.connected(dial.id, 0.0)
    core.received(dial.id, "gossip-2", m.State((entry(),)), 0.0)
    assert fx.Answer(7, 2) in core.drain()
    assert dials(core) == []
    core.lost(dial.id, 0.0, "closed")
    core.release(7, 0.3)
    (following,) = dials(core)
    assert following.address == 3
    core.release(8, 0.4)
    assert fx.Close(following.id) in core.drain()
    assert not core.places.busy
    assert core.exchanges == {"ok": 1, "failed": 0}


@pytest.mark.parametrize(
    ("peer", "reason"), [("gossip-9", m.Reason.UNKNOWN), ("gossip-2", m.Reason.FAILED), ("gossip-3", m.Reason.FULL)]
)
def test_why_a_place_is_denied(peer, reason):
    """Unknown, failed or full: the storage node is told which, and nothing is held."""
    core = made(Rules(slots=1, queue=0, tell_count=0, verify_retries=0))
    fail(core)
    core.round(0.0, "gossip-4")
    conn = core.accepted(0.0)
    core.received(conn, "storage-1", m.Subscribe(), 0.0)
    core.drain()
    core.received(conn, "storage-1", m.Place(1, peer), 0.0)
    assert sent(core) == [m.Denied(1, reason)]


def test_a_place_whose_exchange_fails_is_denied():
    """The leg does not go where gossip could not."""
    core = made(Rules(tell_count=0, verify_retries=0))
    core.request(1, "gossip-2", 0.0)
    core.lost(dials(core)[0].id, 0.0, "refused")
    assert fx.Answer(1, None, m.Reason.FAILED) in core.drain()


def test_stopping_ends_everything_and_denies_who_waits():
    """All connections close, places are denied, nothing wakes it, and newcomers are turned away."""
    core = made(Rules(slots=1), ticks=True)
    core.request(1, "gossip-2", 0.0)
    core.request(2, "gossip-3", 0.0)
    inbound = core.accepted(0.0)
    core.drain()
    core.stop(1.0)
    effects = core.drain()
    assert {e.number for e in effects if isinstance(e, fx.Answer) and e.reason == m.Reason.STOPPED} == {1, 2}
    assert fx.Close(inbound) in effects
    assert core.wake_at is None
    assert core.inflight == 0
    late = core.accepted(2.0)
    assert core.drain() == [fx.Close(late)]


def test_only_a_member_that_is_not_running_can_be_cleared():
    """Clearing a running member is an error; a stopped one is left with its own entry as configured."""
    core = made()
    learn(core, entry(), entry("gossip-1", address=0x81, version=3))
    with pytest.raises(ValueError, match="stop it"):
        core.clear()
    core.stop(0.0)
    core.clear()
    assert list(core.view.entries.values()) == [entry("gossip-1", version=0)]


def test_ticks_make_rounds_and_heartbeats_at_their_rates():
    """In three seconds of ticks there are about twenty rounds and six heartbeats; off, there are none."""
    core = made(Rules(slots=None, connect_timeout_s=100.0), ticks=True)
    while core.wake_at <= 3.0:
        core.wake(core.wake_at)
    assert len(dials(core)) == pytest.approx(20, abs=1)
    assert core.heartbeats == pytest.approx(6, abs=1)
    core.tick(3.0, on=False)
    assert core.wake_at > 50


def test_a_silent_inbound_connection_is_closed():
    """Whoever connects and says nothing is closed after a while; a subscriber is kept."""
    core = made()
    silent, subscriber = core.accepted(0.0), core.accepted(0.0)
    core.received(subscriber, "storage-1", m.Subscribe(), 0.0)
    core.drain()
    assert core.wake_at == 2.0
    core.wake(2.0)
    assert core.drain() == [fx.Close(silent)]
    assert core.wake_at is None


def test_subscribers_hear_of_changes():
    """All entries at first, then what changed; a changed address at once, mere versions with the next round."""
    core = made(ticks=True)
    conn = core.accepted(0.0)
    core.received(conn, "storage-1", m.Subscribe(), 0.0)
    assert sent(core) == [m.State((entry("gossip-1", version=0),), (), replace=True)]
    learn(core, entry(address=9))
    assert sent(core)[-1] == m.State((entry("gossip-1", version=0), entry(address=9)))
    learn(core, entry(address=9, version=2))
    assert sent(core) == []
    core.wake(core.wake_at)
    core.wake(0.15)
    assert entry(address=9, version=2) in [
        each for state in sent(core) if isinstance(state, m.State) for each in state.entries
    ]


def test_a_refused_frame_is_counted_logged_and_fails_its_exchange():
    """The peer's connection closes, the defence is named, and the exchange counts as failed."""
    core = made(Rules(tell_count=0, verify_retries=0))
    conn = begin(core)
    core.drain()
    core.refused(conn, Bad("gossip-crc", "checksum", "state", "gossip-2", 0xABCD), 0.1)
    effects = core.drain()
    assert fx.Close(conn) in effects
    logged = [effect.fields for effect in effects if isinstance(effect, fx.Log) and effect.event == "refused"]
    assert logged == [{"defence": "gossip-crc", "from": "gossip-2", "kind": "state", "crc": 0xABCD, "why": "checksum"}]
    assert core.detections == {"gossip-crc": 1}
    assert core.exchanges["failed"] == 1


def test_an_answer_of_the_wrong_kind_fails_the_exchange():
    """A peer that answers a digest with something else is not believed."""
    core = made()
    conn = begin(core)
    core.received(conn, "gossip-2", m.Ok(), 0.0)
    assert core.exchanges["failed"] == 1
    assert "gossip-2" in core.marks


def test_a_kept_generation_is_what_a_restarted_member_says():
    """It says the generation it last believed, at version 0, and goes on counting its heartbeats."""
    core = made(heartbeats=40, kept_generation=GENERATION + 5)
    own = core.view.entries["gossip-1"]
    assert (own.generation, own.version, core.generation, core.heartbeats) == (GENERATION + 5, 0, GENERATION, 40)
    core.stop(0.0)
    core.clear()
    assert core.view.entries["gossip-1"].generation == GENERATION
    assert fx.Keep(GENERATION) in core.drain()


def test_verifications_that_wait_are_bounded():
    """More failures than the queue has room for leave no more verifications behind than it has."""
    core = made(Rules(queue=4, slots=None, tell_count=0))
    for peer in PEERS:
        core.round(0.0, peer)
    for dial in dials(core):
        core.lost(dial.id, 0.0, "refused")
    core.wake(1.0)
    assert len(dials(core)) == 4 < len(PEERS)
