"""Who is restarted or resumed together, in which order, and behind which gates. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from straybit_nodes.topology import Kind, Region, Service, Topology

__all__ = ["Step", "batches", "servers", "staged_plan"]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One stage of a staged restore: what is done to which services, and what must be so before the next begins."""

    name: str
    what: Literal["stop", "silence", "clear", "cleared", "batch", "region"]
    services: tuple[str, ...]
    does: str
    gate: str


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


def staged_plan(topology: Topology, batch: int) -> tuple[Step, ...]:
    """The stages of a staged restore, in order; `batch` is the number of servers that are resumed at a time."""
    return (*_quiet(tuple(s.name for s in topology.services())), *_return(topology, batch))


def _quiet(everybody: tuple[str, ...]) -> tuple[Step, ...]:
    return (
        Step(
            name="stop all",
            what="stop",
            services=everybody,
            does="start what is dead or paused, then end all talk between servers and all serving",
            gate="every service has obeyed",
        ),
        Step(
            name="silence",
            what="silence",
            services=everybody,
            does="look, twice",
            gate="all are stopped, nothing is in flight, and two looks in a row count the same frames",
        ),
        Step(
            name="clear all",
            what="clear",
            services=everybody,
            does="forget all gossiped state, in memory and on disk; objects stay",
            gate="every service has obeyed",
        ),
        Step(
            name="cleared",
            what="cleared",
            services=everybody,
            does="look at every view",
            gate="nobody knows anybody but itself, as it began",
        ),
    )


def _return(topology: Topology, batch: int) -> Iterator[Step]:
    groups = list(batches(topology, batch))
    for at, (region, group) in enumerate(groups):
        yield Step(
            name=f"batch {group[0].name}..{group[-1].name}",
            what="batch",
            services=tuple(s.name for s in group),
            does="let them run, and talk to those that run already",
            gate="all that run hold of each other what each said itself",
        )
        if at + 1 == len(groups) or groups[at + 1][0] != region:
            yield Step(
                name=f"region {region.name}",
                what="region",
                services=tuple(s.name for r, g in groups[: at + 1] for s in g if r == region),
                does="put and get through every balancer",
                gate="five probes in a row succeed",
            )
