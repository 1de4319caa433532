"""The cluster in containers: addresses and ports of all services and links, and a node's configuration from there.

Addresses are fixed in a network of the cluster's own, so that nobody asks a name server about a service that is gone.
Each link has the same port twice, at Toxiproxy in front and at straybit's proxy behind it. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TypeVar

import msgspec

from straybit_nodes.config import Dial, NodeConfig
from straybit_nodes.defences import parse_defences
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.topology import CLIENT, Kind, LinkSpec, Role, Topology

__all__ = [
    "API",
    "BACK",
    "CONTROL",
    "DATA",
    "FRONT",
    "LISTEN",
    "NET",
    "EnvironmentRefused",
    "Layout",
    "layout_from",
    "node_config",
]

NET = "10.208.0"
"""The first three numbers of every address, unless the environment says otherwise."""
FRONT, BACK = "toxiproxy", "proxy"
"""Names of the two proxies: real Toxiproxy before straybit's own."""
API = 8474
DATA = "/data"
"""The volume that all nodes share, each with a folder of its own."""
LISTEN, GOSSIP, CONTROL = 8000, 8001, 8002
"""Where a service serves its kind, where a balancer takes gossip, and where control ports are."""

_FIRST_LINK = 20_000
_PROXIES = {FRONT: 2, BACK: 3}
_FIRST_SERVICE = 11
_MOST_SERVICES = 200

_T = TypeVar("_T")


class EnvironmentRefused(ValueError):
    """A container's environment does not describe a node; the message names the variable."""


class Layout:
    """Where everything is in the network `net`.

    Raises ValueError for more services than 256 addresses, and the ports of their links, are enough for.
    """

    def __init__(self, topology: Topology, net: str = NET) -> None:
        self.topology = topology
        self.net = net
        names = [service.name for service in topology.services()]
        if len(names) > _MOST_SERVICES:
            raise ValueError(
                f"{len(names)} services are more than the {_MOST_SERVICES} that fit into containers here; "
                "take fewer, or run them as processes"
            )
        self._hosts = _PROXIES | {name: number for number, name in enumerate(names, _FIRST_SERVICE)}

    @cached_property
    def ports(self) -> dict[str, int]:
        """The port of each link, at both proxies."""
        return {link.name: port for port, link in enumerate(self.topology.links(), _FIRST_LINK)}

    def address(self, name: str) -> str:
        """The address of a service, or of a proxy."""
        return f"{self.net}.{self._hosts[name]}"

    def in_front(self) -> list[tuple[str, str, str]]:
        """(name, listen, upstream) of each link at Toxiproxy."""
        return [(name, f"0.0.0.0:{port}", f"{self.address(BACK)}:{port}") for name, port in self.ports.items()]

    def behind(self) -> list[tuple[str, str, str]]:
        """(name, listen, upstream) of each link at straybit's proxy."""
        balancers = {service.name for service in self.topology.services() if service.kind is Kind.BALANCER}

        def port(link: LinkSpec) -> int:
            return GOSSIP if link.role is Role.GOSSIP and link.callee in balancers else LISTEN

        return [
            (link.name, f"0.0.0.0:{self.ports[link.name]}", f"{self.address(link.callee)}:{port(link)}")
            for link in self.topology.links()
        ]

    def dials(self, caller: str) -> tuple[Dial, ...]:
        """The dial table of a service: the listeners of its own links, at Toxiproxy."""
        addresses = {service.name: service.address for service in self.topology.services()}
        return tuple(
            Dial(addresses[link.callee], link.role, self.address(FRONT), self.ports[link.name])
            for link in self.topology.links()
            if link.caller == caller != CLIENT
        )


def layout_from(environment: Mapping[str, str]) -> Layout:
    """The layout that a container's environment tells of. Raises EnvironmentRefused."""
    topology = _read(environment, "STRAYBIT_TOPOLOGY", Topology, Topology())
    try:
        return Layout(topology, environment.get("STRAYBIT_NET") or NET)
    except ValueError as error:
        raise EnvironmentRefused(f"STRAYBIT_TOPOLOGY: {error}") from None


def node_config(name: str, environment: Mapping[str, str], *, token: str) -> NodeConfig:
    """The configuration of the service `name`, which keeps its data below `DATA` and logs to standard output.

    Raises EnvironmentRefused.
    """
    layout = layout_from(environment)
    try:
        service = layout.topology.service(name)
        defences = parse_defences(environment.get("STRAYBIT_DEFENCES") or "all")
    except ValueError as error:
        raise EnvironmentRefused(str(error)) from None
    return NodeConfig(
        service=service,
        members=layout.topology.members(),
        dials=layout.dials(name),
        listen=(layout.address(name), LISTEN),
        control=("0.0.0.0", CONTROL),
        gossip_listen=(layout.address(name), GOSSIP) if service.kind is Kind.BALANCER else None,
        token=token,
        data_dir=f"{DATA}/{name}",
        defences=tuple(sorted(defences)),
        rules=_read(environment, "STRAYBIT_RULES", Rules, Rules()),
        seed=_read(environment, "STRAYBIT_SEED", int, 0),
        held=_read(environment, "STRAYBIT_HELD", bool, False),
        ticks=_read(environment, "STRAYBIT_TICKS", bool, True),
        access_key=environment.get("STRAYBIT_ACCESS_KEY", ""),
        secret_key=environment.get("STRAYBIT_SECRET_KEY", ""),
    )


def _read(environment: Mapping[str, str], name: str, kind: type[_T], default: _T) -> _T:
    text = environment.get(name)
    if not text:
        return default
    try:
        return msgspec.json.Decoder(kind).decode(text)
    except msgspec.DecodeError as error:
        raise EnvironmentRefused(f"{name}={text!r} cannot be read: {error}") from None
