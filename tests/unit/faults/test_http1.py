"""What the wire `http1` says when it cannot read on, and what it never holds back."""

import pytest

from straybit_faults.wire import Event, Lost, Message
from straybit_faults.wires import UnknownWireError, find_wire
from straybit_faults.wires.http1 import MAX_HEAD, MAX_PIPELINED

PUT = b"PUT /b/k HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"


def read(up: bytes, down: bytes = b"") -> list[Event]:
    """Everything the parsers of both directions say."""
    conversation = find_wire("http1").open()
    return [*conversation.up.feed(up), *conversation.down.feed(down)]


@pytest.mark.parametrize(
    ("up", "why"),
    [
        (b"\x16\x03\x01\x02\x00 hello\r\n\r\n", "where a request should be"),
        (b"GET / HTTP/1.1\r\n broken: folded\r\n\r\n", "where a header should be"),
        (b"GET / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", "not one number"),
        (b"GET / HTTP/1.1\r\nContent-Length: -3\r\n\r\n", "not one number"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", "not chunked"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "chunk's size"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", "longer than its size"),
        (b"CONNECT a:1 HTTP/1.1\r\n\r\n", "not HTTP"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD, "a head of more than"),
        (b"GET / HTTP/1.1\r\n\r\n" * (MAX_PIPELINED + 1), "requests without a reply"),
    ],
)
def test_what_cannot_be_read_is_lost_once_and_held_back_no_more(up: bytes, why: str) -> None:
    """One Lost with its reason, then silence, and nothing waits."""
    parser = find_wire("http1").open().up
    events = [event for byte in (up[:7], up[7:], PUT) for event in parser.feed(byte)]
    (lost,) = [event for event in events if isinstance(event, Lost)]
    assert why in lost.reason
    assert events[-1] is lost
    assert parser.hold == len(up) + len(PUT)


def test_a_head_is_held_and_a_body_is_not() -> None:
    """Bytes of a head wait for its blank line; bytes of a body leave as they come."""
    parser = find_wire("http1").open().up
    holds = [parser.hold for byte in PUT if not parser.feed(bytes([byte])) or True]
    head = PUT.index(b"abc")
    assert holds[: head - 1] == [0] * (head - 1)
    assert holds[head - 1 :] == [head, head + 1, head + 2, head + 3]


def test_an_upgrade_is_lost() -> None:
    """After 101 bytes are no longer HTTP/1."""
    events = read(b"GET / HTTP/1.1\r\nUpgrade: x\r\n\r\n", b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    assert isinstance(events[-1], Lost)


def test_a_reply_without_length_goes_on_to_the_end() -> None:
    """Its body has no known length and comes in parts."""
    events = read(b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\nabc")
    reply = next(event for event in events if isinstance(event, Message) and event.kind == "reply")
    body = reply.field("body")
    assert body is not None
    assert (reply.end, body.length) == (None, None)
    assert reply.identity == "GET /"


def test_an_unknown_wire_is_refused_with_those_there_are() -> None:
    """The message names what is installed."""
    with pytest.raises(UnknownWireError, match=r"http1.*raw"):
        find_wire("gopher")
