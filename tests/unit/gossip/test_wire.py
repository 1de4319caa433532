"""The wire description of gossip: names, places and classes of every field."""

from importlib.metadata import entry_points
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from straybit_faults.wire import GUARD_CLASSES, FieldClass, Lost, Message
from straybit_nodes.gossip import messages as m
from straybit_nodes.gossip.codec import Framer, encode
from straybit_nodes.gossip.wire import WIRE

OWN = m.Entry("gossip-1", 0x0A010001, m.UP, 3, 1_216_540_800, 17)
OTHER = m.Entry("lb-1", 0x0A018001, m.UP, 0, 1_216_540_800, 4)
STATE = m.State((OTHER, OWN), ("gossip-3",))
MESSAGES = [
    m.Digest((OWN.row, OTHER.row), 1 << 40 | 3, 1 << 40 | 9, 2 << 40 | 4, 0xABCDEF),
    STATE,
    m.Failed("gossip-3", 1_216_540_800, 9),
    m.Place(1, "gossip-3"),
    m.Granted(1, 0x0A010003),
    m.Denied(1, m.Reason.FULL),
    m.Release(1),
    m.Subscribe(),
    m.Ok(),
]


def only(data: bytes | bytearray) -> Message:
    (message,) = WIRE.open().up.feed(data)
    assert isinstance(message, Message)
    return message


def flipped(frame: bytes, name: str, bit: int) -> bytearray:
    field = only(frame).field(name)
    byte, place = field.locate(bit)
    damaged = bytearray(frame)
    damaged[field.at + byte] ^= 1 << place
    return damaged


def test_the_entry_point_leads_here():
    """A proxy that knows only the installed entry points finds the gossip wire by its name."""
    (found,) = [each for each in entry_points(group="straybit.wires") if each.name == "gossip"]
    assert found.load() is WIRE


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_byte_has_exactly_one_name(message):
    """The fields of a message cover its bytes once, in order, and are those the kind may have."""
    frame = encode(message, "gossip-1", sealed=True)
    found = only(frame)
    ends = [0]
    for field in found.fields:
        assert field.at == ends[-1], field
        ends.append(field.at + field.length)
    assert ends[-1] == found.end == len(frame)
    known = {(name, cls, bits) for name, cls, bits in WIRE.fields(found.kind)}
    assert {(f.name.rpartition(".")[2], f.cls, 8 * f.length) for f in found.fields} <= known


@pytest.mark.parametrize(
    ("name", "bit", "field", "value"),
    [
        ("lb-1.address", 4, "address", OTHER.address ^ 0x10),
        ("lb-1.status", 0, "status", 0),
        ("lb-1.load", 9, "load", 512),
        ("lb-1.generation", 40, "generation", OTHER.generation ^ 1 << 40),
        ("lb-1.version", 62, "version", OTHER.version ^ 1 << 62),
        ("lb-1.owner", 1, "owner", "nb-1"),
    ],
)
def test_a_named_bit_is_the_bit_of_that_value(name, bit, field, value):
    """Bit n of OWNER.field is bit n of the value the receiver reads in that owner's entry."""
    damaged = flipped(encode(STATE, "gossip-1", sealed=False), name, bit)
    (frame,) = Framer(checked=False).feed(damaged)
    assert getattr(frame.message.entries[0], field) == value
    assert frame.message.entries[1] == OWN


def test_a_bare_name_means_the_senders_own_entry():
    """`version` without an owner is the field of the entry the sender speaks for, wherever it stands."""
    found = only(encode(STATE, "gossip-1", sealed=False))
    assert found.field("version") == found.field("gossip-1.version") != found.field("lb-1.version")
    assert found.field("gossip-3.wanted") is not None
    assert found.field("gossip-9.version") is None


def test_guard_bits_are_known_by_class():
    """Exactly the fields that decide how or whether a frame is read and checked are guards."""
    guards = {name for kind in WIRE.kinds for name, cls, _ in WIRE.fields(kind) if cls in GUARD_CLASSES}
    head = {"magic", "protocol", "type", "flags", "reserved", "length", "guard", "checksum"}
    assert guards == head | {"rows", "replace", "everything", "entries", "wants", "digest"}
    assert ("address", FieldClass.ADDRESS, 32) in WIRE.fields("state")


def test_resealing_makes_a_flip_pass_the_check():
    """A repaired flip is accepted by a receiver that checks; a frame without checksum stays without."""
    damaged = flipped(encode(STATE, "gossip-1", sealed=True), "version", 62)
    assert WIRE.reseal(damaged)
    (frame,) = Framer(checked=True).feed(damaged)
    assert frame.message.entries[1].version == OWN.version ^ 1 << 62
    renamed = flipped(encode(m.Release(1), "gossip-1", sealed=True), "type", 0)
    assert WIRE.reseal(renamed)
    assert [bad.by for bad in Framer(checked=True).feed(renamed)] == ["parse"]
    plain = bytearray(encode(STATE, "gossip-1", sealed=False))
    assert not WIRE.reseal(plain)
    assert plain == encode(STATE, "gossip-1", sealed=False)


@given(st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=4), st.lists(st.integers(0, 2000), max_size=8))
def test_cuts_do_not_matter_and_no_byte_leaves_too_soon(messages, cuts):
    """However the stream is cut, the same messages are announced, each before any of its bytes may leave."""
    stream = b"".join(encode(message, "gossip-1", sealed=True) for message in messages)
    whole = list(WIRE.open().down.feed(stream))
    parser = WIRE.open().down
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    found = []
    for a, b in pairwise(edges):
        found += parser.feed(stream[a:b])
        assert parser.hold == (found[-1].end if found else 0)
    assert found == whole
    assert len(found) == len(messages)


def test_after_garbage_it_is_lost_and_lets_everything_pass():
    """Garbage is said once, at its place; from then on nothing is held back."""
    good = encode(m.Ok(), "gossip-1", sealed=False)
    parser = WIRE.open().up
    events = parser.feed(good + b"GET / HTTP/1.1\r\n")
    assert [type(event) for event in events] == [Message, Lost]
    assert events[1].at == len(good)
    assert parser.hold == len(good) + 16
    assert list(parser.feed(good)) == []
    assert parser.hold == 2 * len(good) + 16


def test_an_unknown_kind_is_named():
    """Asking for the fields of a kind that is not there says which there are."""
    with pytest.raises(ValueError, match="digest, state"):
        WIRE.fields("statr")
