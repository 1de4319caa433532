"""Limits of the API, its logs, and of UDP flows, lowered so that a test can reach them."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
import requests

from straybit_faults.proxy import address, datagram, events, receipts

Make = Callable[..., Any]


def until(condition: Callable[[], bool]) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def read_all(sock: socket.socket) -> bytes:
    """Everything until the other side's end."""
    return b"".join(iter(lambda: sock.recv(65_536), b""))


# -- the API -----------------------------------------------------------------------------------------------------


def test_a_body_that_never_comes_is_a_408(local_proxy: Make) -> None:
    """Told, not only cut off."""
    proxy = local_proxy(patience_s=0.4)
    with socket.create_connection((proxy.host, proxy.port), timeout=10) as sock:
        sock.sendall(b"POST /proxies HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert sock.recv(4096).startswith(b"HTTP/1.1 408 ")


def test_a_head_that_never_ends_is_cut_off(local_proxy: Make) -> None:
    """However it trickles."""
    proxy = local_proxy(patience_s=0.4)
    with socket.create_connection((proxy.host, proxy.port), timeout=0.05) as sock:
        sock.sendall(b"GET /version HTTP/1.1\r\nX: ")
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                sock.sendall(b"x")
                assert sock.recv(100) == b""
                return
            except TimeoutError:
                continue
            except ConnectionError:
                return
    pytest.fail("still connected")


def test_an_answer_that_nobody_reads_is_cut_off(local_proxy: Make) -> None:
    """It holds no memory for longer than that."""
    proxy = local_proxy(patience_s=0.4)
    bodies = [{"name": f"{n}" * 20_000, "upstream": "127.0.0.1:9", "enabled": False} for n in range(100, 400)]
    for start in range(0, 300, 50):
        body = bodies[start : start + 50]
        assert requests.post(f"http://{proxy.host}:{proxy.port}/populate", json=body, timeout=10).status_code == 201
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect((proxy.host, proxy.port))
        name = sock.getsockname()
        sock.sendall(b"GET /proxies HTTP/1.1\r\nHost: x\r\n\r\n")

        def is_served() -> bool:
            peers = [one.transport.get_extra_info("peername") for one in tuple(proxy.api.served) if one.transport]
            return name in peers

        until(is_served)
        until(lambda: not is_served())
    assert proxy.version() == "2.12.0"


def test_a_thousand_calls_at_once(proxy: Any) -> None:
    """Each is answered."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))
    with ExitStack() as stack:
        socks = [
            stack.enter_context(socket.create_connection((proxy.host, proxy.port), timeout=30)) for _ in range(1000)
        ]
        for sock in socks:
            sock.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert {read_all(sock)[:15] for sock in socks} == {b"HTTP/1.1 200 OK"}


def test_a_slow_name_server_holds_up_nobody(local_proxy: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data and other calls go on while the host of a `listen` is looked up; then it listens there."""
    answer = threading.Event()
    ask = socket.getaddrinfo

    def slow(host: str, *rest: Any, **options: Any) -> Any:
        if host != "slow.test":
            return ask(host, *rest, **options)
        assert answer.wait(10)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(address.socket, "getaddrinfo", slow)
    proxy = local_proxy()
    with socket.create_server(("127.0.0.1", 0)) as far:
        there = proxy.populate([("a:b", "127.0.0.1:0", f"127.0.0.1:{far.getsockname()[1]}")])["a:b"]
        made: dict[str, Any] = {}
        thread = threading.Thread(target=lambda: made.update(proxy.populate([("c:d", "slow.test:0", "127.0.0.1:9")])))
        thread.start()
        with socket.create_connection(there, timeout=5) as client, far.accept()[0] as server:
            client.sendall(b"on")
            assert server.recv(2) == b"on"
        assert "c:d" not in proxy.proxies()
        answer.set()
        thread.join(10)
    assert made["c:d"][0] == "127.0.0.1"


# -- logs --------------------------------------------------------------------------------------------------------


def test_events_and_receipts_are_kept_up_to_a_number(local_proxy: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest stay, and a gap in the numbers says that others went."""
    monkeypatch.setattr(events, "MAX_EVENTS", 5)
    monkeypatch.setattr(receipts, "MAX_RECEIPTS", 3)
    proxy = local_proxy()
    with socket.create_server(("127.0.0.1", 0)) as far:
        there = proxy.populate([("a:b", "127.0.0.1:0", f"127.0.0.1:{far.getsockname()[1]}")])["a:b"]
        aim = {"wire": "framed", "message": "frame", "field": "payload", "bit": 0, "rate": 1.0}
        proxy.add_toxic("a:b", "bitflip", aim)
        with socket.create_connection(there, timeout=5) as client, far.accept()[0] as server:
            client.sendall(b"\0\0\0\1@" * 10)
            until(lambda: len(server.recv(100, socket.MSG_PEEK)) == 50)
            assert [receipt.seq for receipt in proxy.receipts("a:b")] == [7, 8, 9]
    assert [event.seq for event in proxy.server.events.since(0)] == [6, 7, 8, 9, 10]


def test_a_follower_that_leaves_is_forgotten(local_proxy: Make) -> None:
    """Before the next event comes."""
    proxy = local_proxy()
    waiting = proxy.server.events._waiting
    address = f"http://{proxy.host}:{proxy.port}/events?follow=true"
    for _ in range(3):
        with requests.get(address, stream=True, timeout=5):
            until(lambda: len(waiting) == 1)
        until(lambda: not waiting)


# -- UDP flows ---------------------------------------------------------------------------------------------------


class UdpLink:
    """A proxy of datagrams, and the far socket."""

    def __init__(self, proxy: Any, stack: ExitStack) -> None:
        self.proxy = proxy
        self.stack = stack
        self.far = self.socket()
        self.far.bind(("127.0.0.1", 0))
        upstream = f"127.0.0.1:{self.far.getsockname()[1]}"
        body = [{"name": "a:b", "listen": "127.0.0.1:0", "upstream": upstream, "protocol": "udp"}]
        made = requests.post(f"http://{proxy.host}:{proxy.port}/populate", json=body, timeout=5).json()["proxies"][0]
        host, _, port = made["listen"].rpartition(":")
        self.address = (host, int(port))
        self.flows = proxy.server.proxies["a:b"].flows

    def socket(self) -> socket.socket:
        """A UDP socket that is closed in the end."""
        sock = self.stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.settimeout(5)
        return sock

    def client(self) -> tuple[socket.socket, Any]:
        """A client that has said something, and where the far end answers it."""
        sock = self.socket()
        sock.connect(self.address)
        sock.send(b"hello")
        return sock, self.far.recvfrom(100)[1]

    def full(self) -> list[str]:
        """Reasons of events about limits."""
        return [event.reason for event in self.proxy.server.events.since(0) if event.event == "full"]


def test_the_flow_that_was_silent_longest_makes_room(local_proxy: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silent in both directions: one that only downloads stays."""
    monkeypatch.setattr(datagram, "MAX_FLOWS", 2)
    with ExitStack() as stack:
        link = UdpLink(local_proxy(), stack)
        (one, back), (two, _) = link.client(), link.client()
        link.far.sendto(b"download", back)
        assert one.recv(100) == b"download"
        three, _ = link.client()
        assert set(link.flows) == {one.getsockname(), three.getsockname()}
        assert two.getsockname() not in link.flows
        assert link.full() == ["more than 2 flows: the oldest was forgotten"]


def test_a_silent_flow_is_forgotten_behind_one_that_downloads(
    local_proxy: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first flow stays for as long as anything comes, and holds up nobody's end."""
    monkeypatch.setattr(datagram, "IDLE_S", 0.5)
    with ExitStack() as stack:
        link = UdpLink(local_proxy(), stack)
        (one, back), (two, _) = link.client(), link.client()

        def two_is_gone() -> bool:
            link.far.sendto(b"download", back)
            assert one.recv(100) == b"download"
            return two.getsockname() not in link.flows

        until(two_is_gone)
        assert one.getsockname() in link.flows


@pytest.mark.parametrize(
    ("kind", "attributes", "arrive"),
    [
        ("latency", {"latency": 300}, [b"0", b"1"]),
        ("delay", {"wire": "datagram", "message": "datagram", "every": 1, "delay": 300}, [b"2", b"3", b"0", b"1"]),
    ],
)
def test_so_many_datagrams_wait(
    local_proxy: Make, monkeypatch: pytest.MonkeyPatch, kind: str, attributes: dict[str, Any], arrive: list[bytes]
) -> None:
    """Those beyond are lost to `latency`, and not delayed by `delay`; an event says so."""
    monkeypatch.setattr(datagram, "MAX_WAITING", 2)
    with ExitStack() as stack:
        link = UdpLink(local_proxy(), stack)
        client, _ = link.client()
        link.proxy.add_toxic("a:b", kind, attributes)
        for number in range(4):
            client.send(b"%d" % number)
        assert [link.far.recv(100) for _ in arrive] == arrive
        assert link.full() == ["more than 2 datagrams waiting"] * 2
        assert link.proxy.server.proxies["a:b"].waiting == 0
