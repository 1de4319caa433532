"""A balancer's data faults: bodies cut short, replies doubled, exchanged or old, headers lost."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

import pytest
import requests

from straybit_faults.client import ProxyError
from straybit_faults.flip import Flip

REPLY = {"wire": "http1", "message": "reply"}


def request(target: str, body: bytes = b"", *headers: str) -> bytes:
    """A PUT."""
    lines = [f"PUT {target} HTTP/1.1", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def reply(body: bytes) -> bytes:
    """A 200."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def chunked(*chunks: bytes) -> bytes:
    """A 200 whose body comes in chunks."""
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"


def read(sock: socket.socket, count: int) -> bytes:
    """That many bytes, or fewer at the end."""
    got = b""
    while len(got) < count and (piece := sock.recv(count - len(got))):
        got += piece
    return got


def exchange(client: socket.socket, server: socket.socket, sent: bytes, answer: bytes) -> bytes:
    """A request goes up whole, an answer of that length comes down: what the client got."""
    client.sendall(sent)
    assert read(server, len(sent)) == sent
    server.sendall(answer)
    return read(client, len(answer))


def test_truncate_cuts_a_body_under_its_right_length(upstream: Any, proxy: Any) -> None:
    """The header says nine, three come, and the connection ends."""
    proxy.add_toxic(upstream.name, "truncate", {"wire": "http1", "message": "request", "bytes": 3})
    client, server = upstream.connect()
    client.sendall(request("/b/k", b"ninebytes"))
    got = b"".join(iter(lambda: server.recv(4096), b""))
    assert got == request("/b/k", b"ninebytes")[:-6]
    (receipt,) = proxy.receipts(upstream.name)
    assert receipt.flip == f"1/{upstream.name}/up/request/0/truncate:3"
    assert str(Flip.parse(receipt.flip)) == receipt.flip


def test_a_body_that_is_short_already_is_missed(upstream: Any, proxy: Any) -> None:
    """It passes unchanged, without a receipt."""
    proxy.add_toxic(upstream.name, "truncate", {"wire": "http1", "message": "request", "bytes": 3})
    client, server = upstream.connect()
    client.sendall(request("/b/k", b"abc"))
    assert read(server, len(request("/b/k", b"abc"))) == request("/b/k", b"abc")
    assert proxy.receipts(upstream.name) == []


def test_duplicate_says_a_reply_twice(upstream: Any, proxy: Any) -> None:
    """The same bytes again, right behind."""
    proxy.add_toxic(upstream.name, "duplicate", REPLY, stream="downstream")
    client, server = upstream.connect()
    first = exchange(client, server, request("/b/k"), reply(b"one"))
    assert first + read(client, len(first)) == reply(b"one") * 2
    assert exchange(client, server, request("/b/k"), reply(b"two")) == reply(b"two")
    assert proxy.receipts(upstream.name)[0].flip == f"1/{upstream.name}/down/reply/0/duplicate"


def test_stale_says_an_older_reply_again(upstream: Any, proxy: Any) -> None:
    """The second reply is the first one, though it was another connection's."""
    proxy.add_toxic(upstream.name, "stale", {**REPLY, "ordinal": 1}, stream="downstream")
    one, two = upstream.connect(), upstream.connect()
    assert exchange(*one, request("/b/1"), reply(b"old")) == reply(b"old")
    assert exchange(*two, request("/b/2"), reply(b"new")) == reply(b"old")
    assert exchange(*two, request("/b/2"), reply(b"new")) == reply(b"new")
    (receipt,) = proxy.receipts(upstream.name)
    assert (receipt.ordinal, receipt.identity) == (1, "PUT /b/2")


def test_swap_exchanges_two_clients_replies(upstream: Any, proxy: Any) -> None:
    """Each gets what was meant for the other, and both leave a receipt."""
    proxy.add_toxic(upstream.name, "swap", REPLY, stream="downstream")
    (client_a, server_a), (client_b, server_b) = upstream.connect(), upstream.connect()
    for client, server, target in ((client_a, server_a, "/a"), (client_b, server_b, "/b")):
        client.sendall(request(target))
        read(server, len(request(target)))
    server_a.sendall(reply(b"for a"))
    server_b.sendall(reply(b"for b, longer"))
    assert read(client_a, len(reply(b"for b, longer"))) == reply(b"for b, longer")
    assert read(client_b, len(reply(b"for a"))) == reply(b"for a")
    assert sorted(receipt.ordinal for receipt in proxy.receipts(upstream.name)) == [0, 1]
    assert exchange(client_a, server_a, request("/a"), reply(b"next")) == reply(b"next")


def test_drop_header_loses_its_whole_line(upstream: Any, proxy: Any) -> None:
    """The header is gone, everything else is as it was."""
    aim = {"wire": "http1", "message": "request", "name": "Content-MD5"}
    proxy.add_toxic(upstream.name, "drop_header", aim)
    client, server = upstream.connect()
    client.sendall(request("/b/k", b"body", "Content-MD5: abcd==", "X-Other: 1"))
    expected = request("/b/k", b"body", "X-Other: 1")
    assert read(server, len(expected)) == expected
    assert proxy.receipts(upstream.name)[0].flip.endswith("/drop_header:content-md5")


def test_a_chunked_body_is_cut_at_the_byte_that_was_named(upstream: Any, proxy: Any) -> None:
    """Chunk sizes are no bytes of the body: five are left of two chunks of four, and the connection ends."""
    proxy.add_toxic(upstream.name, "truncate", {**REPLY, "bytes": 5}, stream="downstream")
    client, server = upstream.connect()
    client.sendall(request("/b/k"))
    read(server, len(request("/b/k")))
    whole = chunked(b"abcd", b"efgh")
    server.sendall(whole)
    assert b"".join(iter(lambda: client.recv(4096), b"")) == whole[: whole.index(b"fgh")]


def test_chunked_replies_are_exchanged_whole(upstream: Any, proxy: Any) -> None:
    """However they were cut on their way, each client gets the other's reply and nothing else."""
    proxy.add_toxic(upstream.name, "swap", REPLY, stream="downstream")
    pairs = [upstream.connect(), upstream.connect()]
    replies = [chunked(b"for a"), chunked(b"for", b" b, longer")]
    for client, server in pairs:
        client.sendall(request("/b/k"))
        read(server, len(request("/b/k")))
    for (_, server), answer in zip(pairs, replies, strict=True):
        server.sendall(answer[:50])
        server.sendall(answer[50:])
    for (client, _), answer in zip(pairs, reversed(replies), strict=True):
        assert read(client, len(answer)) == answer
    assert exchange(*pairs[0], request("/b/k"), chunked(b"next")) == chunked(b"next")


def test_a_body_without_a_known_end_is_held_up_to_a_limit(upstream: Any, proxy: Any) -> None:
    """More than 2 MiB pass unchanged with an event, and the wire reads on."""
    proxy.add_toxic(upstream.name, "duplicate", {**REPLY, "every": 1}, stream="downstream")
    client, server = upstream.connect()
    client.sendall(request("/b/k"))
    read(server, len(request("/b/k")))
    huge = chunked(*[bytes(65_536)] * 40)
    sender = threading.Thread(target=server.sendall, args=(huge,))
    sender.start()
    assert read(client, len(huge)) == huge
    sender.join()
    log = requests.get(f"http://{proxy.host}:{proxy.port}/events", timeout=5).text
    missed = [event for event in map(json.loads, log.splitlines()) if event["event"] == "missed"]
    assert any(event["proxy"] == upstream.name and "held back" in event["reason"] for event in missed)
    assert (
        exchange(client, server, request("/b/k"), reply(b"one")) + read(client, len(reply(b"one"))) == reply(b"one") * 2
    )


def test_a_message_outlives_a_toxic_that_is_removed_while_it_is_held(upstream: Any, proxy: Any) -> None:
    """Half of it was there: it goes on unchanged."""
    aim = {"wire": "http1", "message": "request", "ordinal": 1}
    proxy.add_toxic(upstream.name, "duplicate", aim, name="twice")
    client, server = upstream.connect()
    before, held = request("/b/k"), request("/b/k", b"ninebytes")
    client.sendall(before + held[:-4])
    assert read(server, len(before)) == before
    proxy.remove_toxic(upstream.name, "twice")
    client.sendall(held[-4:])
    assert read(server, len(held)) == held


@pytest.mark.parametrize("kind", ["truncate", "duplicate", "stale", "swap"])
def test_a_control_of_a_whole_message_changes_nothing(upstream: Any, proxy: Any, kind: str) -> None:
    """The same match, the same bytes, and a receipt that says so."""
    aim = {**REPLY, "ordinal": 1, "control": True}
    proxy.add_toxic(upstream.name, kind, aim, stream="downstream")
    one, two, three = (upstream.connect() for _ in range(3))
    assert exchange(*one, request("/1"), reply(b"one")) == reply(b"one")
    two[0].sendall(request("/2"))
    read(two[1], len(request("/2")))
    two[1].sendall(reply(b"two"))
    assert exchange(*three, request("/3"), reply(b"three")) == reply(b"three")
    assert read(two[0], len(reply(b"two"))) == reply(b"two")
    receipts = proxy.receipts(upstream.name)
    assert receipts
    assert all(receipt.control and receipt.flip.endswith("/control") for receipt in receipts)


def test_a_whole_message_has_no_offset(upstream: Any, proxy: Any) -> None:
    """Such an aim is refused."""
    with pytest.raises(ProxyError, match="aimed by wire and message"):
        proxy.add_toxic(upstream.name, "swap", {"offset": 3})
