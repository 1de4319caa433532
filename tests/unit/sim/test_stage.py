"""Stepped gossip on virtual time: flips go through the proxy's own editor, and two runs are the same."""

import msgspec
import pytest

from straybit.faults import BitFlip
from straybit.oracle import Originated, wrong_values
from straybit.sim.stage import SimStage
from straybit.sim.weak import Weak
from straybit_nodes.gossip.codec import checksum
from straybit_nodes.gossip.core import Core
from straybit_nodes.gossip.layout import CHECKSUM_AT
from straybit_nodes.topology import GENERATION

LINK = "gossip-1:gossip-2"


def introduced(stage):
    first, *others = stage.members
    for name in (*others, *others):
        assert stage.exchange(name, first)
    for number, name in enumerate(stage.members):
        for _ in range(number + 2):
            stage.heartbeat(name)
    for name in stage.members[2:]:
        assert stage.exchange(name, first)
    return stage


def wrong(stage):
    addresses = {member.name: member.address for member in stage.topology.members()}
    truth = {name: Originated(addresses[name], 1, GENERATION, number + 2) for number, name in enumerate(stage.members)}
    return wrong_values(stage.views(), truth)


def flipped(defences=(), field="gossip-3.version", bit=62, **how):
    stage = introduced(SimStage(3, defences=defences))
    stage.arm([BitFlip(LINK, message="state", field=field, bit=bit, **how)])
    went_well = stage.exchange("gossip-1", "gossip-2")
    stage.disarm()
    return stage, went_well


def test_an_undefended_receiver_believes_a_flipped_version_and_spreads_it():
    """The receiver holds the poison after the flip, and everybody after talking to it."""
    stage, _ = flipped()
    assert {(w.holder, w.field) for w in wrong(stage)} == {("gossip-2", "version")}
    stage.exchange("gossip-1", "gossip-2")
    stage.exchange("gossip-3", "gossip-1")
    assert {w.holder for w in wrong(stage)} == set(stage.members)
    assert stage.noticed() == ()


def test_a_checksum_notices_by_the_crc_that_the_receipt_names():
    """With `gossip-crc` nothing is believed, and the refusal names the very frame."""
    stage, _ = flipped(["gossip-crc"])
    (receipt,) = stage.receipts()
    (noticed,) = stage.noticed()
    assert (noticed.by, noticed.service, noticed.detail) == ("gossip-crc", "gossip-2", f"crc {receipt.crc:08x}")
    assert receipt.flip == f"1/{LINK}/up/state/0/gossip-3.version/62"
    assert (receipt.before ^ receipt.after) == 1 << receipt.byte_bit
    assert receipt.sent <= receipt.delivered == stage.felt()[receipt.seq]
    assert wrong(stage) == ()


def test_a_repaired_flip_passes_the_checksum():
    """Damage from before the checksum was made is believed in spite of `gossip-crc`."""
    stage, _ = flipped(["gossip-crc"], repair=True)
    assert stage.noticed() == ()
    assert {w.holder for w in wrong(stage)} == {"gossip-2"}


def test_a_control_leaves_a_receipt_and_nothing_else():
    """A control changes no bit, and nobody notices anything."""
    stage, went_well = flipped(["gossip-crc"], control=True)
    (receipt,) = stage.receipts()
    assert receipt.control
    assert went_well
    assert (stage.noticed(), wrong(stage)) == ((), ())


def test_an_inflated_length_ends_as_a_frame_cut_short():
    """The end of the stream is judged as on a socket: a length that asks for more than comes is a parse error."""
    stage, _ = flipped(field="length", bit=3)
    assert [noticed.by for noticed in stage.noticed()] == ["parse"]
    assert wrong(stage) == ()


def test_a_flip_downwards_fails_the_exchange_and_settles():
    """A reply that is refused fails its exchange; the next one is fine and nobody stays marked."""
    stage, went_well = flipped(["gossip-crc"], field="gossip-2.version", direction="down")
    assert not went_well
    assert stage.exchange("gossip-1", "gossip-2")
    assert not any(stage.marked().values())


def test_an_address_that_nobody_has_costs_the_time_out():
    """A poisoned address is a black hole: the exchange fails after the connect time-out, in virtual time."""
    stage, _ = flipped(field="gossip-3.address", bit=30)
    began = stage.now()
    assert not stage.exchange("gossip-2", "gossip-3")
    assert stage.now() - began >= 0.25
    assert "gossip-3" in stage.marked()["gossip-2"]


def test_a_message_that_never_comes_leaves_no_receipt_and_says_what_came():
    """Of an ordinal that is not reached there is no receipt; what did come is counted by kind."""
    stage, _ = flipped(ordinal=7)
    assert stage.receipts() == ()
    assert stage.came() == {"digest": 1, "state": 1}


def test_a_restart_keeps_the_generation_and_forgets_the_rest():
    """A poisoned generation is on its owner's disk; what the owner knew of others is gone until they talk."""
    stage, _ = flipped(field="gossip-3.generation", bit=40)
    stage.exchange("gossip-3", "gossip-2")
    stage.kill("gossip-3")
    assert "gossip-3" not in stage.views()
    stage.start("gossip-3")
    view = stage.views()["gossip-3"]
    assert set(view) == {"gossip-3"}
    assert view["gossip-3"].generation != GENERATION


def test_carrying_every_message_as_bytes_changes_nothing():
    """Objects on links without a toxic are a short cut: views, times and receipts are those of bytes everywhere."""
    one, two = (introduced(SimStage(6, defences=["gossip-crc"], bytewise=each)) for each in (False, True))
    for stage in (one, two):
        stage.arm([BitFlip(LINK, message="state", field="gossip-5.address", bit=3)])
        for caller, callee in (("gossip-1", "gossip-2"), ("gossip-2", "gossip-6"), ("gossip-5", "gossip-2")):
            stage.exchange(caller, callee)
    assert one.views() == two.views()
    assert one.now() == two.now()
    assert one.receipts() == two.receipts()
    assert one.noticed() == two.noticed()


def test_recorded_frames_are_those_that_the_nodes_send():
    """What is heard is the frame as sent, sealed where checksums are on, with its ordinal."""
    stage = introduced(SimStage(3, defences=["gossip-crc"], record=True))
    stage.arm([])
    stage.exchange("gossip-1", "gossip-2")
    heard = [each for each in stage.heard() if each.link == LINK]
    assert [(each.direction, each.kind, each.ordinal) for each in heard] == [
        ("up", "digest", 0),
        ("down", "state", 0),
        ("up", "state", 0),
    ]
    for each in heard:
        assert int.from_bytes(each.frame[CHECKSUM_AT : CHECKSUM_AT + 4]) == checksum(each.frame)


def test_two_runs_of_a_seed_are_identical_to_the_byte():
    """Everything that can be seen of two stages of a seed encodes to the same bytes."""

    def seen():
        stage, _ = flipped(["gossip-crc", "value-bounds"], field="gossip-3.generation", bit=50, repair=True)
        return msgspec.json.encode([stage.receipts(), stage.noticed(), stage.views(), stage.net.log, stage.now()])

    assert seen() == seen()


def test_a_fresh_stage_knows_nothing_of_the_last_trial():
    """After `fresh` nobody knows anybody, nothing is armed, and nothing was noticed."""
    stage, _ = flipped()
    stage.fresh()
    assert {name: set(view) for name, view in stage.views().items()} == {name: {name} for name in stage.members}
    assert stage.receipts() == ()
    assert stage.net.proxies.toxics() == {}


class Touchy(Core):
    """A node that ends when it is told of a load of more than a thousand."""

    def received(self, conn, sender, message, now, crc=0):
        if any(entry.load > 1000 for entry in getattr(message, "entries", ())):
            raise MemoryError("no room for so much load")
        super().received(conn, sender, message, now, crc)


def test_a_weak_node_whose_code_raises_is_gone():
    """A planted hole that kills its process shows as an exit of that node, and its peers see it dead."""
    stage = introduced(SimStage(3, weak=Weak(core=Touchy)))
    stage.arm([BitFlip(LINK, message="state", field="gossip-3.load", bit=12)])
    stage.exchange("gossip-1", "gossip-2")
    assert stage.exits() == ("gossip-2",)
    assert set(stage.views()) == {"gossip-1", "gossip-3"}
    assert not stage.exchange("gossip-1", "gossip-2")


def test_a_sound_node_whose_code_raises_is_an_error_of_ours(monkeypatch):
    """Only planted weaknesses may end a node quietly; a mistake in the real core is raised."""
    stage = introduced(SimStage(3))
    monkeypatch.setattr(Core, "received", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        stage.exchange("gossip-1", "gossip-2")
