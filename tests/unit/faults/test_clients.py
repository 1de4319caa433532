"""Every documented call of the Toxiproxy clients for Python, Node and Go, against our server.

The last two are fetched by npm and go when STRAYBIT_CLIENTS names a folder to keep them in.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from toxiproxy import Toxiproxy
from toxiproxy.api import APIConsumer
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists

CLIENTS = os.environ.get("STRAYBIT_CLIENTS")
HERE = Path(__file__).parent / "clients"
there = pytest.mark.skipif(
    CLIENTS is None, reason="set STRAYBIT_CLIENTS=FOLDER to fetch and run Node's and Go's client"
)


@pytest.fixture
def python_client(proxy: Any, monkeypatch: pytest.MonkeyPatch) -> Toxiproxy:
    """toxiproxy-python, which keeps the server's address on a class."""
    monkeypatch.setattr(APIConsumer, "host", proxy.host)
    monkeypatch.setattr(APIConsumer, "port", proxy.port)
    return Toxiproxy()


def test_the_python_client(python_client: Toxiproxy) -> None:
    """Servers, proxies, toxics, and its exceptions."""
    server = python_client
    assert server.running()
    assert b"2.12.0" in server.version()
    one = server.create(name="py-1", upstream="127.0.0.1:9")
    assert one.enabled
    with pytest.raises(ProxyExists):
        server.create(name="py-1", upstream="127.0.0.1:9")
    assert server.get_proxy("py-1").listen == one.listen
    server.populate([{"name": "py-2", "upstream": "127.0.0.1:9", "listen": "127.0.0.1:0"}])
    assert {"py-1", "py-2"} <= set(server.proxies())
    with one.down():
        assert not server.get_proxy("py-1").enabled
    assert server.get_proxy("py-1").enabled
    one.add_toxic(name="slow", type="latency", attributes={"latency": 10})
    assert one.get_toxic("slow").attributes["latency"] == 10
    with pytest.raises(ProxyExists):
        one.add_toxic(name="slow", type="latency")
    with pytest.raises(InvalidToxic):
        one.add_toxic(type="gremlin")
    one.add_toxic(type="slicer", attributes={"average_size": 10, "size_variation": 10, "delay": 5})
    assert set(one.toxics()) == {"slow", "slicer_downstream"}
    assert one.destroy_toxic("slow")
    assert server.reset()
    assert one.toxics() == {}
    for name in ("py-1", "py-2"):
        assert server.destroy(server.get_proxy(name))
    with pytest.raises(NotFound):
        one.toxics()


@pytest.mark.fetched
@there
def test_the_node_client(proxy: Any) -> None:
    """toxiproxy-node-client, from npm."""
    folder = Path(str(CLIENTS)) / "node"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "node_modules/toxiproxy-node-client").exists():
        install = ["npm", "install", "--no-fund", "--no-audit", "--silent", "toxiproxy-node-client@4.1.0"]
        subprocess.run(install, cwd=folder, check=True, timeout=100)
    command = ["node", str(HERE / "client.mjs"), f"http://{proxy.host}:{proxy.port}"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert result.stdout == "ok\n", result.stderr[-2000:]


@pytest.mark.fetched
@there
def test_the_go_client(proxy: Any) -> None:
    """github.com/Shopify/toxiproxy/v2/client."""
    folder = Path(str(CLIENTS)) / "go"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "client").exists():
        shutil.copy(HERE / "main.go", folder)
        (folder / "go.mod").write_text("module client\n\ngo 1.23\n")
        for command in (["get", "github.com/Shopify/toxiproxy/v2@v2.12.0"], ["build", "-o", "client", "."]):
            subprocess.run(["go", *command], cwd=folder, check=True, timeout=100)
    command = [str(folder / "client"), f"{proxy.host}:{proxy.port}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.stdout == "ok\n", result.stderr[-2000:]
