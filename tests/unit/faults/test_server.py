"""The proxy as a process: leases, limits, events, rubbish, full tables, and how it starts and ends."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from straybit_faults.client import ProxyError, ProxyServer


def until(condition: Any, timeout_s: float = 5.0) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def url(proxy: ProxyServer, path: str) -> str:
    """Of the API."""
    return f"http://{proxy.host}:{proxy.port}{path}"


def events(proxy: ProxyServer, **query: Any) -> list[dict[str, Any]]:
    """The log, from a number on."""
    text = requests.get(url(proxy, "/events"), params=query, timeout=5).text
    return [json.loads(line) for line in text.splitlines()]


def test_a_toxic_whose_lease_is_not_renewed_is_gone(upstream: Any, proxy: Any) -> None:
    """And one that is renewed stays."""
    for name in ("kept", "left"):
        proxy.add_toxic(upstream.name, "latency", {"latency": 1}, name=name, lease_s=0.4)

    def left_is_gone() -> bool:
        proxy.update_toxic(upstream.name, "kept")
        return [toxic.name for toxic in proxy.proxies()[upstream.name].toxics] == ["kept"]

    until(left_is_gone)
    assert any((event["event"], event.get("toxic")) == ("expired", "left") for event in events(proxy))
    until(lambda: not proxy.proxies()[upstream.name].toxics)


def test_a_proxy_whose_lease_is_not_renewed_is_gone(proxy: Any) -> None:
    """Its listener closes."""
    body = [{"name": "leased", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9", "lease_s": 0.1}]
    made = requests.post(url(proxy, "/populate"), json=body, timeout=5).json()["proxies"][0]
    assert made["lease_s"] == 0.1
    until(lambda: "leased" not in proxy.proxies())
    host, _, port = made["listen"].rpartition(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))


@pytest.mark.parametrize("lease_s", [0, -1, 1e9])
def test_an_impossible_lease_is_refused(upstream: Any, proxy: Any, lease_s: float) -> None:
    """And nothing is armed."""
    with pytest.raises(ProxyError, match="lease_s must be"):
        proxy.add_toxic(upstream.name, "latency", {}, lease_s=lease_s)
    assert proxy.proxies()[upstream.name].toxics == []


def test_a_toxic_can_be_limited_to_a_source(upstream: Any, proxy: Any) -> None:
    """Others pass untouched."""
    proxy.add_toxic(upstream.name, "bitflip", {"offset": 0, "bit": 0}, source="127.0.0.2/32")
    got = {}
    for source in ("127.0.0.1", "127.0.0.2"):
        with socket.create_connection(upstream.address, timeout=5, source_address=(source, 0)) as client:
            server, _ = upstream.listener.accept()
            with server:
                client.sendall(b"@")
                got[source] = server.recv(1)
    assert got == {"127.0.0.1": b"@", "127.0.0.2": b"A"}


def test_a_toxic_can_be_limited_to_connections(upstream: Any, proxy: Any) -> None:
    """Counted since it was armed; one that was open before is none of them."""
    before = upstream.connect()
    proxy.add_toxic(upstream.name, "bitflip", {"offset": 0, "bit": 0}, connections=[1])
    pairs = [before, upstream.connect(), upstream.connect()]
    for client, _ in pairs:
        client.sendall(b"@")
    assert [server.recv(1) for _, server in pairs] == [b"@", b"@", b"A"]


def test_events_say_what_happened_and_can_be_read_on(upstream: Any, proxy: Any) -> None:
    """What a toxic did, what it could not do, and nothing twice."""
    start = len(events(proxy)) and events(proxy)[-1]["seq"] + 1
    aim = {"wire": "http1", "message": "request"}
    proxy.add_toxic(upstream.name, "bitflip", {**aim, "field": "body", "bit": 0, "count": 2})
    client, server = upstream.connect()
    client.sendall(b"GET / HTTP/1.1\r\n\r\nPUT / HTTP/1.1\r\nContent-Length: 1\r\n\r\n@rubbish\r\n\r\n")
    until(lambda: server.recv(100).endswith(b"rubbish\r\n\r\n"))
    found = events(proxy, since=start)
    assert [event["event"] for event in found] == ["added", "missed", "lost", "applied"]
    assert found[1]["reason"] == "request 0: request has no field body"
    assert found[2]["reason"].startswith("http1: ")
    assert found[3]["receipt"] == proxy.receipts(upstream.name)[0].seq
    assert [event["seq"] for event in found] == list(range(start, start + 4))


def test_events_can_be_followed(upstream: Any, proxy: Any) -> None:
    """A follower hears of an event when it happens."""
    start = events(proxy)[-1]["seq"] + 1 if events(proxy) else 0
    query = {"since": start, "follow": "true"}
    with requests.get(url(proxy, "/events"), params=query, stream=True, timeout=5) as stream:
        lines = stream.iter_lines(chunk_size=1)
        for name in ("one", "two"):
            proxy.add_toxic(upstream.name, "latency", {}, name=name)
            event = json.loads(next(lines))
            assert (event["event"], event["toxic"]) == ("added", name)


def test_receipts_by_query(upstream: Any, proxy: Any) -> None:
    """By toxic, connection, number and delivery."""
    for name, offset in (("a", 0), ("b", 1)):
        proxy.add_toxic(upstream.name, "bitflip", {"offset": offset, "bit": 0}, name=name)
    for _ in range(2):
        client, server = upstream.connect()
        client.sendall(b"@@")
        until(lambda s=server: s.recv(2, socket.MSG_PEEK) == b"AA")

    def found(**query: Any) -> list[tuple[str, int]]:
        rows = requests.get(url(proxy, "/receipts"), params={"proxy": upstream.name, **query}, timeout=5).json()
        return [(row["toxic"], row["connection"]) for row in rows]

    assert found() == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert found(toxic="b") == [("b", 0), ("b", 1)]
    assert found(connection=1) == [("a", 1), ("b", 1)]
    assert found(since=proxy.receipts(upstream.name)[3].seq) == [("b", 1)]
    until(lambda: len(found(delivered="true")) == 4)
    assert requests.get(url(proxy, "/receipts"), params={"since": "x"}, timeout=5).status_code == 400


def test_thousands_of_receipts_are_one_array(upstream: Any, proxy: Any) -> None:
    """However many portions they are encoded in."""
    aim = {"wire": "framed", "message": "frame", "field": "payload", "bit": 0, "rate": 1.0}
    proxy.add_toxic(upstream.name, "bitflip", aim)
    client, server = upstream.connect()
    client.sendall(b"\0\0\0\1@" * 1500)
    got = b""
    while len(got) < 7500:
        got += server.recv(65_536)
    assert got == b"\0\0\0\1A" * 1500
    assert [receipt.ordinal for receipt in proxy.receipts(upstream.name)] == list(range(1500))


def test_a_toxic_of_create_acts_on_the_first_byte(proxy: Any) -> None:
    """No connection slips through between two calls."""
    with socket.create_server(("127.0.0.1", 0)) as far:
        toxics = [{"type": "bitflip", "stream": "upstream", "attributes": {"connection": 0, "offset": 0, "bit": 0}}]
        body = {"name": "armed", "upstream": f"127.0.0.1:{far.getsockname()[1]}", "toxics": toxics}
        listen = requests.post(url(proxy, "/proxies"), json=body, timeout=5).json()["listen"]
        host, _, port = listen.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=5) as client, far.accept()[0] as server:
            client.sendall(b"@")
            assert server.recv(1) == b"A"
    proxy.delete("armed")


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("slicer", {"average_size": 0, "size_variation": 0}),
        ("slicer", {"average_size": 5, "size_variation": 500}),
        ("slicer", {"average_size": -5, "size_variation": -5, "delay": -1}),
        ("bandwidth", {"rate": -1}),
        ("latency", {"latency": -100, "jitter": -5}),
        ("limit_data", {"bytes": -1}),
        ("timeout", {"timeout": -1}),
    ],
)
def test_what_crashes_toxiproxy_is_clamped(upstream: Any, proxy: Any, kind: str, attributes: Any) -> None:
    """Numbers out of range harm nobody, and the server lives on."""
    proxy.add_toxic(upstream.name, kind, attributes)
    client, server = upstream.connect()
    client.sendall(b"0123456789" * 100)
    server.settimeout(0.05)
    got = b""
    try:
        while len(got) < 1000 and (piece := server.recv(1000)):
            got += piece
    except TimeoutError:
        pass
    assert got == (b"0123456789" * 100 if kind in ("slicer", "latency") else b"")
    assert proxy.version() == "2.12.0"


def test_a_stuck_peer_holds_up_nobody(upstream: Any, proxy: Any) -> None:
    """Removing a toxic while the receiver does not read answers at once, and another connection goes on."""
    proxy.add_toxic(upstream.name, "bandwidth", {"rate": 1_000_000})
    client, server = upstream.connect()
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.sendall(bytes(50_000_000))
    proxy.remove_toxic(upstream.name, "bandwidth_upstream")  # raises when there is no answer in time
    other, far = upstream.connect()
    other.sendall(b"on")
    assert far.recv(2) == b"on"
    server.close()


def test_rubbish_on_the_api_harms_nobody(proxy: Any) -> None:
    """Whatever is sent, the next call is answered."""
    for rubbish in (
        b"\0\1\2\3\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /proxies HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ):
        with socket.create_connection((proxy.host, proxy.port), timeout=5) as sock:
            sock.sendall(rubbish)
            assert b" 400 " in sock.recv(4096)
    deep = "[" * 100_000
    assert requests.post(url(proxy, "/populate"), data=deep, timeout=5).status_code == 400
    huge = "x" * 5_000_000
    assert requests.post(url(proxy, "/proxies"), data=huge, timeout=5).status_code == 413
    assert proxy.version() == "2.12.0"


def test_slow_requests_wait_alone(proxy: Any) -> None:
    """Many clients that never finish their request do not delay one that does."""
    slow = [socket.create_connection((proxy.host, proxy.port)) for _ in range(100)]
    for sock in slow:
        sock.sendall(b"POST /proxies HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert proxy.version() == "2.12.0"  # raises when there is no answer in time
    for sock in slow:
        sock.close()


def test_many_calls_at_once_are_all_answered(upstream: Any, proxy: Any) -> None:
    """Hundreds of calls, and data goes on meanwhile."""
    client, server = upstream.connect()
    with ThreadPoolExecutor(16) as pool:
        calls = [pool.submit(requests.get, url(proxy, "/proxies"), timeout=30) for _ in range(300)]
        passed = 0
        while not all(call.done() for call in calls):
            client.sendall(b"x")
            assert server.recv(1) == b"x"
            passed += 1
    assert {call.result().status_code for call in calls} == {200}
    assert passed > 1  # one alone has waited for every call


def served(address: tuple[str, int], far: socket.socket) -> bool:
    """Whether a new connection gets through to `far`."""
    far.settimeout(0.2)
    with socket.create_connection(address, timeout=5) as client, contextlib.suppress(OSError):
        client.sendall(b"again")
        while True:
            with far.accept()[0] as server:
                server.settimeout(0.2)
                if server.recv(5) == b"again":
                    return True
    return False


def test_a_full_descriptor_table_is_an_event_and_passes(start_proxy: Any) -> None:
    """Connections beyond it end at once, the API still answers, and when others end, new ones are served."""
    proxy = start_proxy()
    far = socket.create_server(("127.0.0.1", 0), backlog=200)
    address = proxy.populate([("a:b", "127.0.0.1:0", f"127.0.0.1:{far.getsockname()[1]}")])["a:b"]
    used = len(list(Path(f"/proc/{proxy.process.pid}/fd").iterdir()))
    resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE, (used + 80, used + 80))
    clients = [socket.create_connection(address, timeout=5) for _ in range(60)]
    until(lambda: any(event["event"] == "full" for event in events(proxy)))
    cpu = sum(map(float, Path(f"/proc/{proxy.process.pid}/stat").read_text().split()[13:15]))
    threading.Event().wait(0.3)
    assert sum(map(float, Path(f"/proc/{proxy.process.pid}/stat").read_text().split()[13:15])) - cpu < 15
    for client in clients:
        client.close()
    until(lambda: served(address, far))
    far.close()
    proxy.stop()


def test_sigterm_lets_bytes_arrive_and_exits_clean(start_proxy: Any) -> None:
    """What is under way is delivered, then the process ends with 0."""
    proxy = start_proxy()
    with socket.create_server(("127.0.0.1", 0)) as far:
        address = proxy.populate([("a:b", "127.0.0.1:0", f"127.0.0.1:{far.getsockname()[1]}")])["a:b"]
        proxy.add_toxic("a:b", "latency", {"latency": 300})
        with socket.create_connection(address, timeout=5) as client, far.accept()[0] as server:
            client.sendall(b"late")
            until(lambda: b"} 4.0\n" in requests.get(url(proxy, "/metrics"), timeout=5).content)
            proxy.process.send_signal(signal.SIGTERM)
            assert server.recv(10) == b"late"
            assert server.recv(10) == b""
    assert proxy.process.wait(10) == 0


def test_a_killed_proxy_leaves_nothing_in_the_way(start_proxy: Any) -> None:
    """The same ports can be had at once."""
    first = start_proxy()
    address = first.populate([("a:b", "127.0.0.1:0", "127.0.0.1:9")])["a:b"]
    first.process.kill()
    first.process.wait()
    second = start_proxy("--port", str(first.port))
    assert second.port == first.port
    listen = f"{address[0]}:{address[1]}"
    assert second.populate([("a:b", listen, "127.0.0.1:9")])["a:b"] == address


def run(*options: str) -> subprocess.CompletedProcess[str]:
    """A start that must fail."""
    command = [sys.executable, "-m", "straybit_faults.proxy", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def test_a_taken_port_is_one_line(proxy: Any) -> None:
    """What, why, what to do; exit 2."""
    result = run("--port", str(proxy.port))
    assert result.returncode == 2
    expected = f"the proxy's API cannot listen on 127.0.0.1:{proxy.port}: address already in use; choose another"
    assert result.stderr.startswith(expected)
    assert result.stderr.count("\n") == 1


def test_a_configuration_makes_proxies_at_start(start_proxy: Any, tmp_path: Path) -> None:
    """The same JSON as populate takes."""
    config = tmp_path / "proxies.json"
    toxics = [{"type": "latency", "attributes": {"latency": 5}}]
    proxies = [{"name": "redis", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:6379", "toxics": toxics}]
    config.write_text(json.dumps(proxies))
    made = start_proxy("--config", str(config)).proxies()["redis"]
    assert (made.enabled, made.upstream, made.toxics[0].attributes["latency"]) == (True, "127.0.0.1:6379", 5)


def test_a_wire_is_given_by_hand(start_proxy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Module and attribute, and toxics find it by its name."""
    text = (
        'from straybit_faults.wires.framed import Framed, Part\nWIRE = Framed(name="mine", parts=(Part("all", 0),))\n'
    )
    (tmp_path / "my_wire.py").write_text(text)
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(tmp_path), before))))
    proxy = start_proxy("--wire", "my_wire:WIRE")
    proxy.populate([("a:b", "127.0.0.1:0", "127.0.0.1:9")])
    aim = {"wire": "mine", "message": "frame", "field": "all", "bit": 0}
    assert proxy.add_toxic("a:b", "bitflip", aim).attributes["wire"] == "mine"
    for where in ("my_wire:NOTHING", "no_such_module:WIRE", "my_wire"):
        result = run("--port", "0", "--wire", where)
        assert (result.returncode, result.stderr.count("\n")) == (2, 1)
        assert f"wire '{where}' cannot be loaded" in result.stderr


@pytest.mark.parametrize("text", ["", "{}", '[{"name": "x"}]', '[{"name": "x", "upstream": "nonsense"}]'])
def test_a_bad_configuration_is_one_line(tmp_path: Path, text: str) -> None:
    """And exit 2."""
    config = tmp_path / "proxies.json"
    config.write_text(text)
    result = run("--port", "0", "--config", str(config))
    assert result.returncode == 2
    assert str(config) in result.stderr
    assert result.stderr.count("\n") == 1


def hits(proxy: ProxyServer) -> list[bool]:
    """Which of 16 connections a toxic of toxicity 0.5 acts on."""
    with socket.create_server(("127.0.0.1", 0)) as far:
        address = proxy.populate([("a:b", "127.0.0.1:0", f"127.0.0.1:{far.getsockname()[1]}")])["a:b"]
        proxy.add_toxic("a:b", "bitflip", {"offset": 0, "bit": 0}, toxicity=0.5)
        found = []
        for _ in range(16):
            with socket.create_connection(address, timeout=5) as client, far.accept()[0] as server:
                client.sendall(b"@")
                found.append(server.recv(1) == b"A")
    proxy.delete("a:b")
    return found


def test_the_seed_decides_toxicity(start_proxy: Any) -> None:
    """The same seed, the same connections; another, others; and half of them, more or less."""
    one, same, other = (hits(start_proxy("--seed", seed)) for seed in ("5", "5", "6"))
    assert one == same
    assert one != other
    assert 2 < sum(one) < 14


def test_two_servers_are_told_apart(proxy: Any, start_proxy: Any) -> None:
    """The client keeps each server's address to itself."""
    other = start_proxy()
    other.populate([("only:here", "127.0.0.1:0", "127.0.0.1:9")])
    assert "only:here" in other.proxies()
    assert "only:here" not in proxy.proxies()


def test_a_silent_server_is_an_error() -> None:
    """Nobody there: one line that says so."""
    with socket.create_server(("127.0.0.1", 0)) as spare:
        port = spare.getsockname()[1]
    with pytest.raises(ProxyError, match="is it running"):
        ProxyServer("127.0.0.1", port).version()


def test_the_environments_proxy_is_passed_by_on_loopback_alone(proxy: Any, dead_http_proxy: int) -> None:
    """HTTP_PROXY is not asked for a server on this machine; for one elsewhere it is, as it always was."""
    assert proxy.version() == "2.12.0"
    with pytest.raises(ProxyError, match=rf"HTTPConnectionPool\(host='127.0.0.1', port={dead_http_proxy}\)"):
        ProxyServer("toxiproxy.invalid", 8474).version()
