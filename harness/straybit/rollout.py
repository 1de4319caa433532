"""Who is restarted or resumed together, and in which order. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from straybit_nodes.topology import Kind, Region, Service, Topology

__all__ = ["batches", "servers"]


def servers(topology: Topology) -> Iterator[tuple[Service, ...]]:
    """Who is restarted together: a storage node with the gossip node beside it, as they share a server."""
    for service in topology.services():
        if service.kind is Kind.BALANCER:
            yield (service,)
        elif service.kind is Kind.GOSSIP:
            yield tuple(s for s in topology.services() if s.kind is not Kind.BALANCER and s.number == service.number)


def batches(topology: Topology, size: int) -> Iterator[tuple[Region, tuple[Service, ...]]]:
    """Who is resumed together: each region's servers by `size`, the smallest region first, its balancers last."""
    for region in sorted(topology.regions, key=lambda region: (region.servers, region.name)):
        services = [s for s in topology.services() if s.region == region.name]
        balancers = tuple(s for s in services if s.kind is Kind.BALANCER)
        numbers = sorted({s.number for s in services if s.kind is not Kind.BALANCER})
        groups = [numbers[at : at + size] for at in range(0, len(numbers), size)]
        for group in groups:
            yield region, tuple(s for s in services if s.kind is not Kind.BALANCER and s.number in group)
        if balancers:
            yield region, balancers
