"""What the warm parent runs in its children; importing this imports every program once."""

from __future__ import annotations

from typing import Any

import msgspec

import straybit_nodes.balancer.server
import straybit_nodes.gossip.server
import straybit_nodes.storage.server  # noqa: F401 - a node imports its kind when it starts: here, before the fork
from straybit_faults.proxy.serve import run_proxy
from straybit_nodes.config import NodeConfig
from straybit_nodes.serve import run_node

__all__ = ["node", "proxy"]


def node(config: dict[str, Any]) -> None:
    """Be the node of that configuration until SIGTERM."""
    run_node(msgspec.convert(config, NodeConfig))


def proxy(host: str, port: int) -> None:
    """Be the proxy server with its API at `host`:`port` until SIGTERM."""
    run_proxy(host, port)
