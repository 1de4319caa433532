"""Frames there and back, cut anywhere, damaged anywhere."""

from itertools import pairwise

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from straybit_nodes.gossip import messages as m
from straybit_nodes.gossip.codec import Bad, Frame, Framer, checksum, encode
from straybit_nodes.gossip.layout import BODIES, HEADER, MAX_BODY

U8, U16, U32, U64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))
NAMES = st.from_regex(r"[A-Za-z0-9._-]{1,16}", fullmatch=True)
ENTRIES = st.builds(m.Entry, NAMES, U32, U8, U16, U64, U64, U64)
ROWS = st.builds(m.Row, NAMES, U64, U64, U64)
MESSAGES = st.one_of(
    st.builds(m.Digest, st.lists(ROWS, max_size=5).map(tuple), U64, U64, U64, U64),
    st.builds(
        m.State,
        st.lists(ENTRIES, max_size=5).map(tuple),
        st.lists(NAMES, max_size=3).map(tuple),
        st.booleans(),
        st.booleans(),
        U64,
    ),
    st.builds(m.Failed, NAMES, U64, U64),
    st.builds(m.Place, U32, NAMES),
    st.builds(m.Granted, U32, U32),
    st.builds(m.Denied, U32, U8),
    st.builds(m.Release, U32),
    st.just(m.Subscribe()),
    st.just(m.Ok()),
)
ENTRY = m.Entry("gossip-2", 0x0A010002, m.UP, 7, 1_216_540_800, 41)
SAMPLES = [
    m.Digest((ENTRY.row, m.Row("lb-1", 1, 2, 3))),
    m.State((ENTRY,), ("gossip-3", "lb-1")),
    m.Failed("gossip-3", 1_216_540_800, 9),
    m.Place(1, "gossip-3"),
    m.Granted(1, 0x0A010003),
    m.Denied(1, m.Reason.FULL),
    m.Release(1),
    m.Subscribe(),
    m.Ok(),
]


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(MESSAGES, st.booleans())
def test_a_message_comes_back_as_it_was(message, sealed):
    """Decoding what was encoded gives the same message and sender, with a checksum and without."""
    frame = encode(message, "gossip-1", sealed=sealed)
    (found,) = Framer(checked=sealed).feed(frame)
    assert isinstance(found, Frame)
    assert (found.message, found.sender, found.size) == (message, "gossip-1", len(frame))


@given(st.lists(MESSAGES, max_size=4), st.lists(st.integers(0, 10_000), max_size=8), st.booleans())
def test_cuts_do_not_matter(messages, cuts, sealed):
    """However a stream is cut, the same messages come out, and nothing is left over."""
    stream = b"".join(encode(message, "lb-1", sealed=sealed) for message in messages)
    framer = Framer(checked=sealed)
    found = [frame for piece in pieces(stream, cuts) for frame in framer.feed(piece)]
    assert [frame.message for frame in found] == messages
    assert framer.end() is None


@pytest.mark.parametrize("cuts", [[], [10, 15, 37, 40]], ids=["whole", "cut"])
@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_no_flipped_bit_passes_a_checksum(message, cuts):
    """Every single bit of a sealed frame is refused by `gossip-crc` by name, those that say where it ends included."""
    frame = encode(message, "gossip-1", sealed=True)
    for bit in range(8 * len(frame)):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        framer = Framer(checked=True)
        found = [bad for piece in pieces(bytes(damaged), cuts) for bad in framer.feed(piece)]
        assert [getattr(each, "by", each) for each in found] == ["gossip-crc"], f"bit {bit}"
        assert framer.end() is None


def test_a_length_that_contradicts_the_counts_is_seen_at_once():
    """Without checksums, a frame whose length grew by a flip is refused before the connection ends."""
    frame = bytearray(encode(SAMPLES[1], "gossip-1", sealed=False))
    frame[HEADER.offset("length") + 2] ^= 1
    (bad,) = Framer(checked=False).feed(frame)
    assert (bad.by, bad.kind, bad.sender) == ("parse", "state", "gossip-1")


def test_a_checked_frame_that_is_cut_short_is_told_from_a_flipped_one():
    """A stream that ends too soon has no wrong checksum: it is a parse error."""
    framer = Framer(checked=True)
    assert framer.feed(encode(SAMPLES[1], "gossip-1", sealed=True)[:-1]) == []
    assert framer.end().by == "parse"


def test_a_frame_without_checksum_is_refused_where_one_is_due():
    """An absent checksum is refused even if its field happens to be right."""
    frame = bytearray(encode(m.Ok(), "gossip-1", sealed=False))
    at = HEADER.offset("guard")
    for stored in (bytes(8), google_crc32c.value(bytes(frame[:at])).to_bytes(4) + checksum(frame).to_bytes(4)):
        frame[at : at + 8] = stored
        (bad,) = Framer(checked=True).feed(frame)
        assert bad.by == "gossip-crc"


def test_without_the_defence_a_flipped_value_is_believed():
    """With checksums off, a payload bit passes, whatever the flags and the checksum say."""
    sent = m.State((ENTRY,))
    frame = bytearray(encode(sent, "gossip-1", sealed=True))
    frame[-9] ^= 1
    (found,) = Framer(checked=False).feed(frame)
    assert found.message != sent
    assert found.message.entries[0].version == ENTRY.version ^ 1


@pytest.mark.parametrize(
    ("field", "byte", "why"),
    [("magic", 0, "magic"), ("protocol", 0, "protocol"), ("type", 0, "type"), ("length", 3, "should have")],
)
def test_structure_is_always_checked(field, byte, why):
    """Without checksums, damage to the frame's structure is a parse error that says what is wrong."""
    frame = bytearray(encode(SAMPLES[1], "gossip-1", sealed=False))
    frame[HEADER.offset(field) + byte] ^= 0x10 if field == "type" else 0x01
    if field == "length":
        frame[HEADER.offset("length") + 3] -= 2
    framer = Framer(checked=False)
    (bad,) = framer.feed(frame)
    assert bad.by == "parse"
    assert why in bad.why
    assert framer.feed(encode(m.Ok(), "gossip-1", sealed=False)) == []


def test_the_bound_on_a_frame_holds_at_the_limit():
    """A length of one more than the bound is refused from the header alone; the bound itself is waited for."""
    frame = bytearray(encode(SAMPLES[1], "gossip-1", sealed=False))[: HEADER.packed.size]
    at = HEADER.offset("length")
    frame[at : at + 4] = (MAX_BODY + 1).to_bytes(4)
    assert isinstance(Framer(checked=False).feed(frame)[0], Bad)
    frame[at : at + 4] = MAX_BODY.to_bytes(4)
    assert Framer(checked=False).feed(frame) == []


@given(st.binary(max_size=300), st.booleans())
def test_rubbish_never_raises(data, checked):
    """Any bytes are answered with frames or one refusal, never an exception."""
    framer = Framer(checked=checked)
    found = framer.feed(data)
    assert all(isinstance(each, Frame | Bad) for each in found)
    assert sum(isinstance(each, Bad) for each in found) + (framer.end() is not None) <= 1


@pytest.mark.parametrize("name", ["", "a" * 17, "gossip 1", "gössip"])
def test_a_name_that_cannot_go_is_refused(name):
    """Names that the layout cannot hold are an error of the caller, not a damaged frame."""
    with pytest.raises(ValueError, match="member's name"):
        encode(m.Place(1, name), "gossip-1", sealed=False)


def test_an_entry_is_as_long_as_the_layout_says():
    """The frame is a header of 34 bytes and entries of 47: the figures in the docs."""
    assert HEADER.packed.size == 34
    assert BODIES["state"].lists[0][1].packed.size == 47
