"""The control port of a simulated node: the same calls, answered at once; an exchange takes its virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from straybit.control import (
    Control,
    ExchangeResult,
    Frame,
    Frames,
    Health,
    NodeRefusedError,
    NodeSilentError,
    Sample,
    StoredObject,
    View,
)
from straybit.oracle import Entry, Originated
from straybit.sim.coordinator import Storage
from straybit.sim.host import Host
from straybit.sim.requests import Requests
from straybit.sim.tasks import Tasks
from straybit_nodes.topology import Kind, Service

__all__ = ["SimControl"]


class SimControl(Control):
    """The control port of `service`; a storage node knows what the gossip node beside it knows."""

    def __init__(self, service: Service, requests: Requests, tasks: Tasks) -> None:
        self.name = service.name
        self._net = requests.net
        self._requests = requests
        self._tasks = tasks
        self._member = service.member
        self._node: Storage | None = requests.storage[service.member] if service.kind is Kind.STORAGE else None

    @property
    def _host(self) -> Host:
        return self._net.hosts[self._member]

    @property
    def state(self) -> str:
        """`held`, `running` or `stopped`."""
        return self._host.state if self._node is None else self._node.state

    def _answering(self) -> None:
        """Raises NodeSilentError when nobody answers."""
        end = self._host if self._node is None else self._node
        if not end.up or end.paused:
            raise NodeSilentError(f"{self.name}: no answer: {'connection refused' if not end.up else 'time-out'}")

    def _member_only(self, what: str) -> Host:
        self._answering()
        if self._node is not None:
            raise NodeRefusedError(f"{self.name}: {what} was refused with 404: this node has no {what}", 404)
        return self._host

    def healthz(self) -> Health:
        """See Control."""
        self._answering()
        return Health(self.name, self.state)

    def metrics(self) -> list[Sample]:
        """See Control; those that a simulated node counts."""
        self._answering()
        if self._node is not None:
            return _detections(self._node.detections)
        core = self._host.core
        return [
            Sample("straybit_frames_total", {"direction": "in"}, float(self._host.heard)),
            *(Sample("straybit_exchanges_total", {"result": k}, float(v)) for k, v in core.exchanges.items()),
            *_detections(core.detections),
            *self._counted(),
        ]

    def _counted(self) -> Iterator[Sample]:
        """What a balancer counts besides."""
        counts = self._requests.counts.get(self.name)
        if counts is not None:
            for status, number in sorted(counts.requests.items()):
                yield Sample("straybit_requests_total", {"code": str(status)}, float(number))
            yield Sample("straybit_checksum_requests_total", {}, float(counts.checksum_requests))
            yield Sample("straybit_checksum_rejected_total", {}, float(counts.checksum_rejected))

    def view(self) -> View:
        """See Control."""
        self._answering()
        core = self._host.core
        # a core's entries have the fields of an oracle's; copying each would cost more than all else
        entries = cast("dict[str, Entry]", dict(core.view.entries))
        if self._node is not None:
            return View(
                self.name,
                self._net.now,
                self.state,
                entries,
                inflight=self._requests.under_way(self._member),
            )
        return View(
            self.name,
            self._net.now,
            self.state,
            entries,
            tuple(sorted(core.marks)),
            Originated(core.address, core.status, core.generation, core.heartbeats),
            len(core.places.busy),
            len(core.places.waiting),
            dict(core.exchanges),
            core.inflight,
        )

    def frames(self, since: int = 0) -> Frames:
        """See Control; of links that carry bytes."""
        host = self._member_only("/frames")
        frames = (Frame(seq, t, sender, kind, crc) for seq, t, sender, kind, crc in host.frames if seq >= since)
        return Frames(host.framed, tuple(frames))

    def exchange(self, peer: str) -> ExchangeResult:
        """See Control."""
        host = self._member_only("/exchange")
        if host.state != "running":
            raise NodeRefusedError(f"{self.name}: /exchange was refused with 409: this member is {host.state}", 409)

        def begin(over: Callable[[str | None], None]) -> None:
            self._net.exchange(self._member, peer, over)

        error = self._tasks.wait_for(begin)
        self._answering()
        return ExchangeResult(error is None, error)

    def round(self, peer: str | None = None) -> None:
        """See Control."""
        host = self._member_only("/round")
        chosen = peer if peer is not None else host.core.peers.partner(host.core.marks)
        if chosen is not None:
            self.exchange(chosen)

    def heartbeat(self) -> None:
        """See Control."""
        self._member_only("/heartbeat")
        self._net.heartbeat(self._member)

    def ticks(self, on: bool) -> None:
        """See Control."""
        self._member_only("/ticks")
        self._net.tick(self._member, on=on)

    def stop(self) -> None:
        """See Control."""
        self._answering()
        if self._node is not None:
            self._node.state = "stopped"
        else:
            self._net.stop(self._member)

    def clear(self) -> None:
        """See Control."""
        self._answering()
        if self.state == "running":
            raise NodeRefusedError(f"{self.name}: /clear was refused with 409: it is running; stop it first", 409)
        if self._node is None:
            self._net.clear(self._member)

    def resume(self, contacts: list[str] | None = None) -> None:
        """See Control."""
        self._answering()
        if self._node is not None:
            self._node.state = "running"
        else:
            self._net.resume([self._member], contacts)

    def originate(self, status: int) -> None:
        """See Control."""
        host = self._member_only("/originate")
        host.core.originate(status)
        self._net.carry_out(self._member)

    def objects(self) -> list[StoredObject]:
        """See Control; nothing is on a disk here."""
        raise NodeRefusedError(f"{self.name}: /objects was refused with 404: sim has no disks", 404)

    def rot(self, bucket: str, key: str, offset: int, bit: int) -> dict[str, Any]:
        """See Control; nothing is on a disk here."""
        raise NodeRefusedError(f"{self.name}: /rot was refused with 404: sim has no disks", 404)

    def close(self) -> None:
        """Nothing is open."""


def _detections(counted: Mapping[str, int]) -> list[Sample]:
    return [Sample("straybit_detections_total", {"defence": k}, float(v)) for k, v in sorted(counted.items())]
