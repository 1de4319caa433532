"""A fault lands on exactly the bit it was aimed at, however TCP cuts the stream."""

from __future__ import annotations

import itertools
import os
import socket
from dataclasses import dataclass, field
from typing import Any

import google_crc32c
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from straybit_faults.flip import Flip
from straybit_faults.proxy.editor import Editor, Reader
from straybit_faults.proxy.events import EventLog
from straybit_faults.proxy.receipts import ReceiptBook
from straybit_faults.receipt import Receipt
from straybit_faults.toxics import TOXICS, Armed, Matcher
from straybit_faults.wire import Direction, FieldClass
from straybit_faults.wires import find_wire
from straybit_faults.wires.framed import Checksum, Framed, Part

TOKEN = st.text("abcXYZ019-", min_size=1, max_size=8)
BODY = st.binary(max_size=60)


@dataclass
class Spot:
    """One message: what it is and the stream offsets of each field's bytes."""

    direction: str
    kind: str
    ordinal: int
    identity: str
    fields: dict[str, list[int]] = field(default_factory=dict)


@dataclass
class Script:
    """Both directions of one connection."""

    up: bytearray = field(default_factory=bytearray)
    down: bytearray = field(default_factory=bytearray)
    spots: list[Spot] = field(default_factory=list)

    def open(self, direction: str, kind: str, identity: str) -> Spot:
        """A new message of `kind`."""
        ordinal = sum(spot.kind == kind for spot in self.spots)
        self.spots.append(Spot(direction, kind, ordinal, identity))
        return self.spots[-1]

    def put(self, spot: Spot, text: bytes, name: str | None = None) -> None:
        """Append bytes, which belong to the field `name`."""
        stream = self.up if spot.direction == "up" else self.down
        if name is not None and text:
            spot.fields.setdefault(name, []).extend(range(len(stream), len(stream) + len(text)))
        stream += text


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    """One to four exchanges on one connection."""
    script = Script()
    for _ in range(draw(st.integers(1, 4))):
        method = draw(st.sampled_from([b"GET", b"HEAD", b"PUT", b"POST", b"DELETE"]))
        _request(draw, script, method)
        _reply(draw, script, method)
    return script


def _request(draw: st.DrawFn, script: Script, method: bytes) -> None:
    target = b"/b/" + draw(TOKEN).encode()
    spot = script.open("up", "request", f"{method.decode()} {target.decode()}")
    script.put(spot, b"\r\n" * draw(st.integers(0, 1)))
    script.put(spot, method, "method")
    script.put(spot, b" ")
    script.put(spot, target, "target")
    script.put(spot, b" ")
    script.put(spot, b"HTTP/1.1", "version")
    script.put(spot, b"\r\n")
    expects = draw(st.booleans())
    if expects:
        script.put(spot, b"Expect: ")
        script.put(spot, b"100-continue", "header.expect")
        script.put(spot, b"\r\n")
    _rest(draw, script, spot, draw(st.sampled_from(["none", "length", "chunked"])))
    if expects:
        _status(script, script.open("down", "continue", spot.identity), b"100", b"Continue")
        script.put(script.spots[-1], b"\r\n")


def _reply(draw: st.DrawFn, script: Script, method: bytes) -> None:
    status = draw(st.sampled_from([b"200", b"204", b"304", b"404"]))
    spot = script.open("down", "reply", script.spots[-1].identity)
    _status(script, spot, status, draw(st.sampled_from([b"OK", b"", b"Not Really"])))
    if method == b"HEAD" or status in (b"204", b"304"):
        script.put(spot, draw(st.sampled_from([b"", b"X-Length: 5\r\n"])))
        if method == b"HEAD" and draw(st.booleans()):
            script.put(spot, b"Content-Length: ")
            script.put(spot, b"12", "header.content-length")
            script.put(spot, b"\r\n")
        script.put(spot, b"\r\n")
        spot.fields.pop("header.x-length", None)
    else:
        _rest(draw, script, spot, draw(st.sampled_from(["length", "chunked"])))


def _status(script: Script, spot: Spot, status: bytes, reason: bytes) -> None:
    script.put(spot, b"HTTP/1.1", "version")
    script.put(spot, b" ")
    script.put(spot, status, "status")
    script.put(spot, b" ")
    script.put(spot, reason, "reason")
    script.put(spot, b"\r\n")


def _rest(draw: st.DrawFn, script: Script, spot: Spot, framing: str) -> None:
    """Headers, the blank line and the body."""
    name = draw(TOKEN).encode()
    value = draw(TOKEN).encode()
    script.put(spot, b"X-" + name + b":" + draw(st.sampled_from([b"", b" ", b" \t"])))
    script.put(spot, value, f"header.x-{name.decode().lower()}")
    script.put(spot, draw(st.sampled_from([b"\r\n", b" \r\n"])))
    if framing == "length":
        body = draw(BODY)
        script.put(spot, b"Content-Length: ")
        script.put(spot, str(len(body)).encode(), "header.content-length")
        script.put(spot, b"\r\n\r\n")
        script.put(spot, body, "body")
    elif framing == "chunked":
        script.put(spot, b"Transfer-Encoding: ")
        script.put(spot, b"chunked", "header.transfer-encoding")
        script.put(spot, b"\r\n\r\n")
        for chunk in draw(st.lists(st.binary(min_size=1, max_size=40), max_size=3)):
            script.put(spot, b"%x" % len(chunk) + draw(st.sampled_from([b"", b";ext=1"])) + b"\r\n")
            script.put(spot, chunk, "body")
            script.put(spot, b"\r\n")
        script.put(spot, b"0\r\n" + draw(st.sampled_from([b"", b"X-Trailer: 1\r\n"])) + b"\r\n")
    else:
        script.put(spot, b"\r\n")


def cut(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """`data` in random pieces."""
    if len(data) < 2:
        return [bytes(data)] if data else []
    places = sorted(set(draw(st.lists(st.integers(1, len(data) - 1), max_size=12))))
    return [bytes(data[a:b]) for a, b in zip([0, *places], [*places, len(data)], strict=True)]


class Sink:
    """What an editor believes to be a stream: keeps the bytes that come out."""

    def __init__(self, direction: Direction) -> None:
        self.direction = direction
        self.number = 0
        self.accepted = 0
        self.out = bytearray()

    def push(self, data: memoryview) -> None:
        self.out += data

    def end(self) -> None:
        pass

    def add(self, offset: int, receipt: Receipt) -> None:
        assert offset == receipt.bytes[-1][0]


def edit(
    pieces: dict[Direction, list[bytes]], kind: str, direction: Direction, *, using: Any = None, **attributes: Any
) -> Any:
    """Both directions through editors, with one content toxic; answers the bytes that came out, and the receipts."""
    toxic: Any = TOXICS[kind](**attributes)
    if using is None:
        toxic.check()
    matcher = Matcher(Armed("t", kind, direction, toxic, toxicity=1, since=0), "a:b")
    book = ReceiptBook()
    wire = using or find_wire("http1")
    conversation = wire.open()
    out = {}
    for way, parser in ((Direction.UP, conversation.up), (Direction.DOWN, conversation.down)):
        sink: Any = Sink(way)
        editor = Editor(sink, book, EventLog(), proxy="a:b", base=0, watch=sink)
        editor.next = sink
        editor.add_reader(Reader(wire, parser, 0))
        editor.arm([matcher] if way is direction else [])
        for piece in pieces[way]:
            editor.push(memoryview(bytearray(piece)))
        editor.end()
        out[way] = bytes(sink.out)
    return out, list(book.receipts)


def differing_bits(before: bytes, after: bytes) -> list[tuple[int, int]]:
    """(offset, bit) of every bit that is not the same."""
    assert len(before) == len(after)
    return [
        (at, bit) for at, (a, b) in enumerate(zip(before, after, strict=True)) for bit in range(8) if (a ^ b) >> bit & 1
    ]


@st.composite
def aimed(draw: st.DrawFn) -> tuple[Script, dict[Direction, list[bytes]], Spot, str, int]:
    """A script, its pieces, and a bit of a field of one of its messages."""
    script = draw(scripts())
    spot = draw(st.sampled_from(script.spots))
    assume(spot.fields)
    name = draw(st.sampled_from(sorted(spot.fields)))
    bit = draw(st.integers(0, 8 * len(spot.fields[name]) - 1))
    pieces = {Direction.UP: cut(draw, bytes(script.up)), Direction.DOWN: cut(draw, bytes(script.down))}
    return script, pieces, spot, name, bit


EXAMPLES = int(os.environ.get("STRAYBIT_EXAMPLES", "80"))
NUMBERS = itertools.count()
QUICK = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


@QUICK
@given(aimed())
def test_a_flip_by_field_changes_that_bit_and_no_other(case: Any) -> None:
    """Whatever the cuts, the receiver's bytes differ in the bit that was aimed at, and the receipt names it."""
    script, pieces, spot, name, bit = case
    way = Direction(spot.direction)
    out, receipts = edit(
        pieces, "bitflip", way, wire="http1", message=spot.kind, ordinal=spot.ordinal, field=name, bit=bit
    )
    sent = {Direction.UP: bytes(script.up), Direction.DOWN: bytes(script.down)}
    offset = spot.fields[name][bit // 8]
    assert differing_bits(sent[way], out[way]) == [(offset, bit % 8)]
    other = Direction.DOWN if way is Direction.UP else Direction.UP
    assert out[other] == sent[other]
    (receipt,) = receipts
    assert (receipt.offset, receipt.byte_bit, receipt.field_bits) == (offset, bit % 8, [bit])
    assert (receipt.message, receipt.ordinal, receipt.identity) == (spot.kind, spot.ordinal, spot.identity)
    assert (receipt.before, receipt.after) == (sent[way][offset], out[way][offset])
    assert bytes.fromhex(receipt.context)[offset - receipt.context_at] == receipt.after
    assert receipt.flip is not None
    assert str(Flip.parse(receipt.flip)) == f"1/a:b/{way}/{spot.kind}/{spot.ordinal}/{name}/{bit}"


@QUICK
@given(aimed())
def test_a_control_changes_nothing_and_leaves_a_receipt(case: Any) -> None:
    """The same match with mask 0: all bytes as they were, and a receipt that says so."""
    script, pieces, spot, name, bit = case
    way = Direction(spot.direction)
    aim = {"wire": "http1", "message": spot.kind, "ordinal": spot.ordinal, "field": name}
    out, (receipt,) = edit(pieces, "bitflip", way, **aim, bit=bit, control=True)
    assert out == {Direction.UP: bytes(script.up), Direction.DOWN: bytes(script.down)}
    assert receipt.control
    assert receipt.before == receipt.after
    assert receipt.field_bits == [bit]


@QUICK
@given(aimed(), st.integers(1, 255))
def test_a_byte_by_field_takes_the_value_of_its_mask(case: Any, mask: int) -> None:
    """`setbyte` changes one byte by its mask, and the receipt lists each changed bit."""
    script, pieces, spot, name, bit = case
    way = Direction(spot.direction)
    aim = {"wire": "http1", "message": spot.kind, "ordinal": spot.ordinal, "field": name}
    out, (receipt,) = edit(pieces, "setbyte", way, **aim, byte=bit // 8, mask=mask)
    before = bytes(script.up if way is Direction.UP else script.down)
    offset = spot.fields[name][bit // 8]
    expected = before[:offset] + bytes([before[offset] ^ mask]) + before[offset + 1 :]
    assert out[way] == expected
    assert receipt.field_bits == [bit // 8 * 8 + one for one in range(8) if mask >> one & 1]


@QUICK
@given(aimed(), st.data())
def test_a_flip_by_offset_changes_that_bit_and_no_other(case: Any, data: st.DataObject) -> None:
    """An aim by stream offset needs no wire and is as exact."""
    script, pieces, spot, _, _ = case
    way = Direction(spot.direction)
    before = bytes(script.up if way is Direction.UP else script.down)
    offset, bit = data.draw(st.integers(0, len(before) - 1)), data.draw(st.integers(0, 7))
    out, (receipt,) = edit(pieces, "bitflip", way, offset=offset, bit=bit)
    assert differing_bits(before, out[way]) == [(offset, bit)]
    assert receipt.flip == f"1/a:b/{way}/at/0/{offset}/{bit}"


@QUICK
@given(aimed(), st.integers(0, 2**32))
def test_a_drawn_fault_does_not_depend_on_cuts(case: Any, seed: int) -> None:
    """The same seed hits the same bytes whether the stream comes in pieces, whole, or byte by byte."""
    script, pieces, spot, _, _ = case
    way = Direction(spot.direction)
    attributes = {"wire": "http1", "message": spot.kind, "field": "body", "rate": 0.5, "control_rate": 0.2}
    whole = {Direction.UP: [bytes(script.up)], Direction.DOWN: [bytes(script.down)]}
    single = {key: [bytes([byte]) for byte in data[0]] for key, data in whole.items()}
    results = [edit(p, "setbyte", way, **attributes, seed=seed) for p in (pieces, whole, single)]
    assert results[0][0] == results[1][0] == results[2][0]
    places = [[(r.offset, r.after, r.control, r.flip) for r in receipts] for _, receipts in results]
    assert places[0] == places[1] == places[2]


SUMMED = Framed(
    name="summed",
    parts=(Part("length", 0, 4, FieldClass.LENGTH, number=True), Part("sum", 4, 4, number=True), Part("body", 8)),
    checksum=Checksum(4),
)


def sealed(body: bytes) -> bytes:
    """A frame with its checksum."""
    frame = bytearray(len(body + b"sum.").to_bytes(4, "big") + bytes(4) + body)
    assert SUMMED.reseal(frame)
    return bytes(frame)


@QUICK
@given(st.data())
def test_repair_makes_the_checksum_right_again(data: st.DataObject) -> None:
    """Damage from before the checksum was made: the body differs, and the checksum fits it, whatever the cuts."""
    frames = {Direction.UP: pieces_of(data, sealed(b"@bc") + sealed(b"def")), Direction.DOWN: []}
    aim = {"wire": "summed", "message": "frame", "field": "body", "bit": 0, "using": SUMMED}
    out, (receipt,) = edit(frames, "bitflip", Direction.UP, **aim, repair=True)
    assert out[Direction.UP] == sealed(b"Abc") + sealed(b"def")
    assert receipt.bytes == [(8, ord("@"), ord("A"))]
    assert receipt.flip == "1/a:b/up/frame/0/body/0/repair"
    assert receipt.crc == google_crc32c.value(sealed(b"Abc"))
    broken, _ = edit(frames, "bitflip", Direction.UP, **aim)
    assert broken[Direction.UP][4:8] == sealed(b"@bc")[4:8]


def pieces_of(data: st.DataObject, stream: bytes) -> list[bytes]:
    """`stream` in random pieces."""
    return data.draw(st.composite(cut)(stream))


def test_bits_of_a_number_count_from_its_last_byte() -> None:
    """Bit 0 is the least significant of the value, bit 31 the most."""
    frames = {Direction.UP: [sealed(b"abc")], Direction.DOWN: []}
    for bit, offset, byte_bit in ((0, 7, 0), (9, 6, 1), (31, 4, 7)):
        aim = {"wire": "summed", "message": "frame", "field": "sum", "bit": bit, "using": SUMMED}
        out, (receipt,) = edit(frames, "bitflip", Direction.UP, **aim)
        assert differing_bits(frames[Direction.UP][0], out[Direction.UP]) == [(offset, byte_bit)]
        assert receipt.field_bits == [bit]


def test_a_bit_that_a_field_has_not_is_no_flip() -> None:
    """The message passes as it is, and there is no receipt."""
    frames = {Direction.UP: [sealed(b"abc")], Direction.DOWN: []}
    aim = {"wire": "summed", "message": "frame", "field": "sum", "bit": 32, "using": SUMMED}
    assert edit(frames, "bitflip", Direction.UP, **aim) == (
        {**frames, Direction.UP: sealed(b"abc"), Direction.DOWN: b""},
        [],
    )


class Broken:
    """A wire whose parser has a mistake."""

    name = "broken"
    hold = 0

    def open(self) -> Any:
        return self

    @property
    def up(self) -> Any:
        return self

    down = up

    def feed(self, data: memoryview) -> Any:
        raise RuntimeError(f"{len(data)} bytes were too much")


def test_a_wire_that_fails_harms_no_byte() -> None:
    """Its mistake is as if it were lost: bytes pass unchanged."""
    pieces = {Direction.UP: [b"some", b"thing"], Direction.DOWN: [b"else"]}
    aim = {"wire": "broken", "message": "m", "field": "f", "bit": 0, "using": Broken()}
    out, receipts = edit(pieces, "bitflip", Direction.UP, **aim)
    assert out == {Direction.UP: b"something", Direction.DOWN: b"else"}
    assert receipts == []


def test_a_receipt_carries_the_checksum_of_a_message_that_was_held() -> None:
    """A message that came whole is known whole: its CRC32C is of the bytes as they went on."""
    request = b"PUT /b/k HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"
    pieces = {Direction.UP: [request], Direction.DOWN: []}
    out, (receipt,) = edit(
        pieces, "bitflip", Direction.UP, wire="http1", message="request", ordinal=0, field="body", bits=[0, 9, 10]
    )
    assert out[Direction.UP].endswith(b"icllo")
    assert receipt.crc == google_crc32c.value(out[Direction.UP])
    assert receipt.bytes == [(len(request) - 5, ord("h"), ord("i")), (len(request) - 4, ord("e"), ord("c"))]


@settings(max_examples=EXAMPLES // 2, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=aimed())
def test_over_sockets_the_same_bit_is_hit(case: Any, proxy: Any, socket_link: Any) -> None:
    """Through a proxy process, in both directions at once, only the bit that was aimed at differs."""
    script, pieces, spot, name, bit = case
    stream = "upstream" if spot.direction == "up" else "downstream"
    aim = {"wire": "http1", "message": spot.kind, "ordinal": spot.ordinal, "field": name, "bit": bit}
    toxic = f"aim-{next(NUMBERS)}"  # so that only its own receipts are asked for
    proxy.add_toxic(socket_link.name, "bitflip", aim, stream=stream, name=toxic)
    client, server = socket_link.connect()
    try:
        with client, server:
            up = carry(client, server, pieces[Direction.UP])
            down = carry(server, client, pieces[Direction.DOWN])
    finally:
        proxy.remove_toxic(socket_link.name, toxic)
    expected = [(spot.fields[name][bit // 8], bit % 8)]
    assert differing_bits(bytes(script.up), up) == (expected if stream == "upstream" else [])
    assert differing_bits(bytes(script.down), down) == (expected if stream == "downstream" else [])
    (receipt,) = proxy.receipts(socket_link.name, toxic=toxic)
    assert (receipt.offset, receipt.byte_bit) == expected[0]


def carry(sender: socket.socket, receiver: socket.socket, pieces: list[bytes]) -> bytes:
    """Send piece by piece, half-close, and answer everything that arrived."""
    for piece in pieces:
        sender.sendall(piece)
    sender.shutdown(socket.SHUT_WR)
    return b"".join(iter(lambda: receiver.recv(65_536), b""))
