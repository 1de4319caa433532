"""One storage node on loopback, in a thread of its own, without anybody beside it."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack, asynccontextmanager, contextmanager

import boto3
import msgspec
import pytest
import urllib3
from botocore.config import Config

from straybit_nodes.config import NodeConfig
from straybit_nodes.defences import GROUPS
from straybit_nodes.serve import Edges, RunningNode
from straybit_nodes.storage.server import StorageNode
from straybit_nodes.topology import Kind, Service

TOKEN = "token-of-the-test"


class Nobody:
    """A sibling that knows no one, for a node whose region has one server."""

    def entries(self):
        return {}

    async def start(self):
        return None

    async def stop(self):
        return None

    def clear(self):
        return None

    @asynccontextmanager
    async def place(self, peer):
        raise ConnectionRefusedError(f"there is no {peer}")
        yield 0


class Lone:
    """A running node, and how to speak to it."""

    def __init__(self, running, log):
        self.running = running
        self.url = f"http://127.0.0.1:{running.port}"
        self.log_path = log
        self.http = urllib3.PoolManager(retries=False)

    @property
    def port(self):
        return self.running.port

    def s3(self, **config):
        config.setdefault("s3", {})["addressing_style"] = "path"
        settings = Config(retries={"mode": "standard", "total_max_attempts": 1}, **config)
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id="access",
            aws_secret_access_key="secret",
            region_name="us-east-1",
            config=settings,
        )

    def request(self, method, target, body=None, **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.request(method, self.url + target, body=body, headers=named)

    def control(self, method, path, body=None, token=TOKEN):
        return self.http.request(
            method,
            f"http://127.0.0.1:{self.running.control_port}{path}",
            body=msgspec.json.encode(body) if body is not None else None,
            headers={"Authorization": f"Bearer {token}"},
        )

    def detections(self, defence):
        counter = self.running.edges.metrics.detections
        return counter.labels(defence)._value.get()

    def events(self, name):
        lines = [msgspec.json.decode(line) for line in self.log_path.read_bytes().splitlines()]
        return [line for line in lines if line["event"] == name]


@contextmanager
def run_lone(folder, *, defences=GROUPS["all"], held=False, **config):
    """Run a lone storage node over `folder` in a thread."""
    log = folder / "node.ndjson"
    service = Service("storage-1", Kind.STORAGE, "eu", 1, 0x0A010001)
    config = NodeConfig(
        service=service,
        members=(Service("gossip-1", Kind.GOSSIP, "eu", 1, 0x0A010001),),
        dials=(),
        listen=("127.0.0.1", 0),
        control=("127.0.0.1", 0),
        token=TOKEN,
        data_dir=str(folder / "data"),
        defences=tuple(sorted(defences)),
        held=held,
        log=str(log),
        **config,
    )
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start():
        edges = Edges(config)
        node = StorageNode(config, log=edges.log, metrics=edges.metrics, dials=edges.dials, beside=Nobody())
        running = RunningNode(config, node, edges)
        await running.open()
        return running

    running = asyncio.run_coroutine_threadsafe(start(), loop).result(5)
    lone = Lone(running, log)
    try:
        yield lone
    finally:
        lone.http.clear()
        asyncio.run_coroutine_threadsafe(running.close(), loop).result(5)
        asyncio.run_coroutine_threadsafe(loop.shutdown_default_executor(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


@pytest.fixture
def lone(tmp_path):
    """A lone node with every defence on."""
    with run_lone(tmp_path) as lone:
        yield lone


@pytest.fixture
def bare(tmp_path):
    """A lone node with every defence off."""
    with run_lone(tmp_path, defences=frozenset()) as lone:
        yield lone


@pytest.fixture
def lone_with(tmp_path):
    """Start a lone node with the defences that are named, and what its configuration is to say besides."""
    with ExitStack() as stack:
        yield lambda defences, **config: stack.enter_context(run_lone(tmp_path, defences=frozenset(defences), **config))
