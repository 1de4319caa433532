"""Updates of toxics, as connections that live already feel them."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from straybit_faults.client import ProxyError


def test_a_changed_reset_comes_in_its_time(upstream: Any, proxy: Any) -> None:
    """For a connection that waits for its reset already; another toxic's update does not put it off."""
    proxy.add_toxic(upstream.name, "reset_peer", {"timeout": 60_000})
    proxy.add_toxic(upstream.name, "latency", {"latency": 0}, stream="downstream")
    client, server = upstream.connect()
    client.sendall(b"x")
    server.sendall(b"y")
    assert client.recv(1) == b"y"
    start = time.monotonic()
    proxy.update_toxic(upstream.name, "reset_peer_upstream", attributes={"timeout": 200})
    proxy.update_toxic(upstream.name, "latency_downstream", attributes={"latency": 1})
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert 0.19 <= time.monotonic() - start < 5


def test_another_toxics_update_does_not_start_a_timeout_again(upstream: Any, proxy: Any) -> None:
    """The connection ends while updates still come, each before the time is up."""
    proxy.add_toxic(upstream.name, "timeout", {"timeout": 300})
    proxy.add_toxic(upstream.name, "latency", {"latency": 0})
    _, server = upstream.connect()
    server.setblocking(False)
    start = time.monotonic()
    while not ended(server):
        proxy.update_toxic(upstream.name, "latency_upstream", attributes={"latency": 1})
        assert time.monotonic() - start < 10


def ended(sock: socket.socket) -> bool:
    """Whether the other end has closed it; nothing may have come."""
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False


def test_a_changed_offset_is_where_a_live_connection_is_hit(upstream: Any, proxy: Any) -> None:
    """And nowhere else; the receipt says so."""
    proxy.add_toxic(upstream.name, "bitflip", {"offset": 4, "bit": 0})
    client, server = upstream.connect()
    client.sendall(b"@@")
    assert server.recv(2) == b"@@"
    proxy.update_toxic(upstream.name, "bitflip_upstream", attributes={"offset": 6})
    client.sendall(b"@@@@@@")
    got = b""
    while len(got) < 6:
        got += server.recv(6)
    assert got == b"@@@@A@"
    assert [receipt.offset for receipt in proxy.receipts(upstream.name)] == [6]


def test_a_changed_ordinal_is_counted_from_the_change(upstream: Any, proxy: Any) -> None:
    """A toxic that has hit hits again; an update that changes nothing does not aim anew."""
    aim = {"wire": "framed", "message": "frame", "field": "payload", "bit": 0}
    proxy.add_toxic(upstream.name, "bitflip", {**aim, "ordinal": 0})
    client, server = upstream.connect()

    def sent(frames: int) -> list[int]:
        client.sendall(b"\0\0\0\1@" * frames)
        got = b""
        while len(got) < 5 * frames:
            got += server.recv(100)
        return [number for number in range(frames) if got[5 * number + 4] == ord("A")]

    assert sent(2) == [0]
    proxy.update_toxic(upstream.name, "bitflip_upstream", attributes={"ordinal": 0})
    assert sent(2) == []
    proxy.update_toxic(upstream.name, "bitflip_upstream", attributes={"ordinal": 3})
    assert sent(5) == [3]


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        ({"rate": 50}, "rate must be in 0..1"),
        ({"rate": -1}, "rate must be in 0..1"),
        ({"rate": 0.5, "control_rate": 9}, "control_rate must be in 0..1"),
        ({"rate": 0.5, "field": None, "classes": []}, "at least one class"),
        ({"field": "nope", "bit": 0}, "no field 'nope'; it has length, payload"),
        ({"field": "length", "bit": 99}, "bits 0..31, not 99"),
    ],
)
def test_an_aim_that_can_never_or_only_hit_is_refused(
    upstream: Any, proxy: Any, attributes: dict[str, Any], why: str
) -> None:
    """With the range."""
    aim = {"wire": "framed", "message": "frame", "field": "payload"}
    with pytest.raises(ProxyError, match=why):
        proxy.add_toxic(upstream.name, "bitflip", {**aim, **attributes})
    assert proxy.proxies()[upstream.name].toxics == []
