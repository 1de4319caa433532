"""UDP links: flips, loss, duplication, delay and reordering, for each datagram by itself."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from straybit_faults.client import ProxyError

ALL = {"wire": "datagram", "message": "datagram"}


class UdpLink:
    """A proxy of datagrams, the far socket, and any number of clients."""

    def __init__(self, proxy: Any) -> None:
        self.proxy = proxy
        self.name = "client:udp"
        self.sockets = []
        self.far = self.socket()
        self.far.bind(("127.0.0.1", 0))
        upstream = f"127.0.0.1:{self.far.getsockname()[1]}"
        body = [{"name": self.name, "listen": "127.0.0.1:0", "upstream": upstream, "protocol": "udp"}]
        made = requests.post(f"http://{proxy.host}:{proxy.port}/populate", json=body, timeout=5).json()["proxies"][0]
        assert made["protocol"] == "udp"
        host, _, port = made["listen"].rpartition(":")
        self.address = (host, int(port))

    def socket(self) -> socket.socket:
        """A UDP socket that is closed in the end."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(5)
        self.sockets.append(sock)
        return sock

    def client(self) -> socket.socket:
        """A client, connected to the proxy."""
        sock = self.socket()
        sock.connect(self.address)
        return sock

    def close(self) -> None:
        """Everything."""
        self.proxy.delete(self.name)
        for sock in self.sockets:
            sock.close()


@pytest.fixture
def udp(proxy: Any) -> Iterator[UdpLink]:
    """A link of this test's own."""
    link = UdpLink(proxy)
    yield link
    link.close()


def received(sock: socket.socket, count: int) -> list[bytes]:
    """That many datagrams, as they come."""
    return [sock.recv(65_536) for _ in range(count)]


def test_datagrams_pass_both_ways_with_their_borders(udp: UdpLink) -> None:
    """Each client gets its own answers, and no datagram is cut or joined."""
    one, two = udp.client(), udp.client()
    for client, text in ((one, b"one"), (two, b"two")):
        client.send(text)
        data, back = udp.far.recvfrom(65_536)
        assert data == text
        udp.far.sendto(b"re " + text, back)
    assert (one.recv(100), two.recv(100)) == (b"re one", b"re two")
    large = bytes(range(256)) * 200
    for text in (b"", large, b"x"):
        one.send(text)
        assert udp.far.recv(65_536) == text


def test_a_flip_hits_the_datagram_it_is_aimed_at(udp: UdpLink) -> None:
    """By ordinal and bit, with a receipt that becomes delivered."""
    udp.proxy.add_toxic(udp.name, "bitflip", {**ALL, "field": "payload", "ordinal": 1, "bit": 8}, name="aimed")
    client = udp.client()
    for text in (b"aaa", b"bbb", b"ccc"):
        client.send(text)
    assert received(udp.far, 3) == [b"aaa", b"bcb", b"ccc"]
    deadline = time.monotonic() + 10
    while (receipt := udp.proxy.receipts(udp.name, toxic="aimed")[0]).delivered is None:
        assert time.monotonic() < deadline
    assert receipt.flip == f"1/{udp.name}/up/datagram/1/payload/8"


def test_loss_is_drawn_and_the_same_again(udp: UdpLink) -> None:
    """The same seed loses the same datagrams."""
    lost = []
    for _ in range(2):
        client = udp.client()
        udp.proxy.add_toxic(udp.name, "loss", {**ALL, "rate": 0.5, "seed": 3})
        for number in range(20):
            client.send(b"%d" % number)
        udp.proxy.remove_toxic(udp.name, "loss_upstream")
        client.send(b"end")
        got = list(iter(lambda: udp.far.recv(100), b"end"))
        lost.append({b"%d" % number for number in range(20)} - set(got))
        assert len(got) + len(lost[-1]) == 20
    assert 3 < len(lost[0]) < 17
    assert lost[0] == lost[1]


def test_duplicates_are_datagrams_of_their_own(udp: UdpLink) -> None:
    """Twice the same, not one twice as long."""
    udp.proxy.add_toxic(udp.name, "duplicate", {**ALL, "ordinal": 0})
    client = udp.client()
    client.send(b"twice")
    client.send(b"once")
    assert received(udp.far, 3) == [b"twice", b"twice", b"once"]


def test_reordering_exchanges_neighbours(udp: UdpLink) -> None:
    """The one that is hit comes behind its successor."""
    udp.proxy.add_toxic(udp.name, "reorder", {**ALL, "ordinal": 1})
    client = udp.client()
    for text in (b"a", b"b", b"c", b"d"):
        client.send(text)
    assert received(udp.far, 4) == [b"a", b"c", b"b", b"d"]


def test_a_reordered_datagram_without_a_successor_still_arrives(udp: UdpLink) -> None:
    """After its patience, alone."""
    udp.proxy.add_toxic(udp.name, "reorder", {**ALL, "patience": 50})
    client = udp.client()
    start = time.monotonic()
    client.send(b"alone")
    assert udp.far.recv(100) == b"alone"
    assert time.monotonic() - start >= 0.05


def test_delay_is_each_datagrams_own(udp: UdpLink) -> None:
    """A minute for one direction holds up nothing in the other; 300 ms are 300 ms."""
    udp.proxy.add_toxic(udp.name, "latency", {"latency": 60_000}, stream="downstream")
    client = udp.client()
    client.send(b"up")
    _, back = udp.far.recvfrom(100)
    udp.proxy.update_toxic(udp.name, "latency_downstream", attributes={"latency": 300})
    start = time.monotonic()
    udp.far.sendto(b"down", back)
    assert client.recv(100) == b"down"
    assert time.monotonic() - start >= 0.3


def test_one_datagram_is_delayed(udp: UdpLink) -> None:
    """The one that is aimed at, with a receipt; those behind it pass meanwhile."""
    udp.proxy.add_toxic(udp.name, "delay", {**ALL, "ordinal": 1, "delay": 200})
    client = udp.client()
    start = time.monotonic()
    for text in (b"a", b"late", b"b"):
        client.send(text)
    assert received(udp.far, 3) == [b"a", b"b", b"late"]
    assert time.monotonic() - start >= 0.2
    receipts = [receipt for receipt in udp.proxy.receipts(udp.name) if receipt.toxic == "delay_upstream"]
    assert [receipt.ordinal for receipt in receipts] == [1]


def test_fields_of_other_wires_are_found_in_datagrams(udp: UdpLink) -> None:
    """A frame in a datagram is a frame."""
    udp.proxy.add_toxic(udp.name, "bitflip", {"wire": "framed", "message": "frame", "field": "payload", "bit": 0})
    client = udp.client()
    client.send(b"\0\0\0\3@bc")
    assert udp.far.recv(100) == b"\0\0\0\3Abc"


@pytest.mark.parametrize(
    ("kind", "attributes", "why"),
    [
        ("bitflip", {"offset": 1, "bit": 1}, "no stream offset"),
        ("bandwidth", {"rate": 1}, "no meaning on a udp link"),
        ("delay", {"wire": "framed", "message": "frame", "delay": 5}, "aim it by the wire datagram"),
        ("delay", {**ALL, "delay": -5}, "must not be negative"),
    ],
)
def test_what_makes_no_sense_for_datagrams_is_refused(udp: UdpLink, kind: str, attributes: Any, why: str) -> None:
    """With a reason."""
    with pytest.raises(ProxyError, match=why):
        udp.proxy.add_toxic(udp.name, kind, attributes)


def test_datagrams_are_refused_on_a_stream(upstream: Any, proxy: Any) -> None:
    """A read is no message."""
    with pytest.raises(ProxyError, match="for udp links"):
        proxy.add_toxic(upstream.name, "bitflip", {**ALL, "field": "payload", "bit": 0})
