"""The same links on `selectors`, as macOS has to run them."""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from straybit_faults.proxy.bodies import ProxyBody, ToxicBody
from straybit_faults.proxy.loop import Loop
from straybit_faults.proxy.poller import EpollPoller, SelectorPoller
from straybit_faults.proxy.server import Server


@pytest.fixture(params=[EpollPoller, SelectorPoller])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server whose data thread runs here."""
    loop = Loop(request.param())
    server = Server(loop)
    thread = threading.Thread(target=loop.run)
    thread.start()
    yield server
    call(server, server.close)
    loop.submit(loop.stop)
    thread.join()
    loop.close()


def call(server: Server, command: Any) -> Any:
    """Have the data thread do something."""
    future: Future[Any] = Future()
    server.loop.submit(lambda: future.set_result(command()))
    return future.result(5)


@pytest.fixture
def ends(server: Server) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection through the server's proxy `a:b`."""
    with socket.create_server(("127.0.0.1", 0)) as far:
        body = ProxyBody(name="a:b", upstream=f"127.0.0.1:{far.getsockname()[1]}")
        listen = call(server, lambda: server.create(body).listen)
        host, _, port = listen.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as client, far.accept()[0] as other:
            other.settimeout(10)
            yield client, other


def test_large_data_meets_a_slow_reader(ends: Any) -> None:
    """Back-pressure, the end of one half, and then the reply."""
    client, far = ends
    data = os.urandom(4_000_000)
    thread = threading.Thread(target=lambda: (client.sendall(data), client.shutdown(socket.SHUT_WR)))
    thread.start()
    got = bytearray()
    while piece := far.recv(50_000):
        got += piece
    thread.join()
    assert got == data
    far.sendall(b"reply")
    assert client.recv(5) == b"reply"


def test_a_stalled_reader_costs_no_time(ends: Any) -> None:
    """A level that is not wanted is not watched: the loop sleeps."""
    client, far = ends
    client.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.sendall(bytes(30_000_000))
    before = resource.getrusage(resource.RUSAGE_SELF)
    threading.Event().wait(0.3)
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.15
    far.close()


def test_latency_on_a_stream(server: Server, ends: Any) -> None:
    """Timers and stages work the same, and a full stage stops reading without a spin."""
    client, far = ends
    body = ToxicBody(type="latency", stream="upstream", attributes={"latency": 60})
    call(server, lambda: server.add_toxic("a:b", body))
    start = time.monotonic()
    client.sendall(b"late")
    assert far.recv(4) == b"late"
    assert time.monotonic() - start >= 0.06
    call(server, lambda: server.remove_toxic("a:b", "latency_upstream"))
    slow = ToxicBody(type="bandwidth", stream="upstream", attributes={"rate": 1})
    call(server, lambda: server.add_toxic("a:b", slow))
    client.sendall(bytes(500_000))
    before = resource.getrusage(resource.RUSAGE_SELF)
    threading.Event().wait(0.3)
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.15
