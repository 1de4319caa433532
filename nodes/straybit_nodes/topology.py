"""Who is in the reference cluster, at which address, and which links run between them: the one source of all three.

Addresses are IPv4 numbers that exist only in gossip and dial tables; no packet is ever sent to one.
They are equal on every run and backend.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache

import msgspec

__all__ = ["CLIENT", "GENERATION", "Kind", "LinkSpec", "Region", "Role", "Service", "Topology"]

CLIENT = "client"
"""The caller's name of links from outside: `client:lb-1`."""

GENERATION = 1_216_540_800
"""Every member's first generation, in seconds since 1970: 2008-07-20 08:00 UTC, fixed so that runs are equal."""


class Kind(StrEnum):
    """What a service is."""

    STORAGE = "storage"
    GOSSIP = "gossip"
    BALANCER = "balancer"


class Role(StrEnum):
    """What a service is dialled for; the address of a server answers for its storage and its gossip node alike."""

    STORAGE = "storage"
    GOSSIP = "gossip"
    BALANCER = "balancer"


class Service(msgspec.Struct, frozen=True):
    """One process or container. `number` pairs `storage-3` with `gossip-3`; `address` is the server's."""

    name: str
    kind: Kind
    region: str
    number: int
    address: int

    @property
    def member(self) -> str:
        """The gossip member that speaks for this service: `gossip-3` for `storage-3`, a balancer for itself."""
        return f"gossip-{self.number}" if self.kind is Kind.STORAGE else self.name


class LinkSpec(msgspec.Struct, frozen=True):
    """One directed link, the role it is dialled for, and the wire that reads it."""

    caller: str
    callee: str
    role: Role
    wire: str

    @property
    def name(self) -> str:
        """`caller:callee`, the name of the link and of its proxy."""
        return f"{self.caller}:{self.callee}"


class Region(msgspec.Struct, frozen=True):
    """How many servers (a storage node and its gossip node each) and balancers a region has."""

    name: str
    servers: int
    balancers: int


class Topology(msgspec.Struct, frozen=True):
    """The regions of a cluster, small one first; everything else is derived."""

    regions: tuple[Region, ...] = (Region("eu", 3, 1), Region("us", 5, 2))
    storage: bool = True

    @classmethod
    def sized(cls, eu: tuple[int, int] = (3, 1), us: tuple[int, int] = (5, 2)) -> Topology:
        """A cluster of (servers, balancers) per region. Raises ValueError on an impossible size."""
        for name, (servers, balancers) in {"eu": eu, "us": us}.items():
            if servers < 3 or balancers < 1 or servers > 1000 or balancers > 100:
                raise ValueError(
                    f"region {name} needs 3..1000 servers and 1..100 balancers, not {servers}, {balancers}"
                )
        return cls((Region("eu", *eu), Region("us", *us)))

    @classmethod
    def gossip_only(cls, nodes: int = 3) -> Topology:
        """Gossip nodes alone, in one region, for campaigns on state messages."""
        if not 2 <= nodes <= 1000:
            raise ValueError(f"a gossip-only cluster has 2..1000 nodes, not {nodes}")
        return cls((Region("eu", nodes, 0),), storage=False)

    def services(self) -> tuple[Service, ...]:
        """Every service: storage nodes, then gossip nodes, then balancers, each in order of number."""
        return _services(self)

    def service(self, name: str) -> Service:
        """The service of that name. Raises ValueError, naming those there are."""
        for service in self.services():
            if service.name == name:
                return service
        names = ", ".join(s.name for s in self.services())
        raise ValueError(f"there is no service {name!r}; this cluster has {names}")

    def members(self) -> tuple[Service, ...]:
        """Those that gossip: every gossip node and balancer."""
        return _members(self)

    def links(self, caller: str | None = None) -> tuple[LinkSpec, ...]:
        """Every directed link, each to have a proxy listener of its own; those of one `caller` where one is named."""
        return tuple(self._links(caller))

    def _servers(self) -> Iterator[Service]:
        number = 0
        for index, region in enumerate(self.regions, 1):
            for place in range(1, region.servers + 1):
                number += 1
                address = _address(index, place // 250, place % 250 or 250)
                yield Service(f"gossip-{number}", Kind.GOSSIP, region.name, number, address)

    def _balancers(self) -> Iterator[Service]:
        number = 0
        for index, region in enumerate(self.regions, 1):
            for place in range(1, region.balancers + 1):
                number += 1
                address = _address(index, 128, place)
                yield Service(f"lb-{number}", Kind.BALANCER, region.name, number, address)

    def _links(self, only: str | None) -> Iterator[LinkSpec]:
        services = self.services()
        members = self.members()
        if only in (None, CLIENT):
            for balancer in (s for s in services if s.kind is Kind.BALANCER):
                yield LinkSpec(CLIENT, balancer.name, Role.BALANCER, "http1")
        for caller in (s for s in services if only in (None, s.name)):
            if caller.kind is Kind.STORAGE:
                yield LinkSpec(caller.name, caller.member, Role.GOSSIP, "gossip")
            else:
                yield from (
                    LinkSpec(caller.name, m.name, Role.GOSSIP, "gossip") for m in members if m.name != caller.name
                )
            if caller.kind is not Kind.GOSSIP:
                for callee in services:
                    near = callee.kind is Kind.STORAGE and callee.region == caller.region
                    if near and callee.name != caller.name:
                        yield LinkSpec(caller.name, callee.name, Role.STORAGE, "http1")


@lru_cache(maxsize=16)
def _services(topology: Topology) -> tuple[Service, ...]:
    kinds = [Kind.STORAGE, Kind.GOSSIP] if topology.storage else [Kind.GOSSIP]
    servers = [Service(f"{kind}-{s.number}", kind, *_rest(s)) for kind in kinds for s in topology._servers()]
    return (*servers, *topology._balancers())


@lru_cache(maxsize=16)
def _members(topology: Topology) -> tuple[Service, ...]:
    return tuple(s for s in topology.services() if s.kind is not Kind.STORAGE)


def _rest(server: Service) -> tuple[str, int, int]:
    return server.region, server.number, server.address


def _address(region: int, high: int, low: int) -> int:
    """The IPv4 address 10.region.high.low as a number."""
    return 10 << 24 | region << 16 | high << 8 | low
