"""What a link does to bytes, beside what its toxics ask for: nothing."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
from typing import Any

import pytest
import requests

from straybit_faults.client import ProxyError


def read_exactly(sock: socket.socket, count: int) -> bytes:
    """That many bytes, or fewer at the end."""
    got = b""
    while len(got) < count and (piece := sock.recv(count - len(got))):
        got += piece
    return got


def read_all(sock: socket.socket) -> bytes:
    """Everything until the other side's end."""
    return b"".join(iter(lambda: sock.recv(1 << 20), b""))


def fill(sock: socket.socket) -> int:
    """Send until nothing goes any more; answers how much went."""
    sent = 0
    filler = bytes(1_000_000)
    while True:
        try:
            sent += sock.send(filler)
        except TimeoutError:
            return sent


def test_bytes_pass_unchanged_both_ways_and_large(upstream: Any) -> None:
    """More than any buffer holds, in both directions at once, byte for byte."""
    client, server = upstream.connect()
    data = os.urandom(8_000_000)
    senders = [
        threading.Thread(target=lambda s=s: (s.sendall(data), s.shutdown(socket.SHUT_WR))) for s in (client, server)
    ]
    got: dict[str, bytes] = {}
    readers = [
        threading.Thread(target=lambda n=n, s=s: got.update({n: read_all(s)}))
        for n, s in (("client", client), ("server", server))
    ]
    for thread in senders + readers:
        thread.start()
    for thread in senders + readers:
        thread.join()
    assert got["client"] == data
    assert got["server"] == data


def test_four_slow_readers_get_every_byte(upstream: Any) -> None:
    """Back-pressure on one connection neither loses nor mixes bytes of another."""
    data = [os.urandom(3_000_000) for _ in range(4)]
    pairs = [upstream.connect() for _ in data]
    threads = [
        threading.Thread(target=lambda s=s, d=d: (s.sendall(d), s.shutdown(socket.SHUT_WR)))
        for (_, s), d in zip(pairs, data, strict=True)
    ]
    for thread in threads:
        thread.start()
    got = [bytearray() for _ in data]
    open_ = set(range(4))
    while open_:
        for index in tuple(open_):
            piece = pairs[index][0].recv(10_000 + 7_000 * index)
            got[index] += piece
            if not piece:
                open_.remove(index)
    assert [bytes(one) == d for one, d in zip(got, data, strict=True)] == [True] * 4


def test_a_half_close_lets_the_reply_through(upstream: Any) -> None:
    """The server sees the end of the request and can still answer."""
    client, server = upstream.connect()
    client.sendall(b"question")
    client.shutdown(socket.SHUT_WR)
    assert read_all(server) == b"question"
    server.sendall(b"answer")
    server.close()
    assert read_all(client) == b"answer"


def test_a_reset_is_passed_on(upstream: Any) -> None:
    """A server that resets looks like one to the client."""
    client, server = upstream.connect()
    client.sendall(b"x")
    server.recv(1)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    server.close()
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_a_dead_upstream_closes_the_client_and_leaves_others_alone(upstream: Any, proxy: Any) -> None:
    """A refused dial ends that client's connection at once; another link goes on, and the event says why."""
    with socket.create_server(("127.0.0.1", 0)) as spare:
        port = spare.getsockname()[1]
    address = proxy.populate([("client:dead", "127.0.0.1:0", f"127.0.0.1:{port}")])["client:dead"]
    with socket.create_connection(address, timeout=5) as client, contextlib.suppress(ConnectionResetError):
        assert client.recv(1) == b""
    client, server = upstream.connect()
    client.sendall(b"alive")
    assert server.recv(5) == b"alive"
    proxy.delete("client:dead")


def test_flips_far_into_a_large_stream_hit_their_byte(upstream: Any, proxy: Any) -> None:
    """Before and behind them nothing looks at the bytes, and still exactly these bits differ, in both directions."""
    offsets = {0: 1, 262_144: 7, 3_000_001: 0, 3_000_002: 3, 5_999_999: 6}
    for number, (offset, bit) in enumerate(offsets.items()):
        for stream in ("upstream", "downstream"):
            aim = {"connection": 0, "offset": offset, "bit": bit}
            proxy.add_toxic(upstream.name, "bitflip", aim, stream=stream, name=f"{stream}-{number}")
    client, server = upstream.connect()
    data = bytearray(os.urandom(6_000_000))
    for sender, receiver in ((client, server), (server, client)):
        threading.Thread(target=lambda s=sender: (s.sendall(data), s.shutdown(socket.SHUT_WR))).start()
        got = bytearray(read_all(receiver))
        for offset, bit in offsets.items():
            got[offset] ^= 1 << bit
        assert got == data
    assert sorted(receipt.offset for receipt in proxy.receipts(upstream.name)) == sorted([*offsets, *offsets])


def test_reset_peer_resets_connections_that_are_open(upstream: Any, proxy: Any) -> None:
    """RST to both ends, not an end."""
    client, server = upstream.connect()
    proxy.add_toxic(upstream.name, "reset_peer", {"timeout": 0})
    client.sendall(b"x")
    for end in (client, server):
        with pytest.raises(ConnectionResetError):
            end.recv(1)


def test_a_name_that_cannot_be_resolved_ends_the_connection(proxy: Any) -> None:
    """At once, and the event says why."""
    address = proxy.populate([("client:lost", "127.0.0.1:0", "no-such-host.invalid:9")])["client:lost"]
    with socket.create_connection(address, timeout=10) as client, contextlib.suppress(ConnectionResetError):
        assert client.recv(1) == b""
    log = requests.get(f"http://{proxy.host}:{proxy.port}/events", timeout=5).text
    assert any('"refused"' in line and "no-such-host.invalid" in line for line in log.splitlines())
    proxy.delete("client:lost")


def ipv6_loopback() -> bool:
    """Whether anything can listen there."""
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


@pytest.mark.skipif(not ipv6_loopback(), reason="this machine has no IPv6 loopback: many containers have none")
def test_addresses_may_be_of_version_six(proxy: Any) -> None:
    """Listener and upstream."""
    far = socket.create_server(("::1", 0), family=socket.AF_INET6)
    upstream = f"[::1]:{far.getsockname()[1]}"
    address = proxy.populate([("client:six", "[::1]:0", upstream)])["client:six"]
    with far, socket.create_connection(address, timeout=5) as client, far.accept()[0] as server:
        client.sendall(b"six")
        assert server.recv(3) == b"six"
    proxy.delete("client:six")


def test_latency_delays_data_on_a_live_connection_and_removal_lets_it_go(upstream: Any, proxy: Any) -> None:
    """100 ms are 100 ms; what waits when the toxic goes arrives at once."""
    client, server = upstream.connect()
    proxy.add_toxic(upstream.name, "latency", {"latency": 100})
    start = time.monotonic()
    client.sendall(b"slow")
    assert server.recv(4) == b"slow"
    assert 0.1 <= time.monotonic() - start < 3
    proxy.update_toxic(upstream.name, "latency_upstream", attributes={"latency": 60_000})
    client.sendall(b"held")
    proxy.remove_toxic(upstream.name, "latency_upstream")
    client.sendall(b"more")
    assert read_exactly(server, 8) == b"heldmore"


def test_timeout_is_a_black_hole_until_its_time(upstream: Any, proxy: Any) -> None:
    """Data is dropped, however much comes, and the connection closes when the time is over."""
    proxy.add_toxic(upstream.name, "timeout", {"timeout": 150})
    client, server = upstream.connect()
    start = time.monotonic()
    client.sendall(b"x")
    client.sendall(b"y")
    assert server.recv(10) == b""
    assert 0.14 <= time.monotonic() - start < 3


def test_removing_a_timeout_closes_its_connections(upstream: Any, proxy: Any) -> None:
    """Data was lost there, so the connection must not go on."""
    client, server = upstream.connect()
    proxy.add_toxic(upstream.name, "timeout", {"timeout": 0})
    client.sendall(b"lost")
    proxy.remove_toxic(upstream.name, "timeout_upstream")
    assert server.recv(10) == b""


def test_a_receipt_becomes_delivered(upstream: Any, proxy: Any) -> None:
    """The receiver's kernel acknowledged the byte: both times are there, in order."""
    proxy.add_toxic(upstream.name, "bitflip", {"connection": 0, "offset": 2, "bit": 5})
    client, server = upstream.connect()
    before = time.monotonic()
    client.sendall(b"ABCD")
    assert server.recv(4) == b"ABcD"
    while (receipt := proxy.receipts(upstream.name)[0]).delivered is None:
        assert time.monotonic() - before < 10
    assert before <= receipt.sent <= receipt.delivered <= time.monotonic()
    assert receipt.felt is None


def test_a_receipt_of_a_connection_that_ended_at_once_becomes_delivered(upstream: Any, proxy: Any) -> None:
    """Both ends may close right after the flip."""
    proxy.add_toxic(upstream.name, "bitflip", {"offset": 0, "bit": 0})
    client, server = upstream.connect()
    client.sendall(b"@")
    client.close()
    assert read_all(server) == b"A"
    server.close()
    deadline = time.monotonic() + 10
    while proxy.receipts(upstream.name)[0].delivered is None:
        assert time.monotonic() < deadline


def test_a_receipt_is_not_delivered_to_a_receiver_that_is_stuck(upstream: Any, proxy: Any) -> None:
    """A byte behind a full window is not acknowledged; once the receiver reads on, it is."""
    proxy.add_toxic(upstream.name, "latency", {"latency": 1})
    client, server = upstream.connect()
    client.settimeout(0.2)
    sent = fill(client)
    proxy.add_toxic(upstream.name, "bitflip", {"offset": sent, "bit": 0})
    client.settimeout(10)
    threading.Thread(target=client.sendall, args=(b"@" * 100,), daemon=True).start()
    assert all(receipt.delivered is None for receipt in proxy.receipts(upstream.name))
    got = bytearray()
    while len(got) < sent + 100:
        got += server.recv(1 << 20)
    assert got[sent : sent + 2] == b"A@"
    deadline = time.monotonic() + 10
    while proxy.receipts(upstream.name)[0].delivered is None:
        assert time.monotonic() < deadline


def test_a_wire_that_is_lost_never_harms_bytes(upstream: Any, proxy: Any) -> None:
    """Rubbish passes unchanged under a toxic that wants HTTP."""
    proxy.add_toxic(
        upstream.name, "bitflip", {"wire": "http1", "message": "request", "ordinal": 0, "field": "body", "bit": 0}
    )
    client, server = upstream.connect()
    data = os.urandom(300_000)
    threading.Thread(target=lambda: (client.sendall(data), client.shutdown(socket.SHUT_WR))).start()
    assert read_all(server) == data
    assert proxy.receipts(upstream.name) == []


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        ({}, "exactly one"),
        ({"offset": 3}, "bit in 0..7"),
        ({"offset": -3, "bit": 0}, "negative"),
        ({"message": "request", "field": "body", "bit": 0}, "needs the name of its wire"),
        ({"wire": "gopher", "message": "x", "field": "y", "bit": 0}, "no wire 'gopher'"),
        ({"wire": "http1", "message": "letter", "field": "y", "bit": 0}, "no message 'letter'"),
        ({"offset": "three", "bit": 0}, "Expected `int"),
    ],
)
def test_an_aim_that_is_none_is_refused(upstream: Any, proxy: Any, attributes: Any, why: str) -> None:
    """One line that says what and why; traffic goes on."""
    with pytest.raises(ProxyError, match=why):
        proxy.add_toxic(upstream.name, "bitflip", attributes)
    client, server = upstream.connect()
    client.sendall(b"on")
    assert server.recv(2) == b"on"


HARMLESS: list[tuple[str, dict[str, Any]]] = [
    ("latency", {"latency": 2, "jitter": 2}),
    ("slicer", {"average_size": 20_000, "size_variation": 15_000}),
    ("bandwidth", {"rate": 300_000}),
    ("slow_close", {"delay": 10}),
    ("bitflip", {"wire": "raw", "message": "stream", "field": "payload", "bit": 1, "control": True}),
    ("bitflip", {"wire": "framed", "message": "frame", "rate": 0.5, "control": True}),
    ("duplicate", {"wire": "framed", "message": "frame", "control": True}),
    ("bitflip", {"wire": "http1", "message": "request", "field": "body", "bit": 0}),
    ("bitflip", {"offset": 100_000, "bit": 0, "control": True}),
]


def test_toxics_that_come_and_go_under_traffic_lose_nothing(upstream: Any, proxy: Any) -> None:
    """Whatever is armed, changed and removed meanwhile, every byte arrives, in order, on every connection."""
    choice = random.Random(7)
    data = b"".join(len(block).to_bytes(4, "big") + block for block in (os.urandom(50_000) for _ in range(60)))
    got: dict[int, bytes] = {}
    pairs = [upstream.connect() for _ in range(4)]
    threads = []
    for number, (client, server) in enumerate(pairs):
        sender, receiver = (client, server) if number % 2 else (server, client)
        threads.append(threading.Thread(target=lambda s=sender: (s.sendall(data), s.shutdown(socket.SHUT_WR))))
        threads.append(threading.Thread(target=lambda n=number, r=receiver: got.update({n: read_all(r)})))
    armed = ["up", "down"]
    for name in armed:  # so that the traffic lasts
        proxy.add_toxic(upstream.name, "bandwidth", {"rate": 5_000}, stream=f"{name}stream", name=name)
    for thread in threads:
        thread.start()
    for turn in range(80):
        if len(armed) > 2 and choice.random() < 0.4:
            proxy.remove_toxic(upstream.name, armed.pop(choice.randrange(2, len(armed))))
        else:
            kind, attributes = choice.choice(HARMLESS)
            stream = choice.choice(["upstream", "downstream"])
            proxy.add_toxic(upstream.name, kind, attributes, stream=stream, name=f"t{turn}")
            armed.append(f"t{turn}")
    for name in armed:
        proxy.remove_toxic(upstream.name, name)
    for thread in threads:
        thread.join()
    assert [got[number] == data for number in range(4)] == [True] * 4
