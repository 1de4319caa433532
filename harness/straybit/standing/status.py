"""How a cluster is: every node, views that disagree, alarms."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from straybit.cluster import Cluster
from straybit.control import ControlError, View
from straybit.observe.alarm import BadDigestMonitor
from straybit.views import disagreements
from straybit_nodes.topology import Service

__all__ = ["NodeStatus", "RaisedAlarm", "Status", "raised", "status_of"]

TAIL_BYTES = 1 << 20
"""Of each log: an alarm further back than that is history."""
RECENT_S = 60.0
"""An alarm that old says nothing about now."""


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`state` is running, held or stopped by its own word; else `out of service` or `silent`.

    `knows` is how many members it holds an entry of, `wrong` how many values it holds that their owners never said.
    """

    name: str
    kind: str
    region: str
    state: str
    knows: int = 0
    marked: tuple[str, ...] = ()
    queued: int = 0
    wrong: int = 0


class RaisedAlarm(msgspec.Struct, frozen=True, kw_only=True):
    """`name` names `culprit`; raised by these nodes, last so many seconds ago."""

    name: str
    culprit: str
    by: tuple[str, ...]
    ago_s: float


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """`ok`: every node runs, every view is true, and no alarm was raised in the last minute."""

    ok: bool
    backend: str
    defences: tuple[str, ...]
    nodes: tuple[NodeStatus, ...]
    disagreements: tuple[str, ...]
    alarms: tuple[RaisedAlarm, ...]


def status_of(cluster: Cluster) -> Status:
    """Look once at every node, at what all of them hold, and at the ends of their logs."""
    services = cluster.topology.services()
    there = {s.name for s in services if cluster.in_service(s.name)}
    views = cluster.views([s.name for s in services if s.name in there])
    truth = cluster.originated()
    wrong = {name: disagreements(v, truth) for name, v in views.items() if isinstance(v, View) and v.state == "running"}
    nodes = tuple(_node(s, views.get(s.name), wrong.get(s.name, ())) for s in services)
    alarms = (*raised(cluster.logs, [s.name for s in services], time.monotonic()), *_balancers(cluster))
    lines = tuple(line for name in wrong for line in wrong[name])
    recent = [alarm for alarm in alarms if alarm.ago_s <= RECENT_S]
    return Status(
        ok=not lines and not recent and all(node.state == "running" for node in nodes),
        backend=cluster.backend,
        defences=tuple(sorted(cluster.defences)),
        nodes=nodes,
        disagreements=lines,
        alarms=alarms,
    )


def raised(logs: Path, services: Iterable[str], now: float) -> tuple[RaisedAlarm, ...]:
    """The alarms in the logs' ends, each name and culprit once; `now` is on the machine's monotonic clock."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for service in services:
        for line in _tail(logs / f"{service}.ndjson"):
            if line.get("event") == "alarm":
                key = str(line.get("defence")), str(line.get("culprit"))
                found.setdefault(key, {})[service] = float(line.get("t", 0.0))
    return tuple(
        RaisedAlarm(name=name, culprit=culprit, by=tuple(sorted(by)), ago_s=round(now - max(by.values()), 1))
        for (name, culprit), by in sorted(found.items())
    )


def _balancers(cluster: Cluster) -> tuple[RaisedAlarm, ...]:
    monitor = BadDigestMonitor(cluster, clock=time.monotonic)
    monitor.look()
    return tuple(RaisedAlarm(name=a.name, culprit=a.culprit, by=("all balancers",), ago_s=0.0) for a in monitor.alarms)


def _node(service: Service, view: View | ControlError | None, wrong: tuple[str, ...] | list[str]) -> NodeStatus:
    where = NodeStatus(
        name=service.name,
        kind=str(service.kind),
        region=service.region,
        state="out of service" if view is None else "silent",
    )
    if not isinstance(view, View):
        return where
    return msgspec.structs.replace(
        where,
        state=view.state,
        knows=len(view.entries),
        marked=tuple(view.marked),
        queued=view.queued,
        wrong=len(wrong),
    )


_FIELDS = msgspec.json.Decoder(dict[str, Any])


def _tail(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            lines = file.read().split(b"\n")
    except OSError:
        return
    for line in lines:
        try:
            yield _FIELDS.decode(line)
        except msgspec.DecodeError:
            continue
