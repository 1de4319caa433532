"""What Toxiproxy's seven toxics do to bytes and time, on our server and, where it is installed, on Toxiproxy."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest


class Link:
    """A proxy on the server under test, and both ends of one connection through it."""

    def __init__(self, api: Any) -> None:
        self.api = api
        self.listener = socket.create_server(("127.0.0.1", 0))
        upstream = f"127.0.0.1:{self.listener.getsockname()[1]}"
        made = api.call("POST", "/proxies", {"name": "t-link", "listen": "127.0.0.1:0", "upstream": upstream}).json
        host, _, port = made["listen"].rpartition(":")
        self.address = (host, int(port))

    def add(self, kind: str, stream: str = "upstream", **attributes: int) -> None:
        """Arm a toxic."""
        body = {"type": kind, "stream": stream, "attributes": attributes}
        assert self.api.call("POST", "/proxies/t-link/toxics", body).status == 200

    def remove(self, name: str) -> None:
        """Disarm a toxic."""
        assert self.api.call("DELETE", f"/proxies/t-link/toxics/{name}").status == 204

    def update(self, name: str, **attributes: int) -> None:
        """Change a toxic."""
        assert self.api.call("POST", f"/proxies/t-link/toxics/{name}", {"attributes": attributes}).status == 200

    def until_received(self, count: int) -> None:
        """Wait until the server has taken that many bytes from the client; Toxiproxy counts only in the end."""
        deadline = time.monotonic() + 5
        while self.api.name == "ours":
            text = self.api.call("GET", "/metrics").text
            lines = [line for line in text.splitlines() if "received" in line and '"t-link"' in line]
            if any('"upstream"' in line and line.endswith(f" {count}.0") for line in lines):
                return
            assert time.monotonic() < deadline

    def connect(self) -> tuple[socket.socket, socket.socket]:
        """The client's end and the server's."""
        self.client = socket.create_connection(self.address, timeout=10)
        self.server, _ = self.listener.accept()
        self.server.settimeout(10)
        return self.client, self.server

    def close(self) -> None:
        """Everything."""
        for sock in (self.client, self.server, self.listener):
            sock.close()


@pytest.fixture
def link(api: Any) -> Iterator[Link]:
    """A link of this test's own."""
    link = Link(api)
    yield link
    link.close()


def read_exactly(sock: socket.socket, count: int) -> bytes:
    """That many bytes, or fewer at the end."""
    got = b""
    while len(got) < count and (piece := sock.recv(count - len(got))):
        got += piece
    return got


def read_all(sock: socket.socket) -> bytes:
    """Everything until the other side's end."""
    return b"".join(iter(lambda: sock.recv(1 << 20), b""))


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
def test_latency_delays_one_direction(link: Link, stream: str) -> None:
    """Data takes the latency longer in the stream that was asked for; even a minute holds up nothing in the other."""
    link.add("latency", stream, latency=60_000)
    client, server = link.connect()
    sender, receiver = (client, server) if stream == "upstream" else (server, client)
    receiver.sendall(b"at once")
    assert sender.recv(7) == b"at once"
    link.update(f"latency_{stream}", latency=300)
    start = time.monotonic()
    sender.sendall(b"late")
    assert receiver.recv(4) == b"late"
    assert 0.3 <= time.monotonic() - start < 3


def test_latency_keeps_bandwidth(link: Link) -> None:
    """Many chunks are delayed side by side, not one after another."""
    link.add("latency", latency=50)
    client, server = link.connect()
    data = os.urandom(3_000_000)
    start = time.monotonic()
    threading.Thread(target=lambda: (client.sendall(data), client.shutdown(socket.SHUT_WR))).start()
    assert read_all(server) == data
    assert time.monotonic() - start < 46 * 0.05  # so many buffers, one after another


def test_bandwidth_keeps_its_rate(link: Link) -> None:
    """100 KB at 500 KB/s take 0.2 s, and at 10 KB/s they would take ten."""
    link.add("bandwidth", rate=500)
    client, server = link.connect()
    data = os.urandom(100_000)
    start = time.monotonic()
    threading.Thread(target=lambda: (client.sendall(data), client.shutdown(socket.SHUT_WR))).start()
    assert read_all(server) == data
    assert 0.18 < time.monotonic() - start < 5


def test_bandwidth_of_nothing_holds_all_until_it_is_removed(link: Link) -> None:
    """Rate 0 lets nothing through, and nothing is lost."""
    link.add("bandwidth", rate=0)
    client, server = link.connect()
    client.sendall(b"waiting")
    server.settimeout(0.1)
    with pytest.raises(TimeoutError):
        server.recv(1)
    server.settimeout(10)
    link.remove("bandwidth_upstream")
    assert read_exactly(server, 7) == b"waiting"


def test_slow_close_delays_only_the_close(link: Link) -> None:
    """Data passes at once, however late the end."""
    link.add("slow_close", delay=60_000)
    client, server = link.connect()
    client.sendall(b"data")
    client.close()
    assert read_exactly(server, 4) == b"data"
    server.settimeout(0.1)
    with pytest.raises(TimeoutError):
        server.recv(1)


def test_slow_close_keeps_its_time(link: Link) -> None:
    """300 ms."""
    link.add("slow_close", delay=300)
    client, server = link.connect()
    start = time.monotonic()
    client.close()
    assert server.recv(1) == b""
    assert 0.3 <= time.monotonic() - start < 5


def test_timeout_drops_data_and_closes(link: Link) -> None:
    """Nothing arrives, and after the time the connection ends."""
    link.add("timeout", timeout=100)
    client, server = link.connect()
    start = time.monotonic()
    client.sendall(b"lost")
    assert server.recv(1) == b""
    assert 0.09 <= time.monotonic() - start < 3


@pytest.mark.parametrize("before", [0, 60_000])
def test_a_changed_timeout_closes_live_connections_in_its_time(link: Link, before: int) -> None:
    """Counted from the change."""
    link.add("timeout", timeout=before)
    client, server = link.connect()
    client.sendall(b"lost")
    start = time.monotonic()
    link.update("timeout_upstream", timeout=100)
    assert server.recv(1) == b""
    assert 0.09 <= time.monotonic() - start < 5


def test_a_time_of_centuries_holds_up_nobody_else(link: Link) -> None:
    """The longest delay there can be leaves the other direction, and the API, alone."""
    link.add("latency", latency=2**63 - 1)
    client, server = link.connect()
    client.sendall(b"never")
    link.until_received(5)
    for _ in range(3):
        server.sendall(b"now")
        assert read_exactly(client, 3) == b"now"


def test_reset_peer_resets(link: Link) -> None:
    """The client sees a reset, not an end."""
    link.add("reset_peer", timeout=50)
    client, _ = link.connect()
    start = time.monotonic()
    client.sendall(b"x")
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert 0.05 <= time.monotonic() - start < 3


def test_slicer_cuts_and_loses_nothing(link: Link) -> None:
    """No piece is larger than average and variation together, where there is time between them."""
    link.add("slicer", average_size=40, size_variation=10, delay=3_000)
    client, server = link.connect()
    data = os.urandom(1_000)
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
    pieces = list(iter(lambda: server.recv(4096), b""))
    assert b"".join(pieces) == data
    assert len(pieces) > 10
    assert sorted(map(len, pieces))[len(pieces) // 2] <= 50


def test_limit_data_passes_that_many_and_closes(link: Link) -> None:
    """The limit counts over chunks; what came before it arrives."""
    link.add("limit_data", bytes=10)
    client, server = link.connect()
    client.sendall(b"012345")
    assert read_exactly(server, 6) == b"012345"
    client.sendall(b"6789ABCDEF")
    assert read_all(server) == b"6789"
    assert client.recv(1) == b""


def test_toxics_in_a_row_all_act(link: Link) -> None:
    """Latency and then a limit."""
    link.add("latency", latency=60)
    link.add("limit_data", bytes=4)
    client, server = link.connect()
    start = time.monotonic()
    client.sendall(b"012345")
    assert read_all(server) == b"0123"
    assert 0.06 <= time.monotonic() - start < 3


def test_a_toxic_of_toxicity_zero_acts_on_nobody(link: Link) -> None:
    """And one of 1 on everybody."""
    body = {"type": "timeout", "stream": "upstream", "toxicity": 0.0, "attributes": {"timeout": 0}}
    link.api.call("POST", "/proxies/t-link/toxics", body)
    client, server = link.connect()
    client.sendall(b"through")
    assert read_exactly(server, 7) == b"through"


def test_disabling_closes_live_connections(link: Link) -> None:
    """Both ends see the end."""
    client, server = link.connect()
    link.api.call("POST", "/proxies/t-link", {"enabled": False})
    assert client.recv(1) == b""
    assert server.recv(1) == b""


def test_reset_of_the_server_keeps_live_connections(link: Link) -> None:
    """Toxics go, connections stay, and nothing is lost."""
    client, server = link.connect()
    link.add("latency", latency=300)
    client.sendall(b"before")
    assert link.api.call("POST", "/reset").status == 204
    client.sendall(b" after")
    assert read_exactly(server, 12) == b"before after"


BULK_MB = int(os.environ.get("STRAYBIT_BULK_MB", "6"))


def test_no_byte_differs_under_three_toxics(link: Link) -> None:
    """Latency, slicer and bandwidth together change times and sizes of pieces, never a byte or its place."""
    link.add("latency", latency=5, jitter=3)
    link.add("slicer", average_size=30_000, size_variation=20_000)
    link.add("bandwidth", rate=2_000_000)
    client, server = link.connect()
    block = os.urandom(1_000_003)

    def send() -> None:
        for _ in range(BULK_MB):
            client.sendall(block)
        client.shutdown(socket.SHUT_WR)

    threading.Thread(target=send).start()
    place = 0
    while piece := server.recv(1 << 19):
        start = place % len(block)
        expected = block[start : start + len(piece)]
        assert piece == expected + block[: len(piece) - len(expected)]
        place += len(piece)
    assert place == BULK_MB * len(block)
