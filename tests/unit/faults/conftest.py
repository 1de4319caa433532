"""A proxy in a process of its own, as users run it, upstreams to stand behind it, and real Toxiproxy beside it.

`STRAYBIT_TOXIPROXY` names Toxiproxy's binary; without it, `toxiproxy-server` is looked for on the path.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from straybit_faults.client import ProxyServer
from straybit_faults.proxy.api import Api
from straybit_faults.proxy.loop import Loop
from straybit_faults.proxy.server import Server

BINARY = os.environ.get("STRAYBIT_TOXIPROXY") or shutil.which("toxiproxy-server")


class RunningProxy(ProxyServer):
    """A proxy process and its client."""

    def __init__(self, *options: str) -> None:
        reader, writer = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "straybit_faults.proxy", "--port", "0", "--ready-fd", str(writer), *options],
            pass_fds=[writer],
            stderr=subprocess.PIPE,
        )
        os.close(writer)
        with os.fdopen(reader) as ready:
            host, _, port = ready.readline().strip().rpartition(":")
        super().__init__(host, int(port))

    def stop(self) -> str:
        """End it and answer what it complained about."""
        self.process.terminate()
        _, errors = self.process.communicate(timeout=10)
        assert self.process.returncode == 0, errors.decode()
        return errors.decode()


class LocalProxy(ProxyServer):
    """A proxy within this process, whose limits a test may lower before it is made."""

    def __init__(self, **options: float) -> None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        super().__init__(*listener.getsockname())
        self.loop = Loop()
        self.server = Server(self.loop)
        self.api = Api(self.server, listener, **options)
        self.thread = threading.Thread(target=self.loop.run, daemon=True)
        self.thread.start()
        self.api.start()

    def stop(self) -> None:
        """As a process ends, without waiting for bytes."""
        self.loop.submit(self.loop.stop)
        self.thread.join(10)
        self.api.stop()
        self.server.close()
        self.loop.close()


@pytest.fixture
def local_proxy() -> Iterator[Callable[..., LocalProxy]]:
    """Makes them; whatever was made is ended."""
    made: list[LocalProxy] = []

    def make(**options: float) -> LocalProxy:
        made.append(LocalProxy(**options))
        return made[-1]

    yield make
    for one in made:
        one.stop()


class Upstream:
    """A listening socket behind one proxy; `connect` gives both ends of a new connection."""

    def __init__(self, proxy: ProxyServer, name: str) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.listener.settimeout(10)
        self.name = name
        self.proxy = proxy
        self.address = proxy.populate([(name, "127.0.0.1:0", f"127.0.0.1:{self.listener.getsockname()[1]}")])[name]
        self.stack = ExitStack()

    def connect(self) -> tuple[socket.socket, socket.socket]:
        """The client's end and the server's end."""
        client = self.stack.enter_context(socket.create_connection(self.address, timeout=10))
        server, _ = self.listener.accept()
        self.stack.enter_context(server)
        server.settimeout(10)
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client, server

    def close(self) -> None:
        """Remove the proxy and close everything."""
        self.stack.close()
        self.listener.close()
        self.proxy.delete(self.name)


@pytest.fixture(scope="session")
def proxy() -> Iterator[RunningProxy]:
    """One proxy process for all tests; each brings its own links."""
    running = RunningProxy()
    yield running
    log = requests.get(f"http://{running.host}:{running.port}/events", timeout=5).text
    assert [line for line in log.splitlines() if json.loads(line)["event"] == "error"] == []
    assert running.stop() == ""


@pytest.fixture
def start_proxy() -> Iterator[type[RunningProxy]]:
    """The class itself, for a process of one's own; whatever is started is ended."""
    started: list[RunningProxy] = []

    class Started(RunningProxy):
        def __init__(self, *options: str) -> None:
            super().__init__(*options)
            started.append(self)

    yield Started
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
        running.process.communicate()


@pytest.fixture
def upstream(proxy: RunningProxy, request: pytest.FixtureRequest) -> Iterator[Upstream]:
    """A link of this test's own, `caller:callee`-shaped, through the common proxy."""
    link = Upstream(proxy, f"client:{request.node.name.partition('[')[0]}")
    yield link
    link.close()


@pytest.fixture(scope="module")
def socket_link(proxy: RunningProxy) -> Iterator[Upstream]:
    """A link for a whole module: Hypothesis runs its examples within one test."""
    link = Upstream(proxy, "client:property")
    yield link
    link.close()


@dataclass
class Reply:
    """One answer."""

    status: int
    headers: Any
    text: str

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.text)


class ApiCalls:
    """A server under test, and the raw calls to it."""

    def __init__(self, name: str, host: str, port: int) -> None:
        self.name = name
        self.host = host
        self.port = port

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """One call; a body that is no text is sent as JSON."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        text = body if isinstance(body, (str, type(None))) else json.dumps(body)
        connection.request(method, path, text, {key.replace("_", "-"): value for key, value in headers.items()})
        response = connection.getresponse()
        reply = Reply(response.status, response.headers, response.read().decode())
        connection.close()
        return reply


@pytest.fixture(scope="session", params=["ours", *(["toxiproxy"] if BINARY else [])])
def server(request: pytest.FixtureRequest) -> Iterator[ApiCalls]:
    """Ours, or the real one."""
    if request.param == "ours":
        proxy: ProxyServer = request.getfixturevalue("proxy")
        yield ApiCalls("ours", proxy.host, proxy.port)
        return
    with socket.create_server(("127.0.0.1", 0)) as spare:
        port = spare.getsockname()[1]
    command = [str(BINARY), "-host", "127.0.0.1", "-port", str(port), "-proxy-metrics"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while True:
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                break
    yield ApiCalls("toxiproxy", "127.0.0.1", port)
    process.terminate()
    process.wait(10)


@pytest.fixture
def api(server: ApiCalls) -> Iterator[ApiCalls]:
    """A server without this test's proxies."""
    yield server
    for name in server.call("GET", "/proxies").json:
        if name.startswith("t-"):
            server.call("DELETE", f"/proxies/{name}")
