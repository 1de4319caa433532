"""What a node is told before it starts: one JSON document, the same for a process and a container."""

from __future__ import annotations

import msgspec

from straybit_nodes.gossip.rules import Rules
from straybit_nodes.topology import GENERATION, Role, Service

__all__ = ["Dial", "NodeConfig"]


class Dial(msgspec.Struct, frozen=True):
    """One row of a dial table: whoever wants `role` at `address` connects to `host`:`port`, a proxy's listener."""

    address: int
    role: Role
    host: str
    port: int


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One node. An address that is not in `dials` is a black hole; the node connects to nothing else.

    `members` are all that gossip, the node itself among them: its first contacts.
    `listen` and `control` are (host, port); the node binds them with SO_REUSEADDR.
    `listen` is where its kind is served: gossip for a gossip node, HTTP for a storage node and a balancer.
    `gossip_listen` is where a balancer takes gossip, since members dial it as well; None for every other kind.
    `held` starts it silent: it listens, but neither gossips nor serves requests until the control port says resume.
    `ticks` False turns its gossip and heartbeat timers off: rounds are stepped through the control port.
    `access_key` and `secret_key` are what a storage node verifies clients' signatures with; without them it takes any.
    `log` is a file that structured lines are appended to; None is standard output.
    """

    service: Service
    members: tuple[Service, ...]
    dials: tuple[Dial, ...]
    listen: tuple[str, int]
    control: tuple[str, int]
    gossip_listen: tuple[str, int] | None = None
    token: str
    data_dir: str
    defences: tuple[str, ...] = ()
    rules: Rules = Rules()
    generation: int = GENERATION
    seed: int = 0
    held: bool = True
    ticks: bool = True
    access_key: str = ""
    secret_key: str = ""
    log: str | None = None
