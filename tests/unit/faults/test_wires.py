"""What every wire promises, and what each of `raw`, `resp` and `framed` finds in a stream."""

from __future__ import annotations

import zlib
from typing import Any

import google_crc32c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from straybit_faults.wire import FieldClass, Lost, Message, Part
from straybit_faults.wires import find_wire, wire_names
from straybit_faults.wires.framed import Checksum, Framed
from straybit_faults.wires.framed import Part as Declared
from straybit_faults.wires.resp import MAX_DEPTH, MAX_HELD

SAMPLES = {
    "http1": (
        b"PUT /b/k HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ),
    "resp": (
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nhello\r\nPING\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
        b"+OK\r\n$5\r\nhello\r\n*2\r\n:1\r\n*1\r\n$-1\r\n>2\r\n+a\r\n+b\r\n%1\r\n+k\r\n#t\r\n|1\r\n+x\r\n:1\r\n_\r\n",
    ),
    "framed": (b"\0\0\0\5hello\0\0\0\0\0\0\0\3abc", b"\0\0\0\1x"),
    "raw": (b"anything", b"at all"),
}


def read(parser: Any, pieces: list[bytes]) -> list[Any]:
    """Every event, with the parts of one field put together."""
    events: list[Any] = []
    fed = 0
    for piece in pieces:
        new = parser.feed(piece)
        for event in new:
            for field in event.fields if isinstance(event, Message) else ():
                assert field.at >= 0
        fed += len(piece)
        assert 0 <= parser.hold <= fed
        events += new
    merged: list[Any] = []
    for event in events:
        last = merged[-1] if merged else None
        adjoining = isinstance(last, Part) and isinstance(event, Part) and last.at + last.length == event.at
        if adjoining and last.field == event.field:
            merged[-1] = Part(last.field, last.start, last.at, last.length + event.length)
        else:
            merged.append(event)
    return merged


@st.composite
def cuts(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """`data` in pieces."""
    places = sorted(set(draw(st.lists(st.integers(0, len(data)), max_size=10))))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@pytest.mark.parametrize("name", sorted(SAMPLES))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_cuts_change_nothing_that_a_wire_says(name: str, data: st.DataObject) -> None:
    """The same events at the same offsets, and no byte of a field leaves before it has its name."""
    up, down = SAMPLES[name]
    whole = find_wire(name).open()
    expected = [read(whole.up, [up]), read(whole.down, [down])]
    cut = find_wire(name).open()
    assert [read(cut.up, data.draw(cuts(up))), read(cut.down, data.draw(cuts(down)))] == expected


@pytest.mark.parametrize("name", sorted(SAMPLES))
@settings(max_examples=60, deadline=None)
@given(noise=st.lists(st.binary(max_size=40), max_size=8))
def test_noise_is_lost_at_most_once_and_breaks_nothing(name: str, noise: list[bytes]) -> None:
    """Whatever comes, a parser answers with events, holds no more than it was fed, and is lost once."""
    conversation = find_wire(name).open()
    for parser in (conversation.up, conversation.down):
        events = read(parser, noise)
        assert sum(isinstance(event, Lost) for event in events) <= 1


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_a_wire_tells_its_kinds_and_fields(name: str) -> None:
    """Every kind has fields with a class, and the registry finds the wire by its own name."""
    wire = find_wire(name)
    assert wire.name == name
    assert name in wire_names()
    assert all(isinstance(cls, FieldClass) for kind in wire.kinds for _, cls, _ in wire.fields(kind))
    assert not wire.reseal(bytearray(b"no checksum"))


def texts(name: str, up: bytes, down: bytes = b"") -> list[tuple[str, dict[str, bytes]]]:
    """Kind and field texts of every message."""
    conversation = find_wire(name).open()
    found = []
    for parser, stream in ((conversation.up, up), (conversation.down, down)):
        for event in parser.feed(stream):
            if isinstance(event, Message):
                fields = {f.name: stream[f.at : f.at + f.length] for f in event.fields if f.length is not None}
                found.append((event.kind, fields))
    return found


def test_resp_names_commands_and_replies() -> None:
    """Arguments, nested replies, pushes and words typed by hand."""
    found = texts("resp", *SAMPLES["resp"])
    assert found == [
        ("command", {"count": b"3", "name": b"SET", "arg1": b"k", "arg2": b"hello"}),
        ("command", {"name": b"PING"}),
        ("command", {"count": b"2", "name": b"GET", "arg1": b"k"}),
        ("reply", {"type": b"+", "value": b"OK"}),
        ("reply", {"type": b"$", "value": b"hello"}),
        ("reply", {"type": b"*", "count": b"2", "item0": b"1"}),
        ("push", {"type": b">", "count": b"2", "item0": b"a", "item1": b"b"}),
        ("reply", {"type": b"%", "count": b"1", "item0": b"k", "item1": b"t"}),
        ("reply", {"type": b"|", "count": b"1", "item0": b"x", "item1": b"1", "item2": b""}),
    ]


def test_resp_lets_a_large_last_value_pass() -> None:
    """A command is announced when its last length is known; its value is not held."""
    parser = find_wire("resp").open().up
    start = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$9000000\r\n"
    (message,) = parser.feed(start)
    assert message.end == len(start) + 9_000_002
    assert message.identity == "SET k"
    assert parser.hold == len(start)
    assert not parser.feed(bytes(9_000_000) + b"\r\n")
    assert [event.kind for event in parser.feed(b"PING\r\n")] == ["command"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"*x\r\n", "where a length should be"),
        (b"*2\r\n?\r\n", "where a type should be"),
        (b"*1\r\n" * (MAX_DEPTH + 1), "nested deeper"),
        (b"*2\r\n$%d\r\nx" % (2 * MAX_HELD), "a message of more than"),
        (b"*" + b"1" * 70_000, "a line of more than"),
    ],
)
def test_resp_is_lost_where_it_would_have_to_guess(text: bytes, why: str) -> None:
    """One Lost with its reason, and nothing is held any more."""
    parser = find_wire("resp").open().up
    (lost,) = parser.feed(text)
    assert why in lost.reason
    assert parser.hold == len(text)


def test_framed_by_declaration() -> None:
    """Kinds by a byte, a little-endian length that counts all, a checksum that can be made again."""
    wire = Framed(
        name="mine",
        parts=(
            Declared("kind", 0, 1, FieldClass.TYPE, number=True),
            Declared("length", 1, 2, FieldClass.LENGTH, number=True),
            Declared("sum", 3, 4, FieldClass.CHECKSUM, number=True),
            Declared("body", 7),
        ),
        length_at=1,
        length_size=2,
        length_adds=0,
        little=True,
        kind_at=0,
        kind_names={1: "put"},
        checksum=Checksum(3),
    )
    frame = bytearray(b"\1\x0a\0\0\0\0\0abc")
    assert wire.reseal(frame)
    zeroed = bytes(frame[:3]) + bytes(4) + bytes(frame[7:])
    assert int.from_bytes(frame[3:7], "big") == google_crc32c.value(zeroed)
    put, other = wire.open().up.feed(bytes(frame) + b"\2\7\0....")
    assert (put.kind, put.end, other.kind, other.end) == ("put", 10, "frame", 17)
    body = put.field("body")
    assert (body.at, body.length) == (7, 3)
    assert other.field("body") is None


def test_framed_with_the_older_checksum() -> None:
    """CRC32 as zlib has it."""
    wire = Framed(name="z", parts=(Declared("all", 0),), checksum=Checksum(4, "crc32"))
    frame = bytearray(b"\0\0\0\6....ab")
    assert wire.reseal(frame)
    assert int.from_bytes(frame[4:8], "big") == zlib.crc32(b"\0\0\0\6\0\0\0\0ab")


def test_framed_is_lost_at_an_impossible_length() -> None:
    """Beyond the largest frame there is nothing to read on from."""
    parser = find_wire("framed").open().up
    (lost,) = parser.feed(b"\xff\xff\xff\xff????")
    assert "16777216" in lost.reason
