"""A small cluster, every node in one event loop in one thread, linked directly."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import threading

import boto3
import msgspec
import pytest
import urllib3
from botocore.config import Config

from straybit.backends._folders import data_folder
from straybit_nodes.config import Dial, NodeConfig
from straybit_nodes.defences import GROUPS
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.serve import start_node
from straybit_nodes.topology import Kind, Region, Role, Topology

TOKEN = "token-of-the-test"
QUICK = Rules(gossip_interval_s=0.05, heartbeat_interval_s=0.2)


class Ports:
    """Ports that are ours: bound, never listening, until the end."""

    def __init__(self):
        self._sockets = []

    def take(self):
        reserved = socket.socket()
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        self._sockets.append(reserved)
        return reserved.getsockname()[1]

    def close(self):
        for reserved in self._sockets:
            reserved.close()


class Mini:
    """Nodes by name; `kill` ends one as a crash would, as far as others see."""

    def __init__(self, topology, folder, *, defences, rules=QUICK):
        self.topology = topology
        self.folder = folder
        self.loop = asyncio.new_event_loop()
        self.ports = Ports()
        self.running = {}
        self.clients = []
        self.http = urllib3.PoolManager(retries=False, maxsize=4)
        self._main = {s.name: self.ports.take() for s in topology.services()}
        self._gossip = {s.name: self.ports.take() for s in topology.services() if s.kind is Kind.BALANCER}
        self.configs = {s.name: self._config(s, defences, rules) for s in topology.services()}
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)

    def start(self, *names):
        for name in names or self.configs:
            self.running[name] = self.call(start_node(self.configs[name]))

    def kill(self, name):
        self.call(self.running.pop(name).close())

    def s3(self, name="lb-1", **config):
        config.setdefault("s3", {})["addressing_style"] = "path"
        client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self._main[name]}",
            aws_access_key_id="access",
            aws_secret_access_key="secret",
            region_name="us-east-1",
            config=Config(retries={"mode": "standard", "total_max_attempts": 1}, **config),
        )
        self.clients.append(client)
        return client

    def request(self, name, method, target, body=None, headers=None):
        return self.http.request(method, f"http://127.0.0.1:{self._main[name]}{target}", body=body, headers=headers)

    def control(self, name, method, path, body=None):
        answer = self.http.request(
            method,
            f"http://127.0.0.1:{self.running[name].control_port}{path}",
            body=msgspec.json.encode(body) if body is not None else None,
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
        return msgspec.json.decode(answer.data)

    def events(self, name, event):
        lines = (self.folder / f"{name}.ndjson").read_bytes().splitlines()
        return [line for line in map(msgspec.json.decode, lines) if line["event"] == event]

    def wait_until(self, true, within_s=10):
        """Wait for `true()`; the nodes' own loop is what the time is spent on."""
        tick = threading.Event()
        for _ in range(int(within_s / 0.02)):
            if true():
                return
            tick.wait(0.02)
        raise AssertionError("it did not come true")

    def wait_known(self):
        members = {m.name for m in self.topology.members()}
        self.wait_until(lambda: all(set(self.control(n, "GET", "/view")["entries"]) == members for n in self.running))

    def close(self):
        for client in self.clients:
            client.close()
        self.http.clear()
        for name in list(self.running):
            with contextlib.suppress(KeyError):
                self.kill(name)
        self.call(self.loop.shutdown_default_executor())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()
        self.ports.close()

    def _config(self, service, defences, rules):
        dials = []
        for link in self.topology.links():
            if link.caller == service.name:
                callee = self.topology.service(link.callee)
                port = self._gossip.get(callee.name) if link.role is Role.GOSSIP else None
                dials.append(Dial(callee.address, link.role, "127.0.0.1", port or self._main[callee.name]))
        (self.folder / service.name).mkdir()
        return NodeConfig(
            service=service,
            members=self.topology.members(),
            dials=tuple(dials),
            listen=("127.0.0.1", self._main[service.name]),
            control=("127.0.0.1", 0),
            gossip_listen=("127.0.0.1", self._gossip[service.name]) if service.name in self._gossip else None,
            token=TOKEN,
            data_dir=str(self.folder / service.name),
            defences=tuple(sorted(defences)),
            rules=rules,
            held=False,
            log=str(self.folder / f"{service.name}.ndjson"),
        )


@contextlib.contextmanager
def mini_cluster(folder, *, defences=GROUPS["all"], servers=3, rules=QUICK):
    """A region of `servers` and one balancer, running and known to each other; a busy disk fails no request."""
    home = data_folder(folder, keep=False)
    mini = Mini(Topology((Region("eu", servers, 1),)), home, defences=defences, rules=rules)
    try:
        mini.start()
        mini.wait_known()
        yield mini
    finally:
        mini.close()
        shutil.rmtree(home)


@pytest.fixture
def mini(tmp_path):
    """Three servers and a balancer with every defence on."""
    with mini_cluster(tmp_path) as mini:
        yield mini
