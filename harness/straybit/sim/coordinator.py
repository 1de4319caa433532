"""Storage nodes on virtual time: what each keeps, and how it carries out a request on the holders of its key.

Placement, quorums, hedging and deadlines are those of the real nodes; a body goes from node to node as an object.
Each leg to another node needs a place, and so an exchange, before it goes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from straybit.sim.net import SimNet
from straybit.sim.objects import READS, Kept, absent, call_of, found, made, record_of, refusal, unoffered
from straybit.sim.placing import Placing
from straybit_nodes.balancer.relay import Request
from straybit_nodes.gossip.messages import Denied, Granted, Message, Place, Release
from straybit_nodes.storage.calls import Answer, Call
from straybit_nodes.storage.errors import S3Error
from straybit_nodes.storage.gathering import HEDGE, LEGS
from straybit_nodes.storage.placement import quorum
from straybit_nodes.storage.record import Record, make_stamp
from straybit_nodes.storage.request import S3Request
from straybit_nodes.topology import GENERATION, Kind

__all__ = ["Coordinators", "Job", "Storage"]

DEFENCE = "content-checksum"


class Storage:
    """One storage node: whether it runs, the objects on its disk, and what its defences noticed."""

    __slots__ = ("conn", "core", "detections", "name", "objects", "paused", "state", "up")

    def __init__(self, name: str) -> None:
        self.name = name
        self.up = True
        self.paused = False
        self.state = "held"
        self.objects: dict[tuple[str, str], Kept] = {}
        self.detections: Counter[str] = Counter()
        self.core: object = None
        self.conn = 0

    def keep(self, record: Record, body: bytes) -> None:
        """Keep a version, unless a newer one is there."""
        where = record.bucket, record.key
        there = self.objects.get(where)
        if there is None or there[0].stamp < record.stamp:
            self.objects[where] = record, body

    def find(self, bucket: str, key: str) -> Kept | None:
        """What it has of a key."""
        return self.objects.get((bucket, key))


class Job(msgspec.Struct, frozen=True):
    """One request as its coordinator got it; `wanted` says whether anybody still waits, `done` hears the answer."""

    region: str
    parsed: S3Request
    request: Request
    wanted: Callable[[], bool]
    done: Callable[[Answer], None]


class Coordinators:
    """All storage nodes beside the members of `net`; each is named by its gossip node."""

    def __init__(self, net: SimNet) -> None:
        members = [s for s in net.topology.members() if s.kind is Kind.GOSSIP]
        self.nodes = {s.name: Storage(f"storage-{s.number}") for s in members}
        self.placing = Placing(net, self.nodes)
        self._net = net
        self._checksums = DEFENCE in net.defences
        self._numbers = 0
        self._legs: dict[tuple[str, int], Callable[[int | None], None]] = {}

    def under_way(self, name: str) -> int:
        """Legs of the storage node beside that member."""
        return sum(owner == name for owner, _ in self._legs)

    def coordinate(self, name: str, job: Job) -> None:
        """The storage node beside `name` got a request."""
        node = self.nodes[name]
        if node.state == "stopped":
            self._refuse(job, S3Error("ServiceUnavailable", "The node is stopped."))
            return
        try:
            call = self._received(node, job)
            if READS[job.parsed.operation]:
                self._read(name, job, call)
            else:
                self._write(name, job, call)
        except S3Error as error:
            self._refuse(job, error)

    def _received(self, node: Storage, job: Job) -> Call:
        if missing := unoffered(job.parsed, job.request):
            raise S3Error("NotImplemented", f"sim does not offer {missing}; use --backend process.")
        try:
            return call_of(job.parsed, job.request, checksums=self._checksums)
        except S3Error as error:
            node.detections[DEFENCE] += 1
            fields = {"method": job.request.method, "target": job.request.target, "code": error.code, "why": str(error)}
            self._net.log.append((self._net.now, node.name, "refused", {"defence": DEFENCE, **fields}))
            raise

    def _refuse(self, job: Job, error: S3Error) -> None:
        self._numbers += 1
        job.done(refusal(error, job.request.target, f"{self._numbers:016x}"))

    # What it does on the holders

    def _write(self, name: str, job: Job, call: Call) -> None:
        """To every holder at once; acknowledged by a quorum."""
        holding = self.placing.holders(job.region, call.bucket, call.key)
        record = record_of(call, self._stamp(name, call))
        acks = failures = 0

        def ended(ok: bool) -> None:
            nonlocal acks, failures
            acks, failures = acks + ok, failures + (not ok)
            if acks == quorum(holding) and ok:
                job.done(made(record))
            elif failures > len(holding) - quorum(holding):
                self._refuse(job, _too_few())

        for peer in holding:
            if peer == name:
                self.nodes[name].keep(record, call.body)
                ended(True)
            else:
                self._leg(name, peer, lambda peer=peer: self.nodes[peer].keep(record, call.body), ended)  # type: ignore[misc]

    def _stamp(self, name: str, call: Call) -> str:
        node = self.nodes[name]
        known = node.find(call.bucket, call.key)
        now_ns = GENERATION * 1_000_000_000 + round(self._net.now * 1e9)
        return make_stamp(now_ns, node.name, known[0].stamp if known else "")

    def _read(self, name: str, job: Job, call: Call) -> None:
        """From a quorum of the holders, another one for each that fails or is slow; the newest wins."""
        holding = self.placing.holders(job.region, call.bucket, call.key)
        got: list[Kept | None] = []
        left = iter([name, *(each for each in self.placing.order(name, holding) if each != name)])
        waiting = 0

        def ended(ok: bool) -> None:
            nonlocal waiting
            waiting -= 1
            if len(got) >= quorum(holding):
                self._answer_read(job, call, got)
            elif not ok and not ask() and not waiting:
                self._refuse(job, _too_few())

        def ask() -> bool:
            nonlocal waiting
            peer = next(left, None)
            if peer is None:
                return False
            waiting += 1
            if peer == name:
                got.append(self.nodes[name].find(call.bucket, call.key))
                ended(True)
            else:
                self._leg(name, peer, lambda: got.append(self.nodes[peer].find(call.bucket, call.key)), ended)
            return True

        def hedge() -> None:
            if job.wanted() and len(got) < quorum(holding):
                ask()

        for _ in range(quorum(holding)):
            ask()
        self._net.after(HEDGE * self._net.rules.deadline_s, hedge)

    def _answer_read(self, job: Job, call: Call, got: list[Kept | None]) -> None:
        newest = max((each for each in got if each is not None), key=lambda kept: kept[0].stamp, default=None)
        if newest is None:
            self._refuse(job, absent())
        else:
            job.done(found(newest, call))

    # Legs to other nodes

    def _leg(self, name: str, peer: str, work: Callable[[], None], ended: Callable[[bool], None]) -> None:
        node, net = self.nodes[name], self._net
        if not net.hosts[name].up:
            net.after(0.0, lambda: ended(False))
            return
        conn = self._connection(name)
        self._numbers += 1
        number = self._numbers

        def end(ok: bool) -> None:
            if self._legs.pop((name, number), None) is None:
                return
            if net.hosts[name].up:
                net.tell(name, conn, node.name, Release(number))
            if ok:
                work()
            else:
                self.placing.suspects[name].failed(peer)
            if node.up:
                ended(ok)

        def granted(address: int | None) -> None:
            if address is None:
                end(False)
            else:
                self.placing.reach(address, lambda: end(False), lambda _: end(True))

        self._legs[name, number] = granted
        net.after(LEGS * net.rules.deadline_s, lambda: end(False))
        net.tell(name, conn, node.name, Place(number, peer))

    def _connection(self, name: str) -> int:
        node, core = self.nodes[name], self._net.hosts[name].core
        if node.core is not core:
            node.conn = self._net.subscribe(name, node.name, lambda message: self._hear(name, message))
            node.core = core
        return node.conn

    def _hear(self, name: str, message: Message) -> None:
        match message:
            case Granted(number, address):
                granted = self._legs.get((name, number))
                if granted is not None:
                    granted(address)
            case Denied(number, _):
                granted = self._legs.get((name, number))
                if granted is not None:
                    granted(None)
            case _:
                pass


def _too_few() -> S3Error:
    return S3Error("ServiceUnavailable", "Too few replicas answered; please try again.")
