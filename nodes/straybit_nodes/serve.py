"""Starts a node of any kind from its configuration, and ends it on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
from collections.abc import Callable
from typing import Protocol

from straybit_nodes.config import NodeConfig
from straybit_nodes.control import ControlServer, Routes
from straybit_nodes.dial import DialTable
from straybit_nodes.logs import Log
from straybit_nodes.metrics import Metrics
from straybit_nodes.topology import Kind

__all__ = ["Edges", "Node", "RunningNode", "run_node", "start_node"]

_PR_SET_PDEATHSIG = 1


class Edges:
    """What a node of any kind talks to the outside with: its log, its metrics, its dial table."""

    def __init__(self, config: NodeConfig) -> None:
        rules = config.rules
        self.log = Log(config.service.name, config.log)
        self.metrics = Metrics()
        self.dials = DialTable(config.dials, connect_timeout_s=rules.connect_timeout_s, slow_failure=rules.slow_failure)


class Node(Protocol):
    """One kind of node."""

    @property
    def port(self) -> int:
        """Where it listens, once open."""

    async def open(self) -> None:
        """Listen on `config.listen`; run at once unless `config.held`. Raises OSError when the port is taken."""

    async def close(self) -> None:
        """End everything it began."""

    def routes(self) -> Routes:
        """What its control port obeys."""


class RunningNode:
    """A node and its control port, open."""

    def __init__(self, config: NodeConfig, node: Node, edges: Edges) -> None:
        self.config = config
        self.node = node
        self.edges = edges
        self.control = ControlServer(config.token, edges.metrics, node.routes())

    @property
    def port(self) -> int:
        """Where the node serves its kind."""
        return self.node.port

    @property
    def control_port(self) -> int:
        """Where its control port listens."""
        return self.control.listener.port

    async def open(self) -> None:
        """Open both. Raises OSError when a port is taken."""
        await self.node.open()
        await self.control.listener.open(*self.config.control)
        self.edges.log.write("started", listen=self.port, control=self.control_port)

    async def close(self) -> None:
        """Close both and the log."""
        await self.control.listener.close()
        await self.node.close()
        self.edges.log.write("stopped")
        self.edges.log.close()


async def start_node(config: NodeConfig) -> RunningNode:
    """Start the node that `config` describes in the running loop. Raises OSError when a port is taken."""
    edges = Edges(config)
    running = RunningNode(config, _KINDS[config.service.kind](config, edges), edges)
    try:
        await running.open()
    except BaseException:
        await running.close()
        raise
    return running


def run_node(config: NodeConfig) -> None:
    """Start the node and block until SIGTERM or SIGINT, then end it in order.

    The kernel is asked to end this process when its parent dies, where it can (Linux).
    """
    _die_with_parent()
    asyncio.run(_run(config))


async def _run(config: NodeConfig) -> None:
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, done.set)
    running = await start_node(config)
    try:
        await done.wait()
    finally:
        await running.close()


def _die_with_parent() -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _storage(config: NodeConfig, edges: Edges) -> Node:
    from straybit_nodes.gossip.sibling import Sibling  # noqa: PLC0415 - a process loads its own kind alone
    from straybit_nodes.storage.server import StorageNode  # noqa: PLC0415 - a process loads its own kind alone

    beside = Sibling(config, log=edges.log, metrics=edges.metrics, dials=edges.dials)
    return StorageNode(config, log=edges.log, metrics=edges.metrics, dials=edges.dials, beside=beside)


def _gossip(config: NodeConfig, edges: Edges) -> Node:
    from straybit_nodes.gossip.server import GossipNode  # noqa: PLC0415 - a process loads its own kind alone

    return GossipNode(config, log=edges.log, metrics=edges.metrics, dials=edges.dials)


def _balancer(config: NodeConfig, edges: Edges) -> Node:
    from straybit_nodes.balancer.server import BalancerNode  # noqa: PLC0415 - a process loads its own kind alone
    from straybit_nodes.gossip.server import GossipMember  # noqa: PLC0415 - a process loads its own kind alone

    member = GossipMember(config, log=edges.log, metrics=edges.metrics, dials=edges.dials)
    return BalancerNode(config, log=edges.log, metrics=edges.metrics, dials=edges.dials, member=member)


_KINDS: dict[Kind, Callable[[NodeConfig, Edges], Node]] = {
    Kind.STORAGE: _storage,
    Kind.GOSSIP: _gossip,
    Kind.BALANCER: _balancer,
}
