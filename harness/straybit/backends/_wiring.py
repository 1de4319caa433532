"""Who listens where, and who dials what: from a topology and free ports to proxies and node configurations. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from straybit.cluster import Spec
from straybit_nodes.config import Dial, NodeConfig
from straybit_nodes.topology import CLIENT, Kind, LinkSpec, Role, Topology

__all__ = ["HOST", "Ports", "Wiring", "configs", "ports_needed", "share_out"]

HOST = "127.0.0.1"


class Ports(msgspec.Struct, frozen=True):
    """The ports of one service; `gossip` only of a balancer, which takes gossip apart from requests."""

    listen: int
    control: int
    gossip: int | None = None


class Wiring(msgspec.Struct, frozen=True):
    """Every port of a cluster: of the proxy's API, of each service, and of each link's proxy."""

    topology: Topology
    api: int
    services: dict[str, Ports]
    links: dict[str, int]

    def proxies(self) -> list[tuple[str, str, str]]:
        """(name, listen, upstream) of each link's proxy, as populate takes them."""
        return [
            (link.name, f"{HOST}:{self.links[link.name]}", f"{HOST}:{_callee_port(link, self.services[link.callee])}")
            for link in self.topology.links()
        ]

    def endpoints(self) -> dict[str, str]:
        """URL of each balancer, as clients see it: the listener of its client link."""
        return {
            link.callee: f"http://{HOST}:{self.links[link.name]}"
            for link in self.topology.links()
            if link.caller == CLIENT
        }


def ports_needed(topology: Topology) -> int:
    """How many `share_out` wants."""
    return 1 + sum(2 + (s.kind is Kind.BALANCER) for s in topology.services()) + len(topology.links())


def share_out(topology: Topology, free: Sequence[int]) -> Wiring:
    """Give the API, each service and each link its ports out of `free`."""
    left = iter(free)
    services = {
        s.name: Ports(next(left), next(left), next(left) if s.kind is Kind.BALANCER else None)
        for s in topology.services()
    }
    return Wiring(topology, next(left), services, {link.name: next(left) for link in topology.links()})


def configs(spec: Spec, wiring: Wiring, *, token: str, data: Path, logs: Path) -> dict[str, NodeConfig]:
    """Each service's configuration, held, with its data below `data` and its log in `logs`."""
    addresses = {s.name: s.address for s in spec.topology.services()}
    dials: dict[str, list[Dial]] = {name: [] for name in addresses}
    for link in spec.topology.links():
        if link.caller != CLIENT:
            row = Dial(addresses[link.callee], link.role, HOST, wiring.links[link.name])
            dials[link.caller].append(row)
    members = spec.topology.members()
    return {
        service.name: NodeConfig(
            service=service,
            members=members,
            dials=tuple(dials[service.name]),
            listen=(HOST, wiring.services[service.name].listen),
            control=(HOST, wiring.services[service.name].control),
            gossip_listen=_gossip_listen(wiring.services[service.name]),
            token=token,
            data_dir=str(data / service.name),
            defences=tuple(sorted(spec.defences)),
            rules=spec.rules,
            seed=spec.seed,
            ticks=spec.ticks,
            access_key=spec.keys[0],
            secret_key=spec.keys[1],
            log=str(logs / f"{service.name}.ndjson"),
        )
        for service in spec.topology.services()
    }


def _gossip_listen(ports: Ports) -> tuple[str, int] | None:
    return None if ports.gossip is None else (HOST, ports.gossip)


def _callee_port(link: LinkSpec, ports: Ports) -> int:
    return ports.gossip if link.role is Role.GOSSIP and ports.gossip is not None else ports.listen
