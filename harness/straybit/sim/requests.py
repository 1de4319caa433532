"""Balancers on virtual time: up to three tries for each request, a line in the log, and counts for the alarm.

Each try needs a place, and so an exchange, before it goes.
On a link that has a toxic a request travels as the bytes that a real balancer sends, through the proxy's own editor;
elsewhere it is handed over as an object.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from straybit.sim.coordinator import Coordinators, Job, Storage
from straybit.sim.net import SimNet
from straybit.sim.objects import refusal
from straybit_nodes.balancer.account import HOP_BY_HOP, Account
from straybit_nodes.balancer.relay import Request
from straybit_nodes.balancer.route import TRIES
from straybit_nodes.http1 import request_head
from straybit_nodes.storage.calls import Answer
from straybit_nodes.storage.errors import S3Error
from straybit_nodes.storage.request import S3Request, parse_request
from straybit_nodes.topology import Kind

__all__ = ["Counts", "Requests", "get", "put"]

Done = Callable[[Answer | None], None]
"""What hears the answer to a request, or that none came in time."""


class Counts(msgspec.Struct):
    """What one balancer counted since it began: requests by status, those with a digest, and those it refused."""

    requests: Counter[int] = msgspec.field(default_factory=Counter)
    checksum_requests: int = 0
    checksum_rejected: int = 0


class _Pending:
    """One request at its balancer."""

    __slots__ = ("account", "began", "done", "lb", "number", "over", "parsed", "request", "tried")

    def __init__(self, lb: str, request: Request, parsed: S3Request, began: float, done: Done) -> None:
        self.lb = lb
        self.request = request
        self.parsed = parsed
        self.began = began
        self.done = done
        self.over = False
        self.tried: list[str] = []
        self.number = 0
        self.account = Account()
        self.account.came({name.lower(): value for name, value in request.headers}, request.body)


class Requests:
    """Clients' requests through the balancers among the members of `net`, and the storage nodes that answer them."""

    def __init__(self, net: SimNet) -> None:
        self.net = net
        self._coordinators = Coordinators(net)
        self.storage = self._coordinators.nodes
        self.counts = {s.name: Counts() for s in net.topology.members() if s.kind is Kind.BALANCER}
        self._placing = self._coordinators.placing
        self._numbers = 0

    def send(self, lb: str, request: Request, done: Done) -> None:
        """Send a request through a balancer; one that asks for nothing S3 has is refused without a try."""
        net = self.net
        try:
            parsed = parse_request(request.method, request.target)
        except S3Error as error:
            answer = refusal(error, request.target, self._request_id())
            net.after(2 * net.latency_s, lambda: done(answer))
            return
        passed = tuple((name, value) for name, value in request.headers if name.lower() not in HOP_BY_HOP)
        pending = _Pending(lb, msgspec.structs.replace(request, headers=passed), parsed, net.now, done)
        net.after(net.rules.deadline_s, lambda: self._end(pending, None))
        net.after(net.latency_s, lambda: self._try(pending))

    def forget(self, lb: str) -> None:
        """A balancer lost its memory."""
        if lb in self.counts:
            self.counts[lb] = Counts()

    def under_way(self, name: str) -> int:
        """Legs of the storage node beside that member."""
        return self._coordinators.under_way(name)

    def _try(self, pending: _Pending) -> None:
        host = self.net.hosts[pending.lb]
        if pending.over or host.paused:
            return
        if not host.up:
            self._end(pending, None)
            return
        peer = self._next(pending) if host.core.running else None
        if peer is None:
            self._unavailable(pending)
            return
        pending.tried.append(peer)
        self._numbers += 1
        number = pending.number = self._numbers

        def again() -> None:
            self._placing.suspects[pending.lb].failed(peer)
            self.net.release(pending.lb, number)
            self._try(pending)

        def answered(address: int | None) -> None:
            if address is None:
                again()
            else:
                self._relay(pending, address, again)

        self.net.place(pending.lb, number, peer, answered)

    def _next(self, pending: _Pending) -> str | None:
        if len(pending.tried) == TRIES:
            return None
        region = self._placing.regions[pending.lb]
        holding = self._placing.holders(region, pending.parsed.bucket, pending.parsed.key)
        left = (each for each in self._placing.order(pending.lb, holding) if each not in pending.tried)
        return next(left, None)

    def _relay(self, pending: _Pending, address: int, again: Callable[[], None]) -> None:
        """Over the link to the storage node at `address`; what comes out of it is what that node gets."""
        request = pending.request

        def sending(target: str) -> None:
            nonlocal request
            request = self._carried(pending, self.storage[target])

        def there(target: str) -> None:
            if not pending.over and self.storage[target].up:
                self._coordinators.coordinate(target, self._job(pending, target, request))

        self._placing.reach(address, again, there, sending)

    def _carried(self, pending: _Pending, node: Storage) -> Request:
        """What comes out of the link; toxics of such a link change bodies only, and keep their length."""
        request = pending.request
        half = self.net.proxies.request(pending.lb, node.name)
        if half is None:
            return request
        head = request_head(request.method, request.target, request.headers, request.body, request.framing)
        passed, receipts = half.carry(head + request.body)

        def arrived() -> None:
            for receipt in receipts:
                receipt.delivered = self.net.now if node.up else None

        self.net.after(self.net.latency_s, arrived)
        return msgspec.structs.replace(request, body=b"".join(passed)[len(head) :])

    def _job(self, pending: _Pending, target: str, request: Request) -> Job:
        def done(answer: Answer) -> None:
            self.net.after(self.net.latency_s, lambda: self._replied(pending, target, answer))

        return Job(self._placing.regions[pending.lb], pending.parsed, request, lambda: not pending.over, done)

    def _request_id(self) -> str:
        self._numbers += 1
        return f"{self._numbers:016x}"

    # How it ends

    def _unavailable(self, pending: _Pending) -> None:
        error = S3Error("ServiceUnavailable", "No storage node answered; please try again.")
        answer = refusal(error, pending.request.target, self._request_id())
        pending.account.answered(answer.status, answer.body)
        self._end(pending, answer)

    def _replied(self, pending: _Pending, target: str, answer: Answer) -> None:
        pending.account.coordinator = self.storage[target].name
        pending.account.answered(answer.status, answer.body)
        self._end(pending, answer)

    def _end(self, pending: _Pending, answer: Answer | None) -> None:
        if pending.over:
            return
        pending.over = True
        if pending.number:
            self.net.release(pending.lb, pending.number)
        if answer is not None:
            self._count(pending)
        pending.done(answer)

    def _count(self, pending: _Pending) -> None:
        counts, account = self.counts[pending.lb], pending.account
        account.tries = len(pending.tried)
        counts.requests[account.status] += 1
        counts.checksum_requests += bool(account.checksum)
        counts.checksum_rejected += account.rejected
        line = account.line(pending.request.method, pending.request.target, self.net.now - pending.began)
        self.net.log.append((self.net.now, pending.lb, "request", line))


def put(target: str, body: bytes) -> Request:
    """A bare PUT."""
    return Request("PUT", target, (), body, "length")


def get(target: str) -> Request:
    """A bare GET."""
    return Request("GET", target, (), b"", "none")
