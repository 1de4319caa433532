"""The load balancer: its two listeners, its state, and one log line for each request."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Collection
from typing import Any, Protocol

from aiohttp import web

from straybit_nodes.balancer.account import HOP_BY_HOP, Account
from straybit_nodes.balancer.relay import Relay, Relayed, RelayFailed, Request
from straybit_nodes.balancer.route import Router
from straybit_nodes.config import NodeConfig
from straybit_nodes.control import Member, Routes, control_routes, member_routes
from straybit_nodes.dial import DialTable
from straybit_nodes.http1 import Framing, Reply
from straybit_nodes.logs import Log
from straybit_nodes.metrics import Metrics
from straybit_nodes.storage.body import FRAMING, Bodies
from straybit_nodes.storage.errors import S3Error, error_xml
from straybit_nodes.storage.legs import Places
from straybit_nodes.storage.request import MAX_BODY
from straybit_nodes.storage.suspects import Suspects
from straybit_nodes.web import HttpListener

__all__ = ["BalancerNode", "Talker"]

_INFLIGHT_MAX = 512
"""Requests at a time; more are told to slow down."""
_END_S = 2.0
"""How long a stop waits for requests: longer than any deadline, but not for a client that stalls."""


class Talker(Member, Places, Protocol):
    """The gossip member that a balancer is, as its relay sees it."""

    @property
    def port(self) -> int:
        """Where gossip is spoken."""

    def marked(self) -> Collection[str]:
        """Members marked failed."""

    def entries(self) -> dict[str, dict[str, int]]:
        """What gossip knows: `{owner: {"address", "status", "load", "generation", "version"}}`."""

    async def open(self, host: str, port: int) -> None:
        """Listen for gossip; run unless held. Raises OSError."""

    async def close(self) -> None:
        """End everything."""


class BalancerNode:
    """A gossip member with HTTP clients in front. `Expect: 100-continue` is answered here, not relayed."""

    def __init__(self, config: NodeConfig, *, log: Log, metrics: Metrics, dials: DialTable, member: Talker) -> None:
        self._config = config
        self._log = log
        self._metrics = metrics
        self._member = member
        self._suspects = Suspects(time.monotonic)
        self._router = Router(config.service, config.members, self._suspects.order)
        self._relay = Relay(self._member, dials, self._on_failure, deadline_s=config.rules.deadline_s)
        self._bodies = Bodies()
        self._listener = HttpListener(self._handle)
        self._serving = False
        self._inflight = 0
        self._silent = asyncio.Event()
        self._silent.set()

    @property
    def port(self) -> int:
        """Where clients are served."""
        return self._listener.port

    @property
    def gossip_port(self) -> int:
        """Where gossip is spoken."""
        return self._member.port

    @property
    def state(self) -> str:
        """`held`, `running` or `stopped`: the member's."""
        return self._member.state

    async def open(self) -> None:
        """Listen for gossip and for clients; run unless held. Raises OSError, ValueError without `gossip_listen`."""
        if self._config.gossip_listen is None:
            raise ValueError(f"{self._config.service.name} is a balancer and needs gossip_listen in its configuration")
        await self._member.open(*self._config.gossip_listen)
        await self._listener.open(*self._config.listen)
        if not self._config.held:
            await self.resume(None)

    async def close(self) -> None:
        """End everything."""
        self._serving = False
        await self._listener.close()
        await self._member.close()

    def routes(self) -> Routes:
        """What the control port obeys."""
        return {**control_routes(self._config.service.name, self), **member_routes(self._member)}

    def view(self) -> dict[str, Any]:
        """See Controlled."""
        return {**self._member.view(), "inflight": self._inflight}

    async def stop(self) -> None:
        """See Controlled. Requests under way end first; each has a deadline."""
        self._serving = False
        try:
            async with asyncio.timeout(_END_S):
                await self._silent.wait()
        except TimeoutError:
            self._log.write("error", why=f"{self._inflight} requests were still under way {_END_S} s after the stop")
        await self._member.stop()

    async def clear(self) -> None:
        """See Controlled."""
        await self._member.clear()

    async def resume(self, contacts: tuple[str, ...] | None) -> None:
        """See Controlled."""
        await self._member.resume(contacts)
        self._serving = True

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        began = time.monotonic()
        account = Account()
        self._inflight += 1
        self._silent.clear()
        try:
            response = await self._answer(request, account)
        except S3Error as error:
            account.code = error.code
            response = _refusal(error, request)
        except Exception as error:  # a request must not take the node with it
            self._log.write("error", method=request.method, target=request.raw_path, why=repr(error))
            account.code = "InternalError"
            response = _refusal(S3Error("InternalError", "We encountered an internal error."), request)
        finally:
            self._inflight -= 1
            if not self._inflight:
                self._silent.set()
        account.status = response.status
        if not request.content.is_eof():
            response.force_close()  # the body was refused unread: what follows on this connection is not a request
        self._count(request, account, time.monotonic() - began)
        return response

    async def _answer(self, request: web.BaseRequest, account: Account) -> web.Response:
        if not self._serving:
            raise S3Error("ServiceUnavailable", f"The balancer is {self.state}.")
        if self._inflight > _INFLIGHT_MAX:
            raise S3Error("SlowDown", "Please reduce your request rate.")
        async with self._bodies.raw(request, request.content_length or 0, MAX_BODY + FRAMING) as body:
            account.came(request.headers, body)
            try:
                relayed = await self._relay.send(_relayed_request(request, body), self._candidates(request))
            except RelayFailed as error:
                account.tries = error.tries
                raise
        account.coordinator, account.tries = relayed.coordinator, relayed.tries
        account.answered(relayed.reply.status, relayed.reply.body)
        return _response(relayed)

    def _candidates(self, request: web.BaseRequest) -> list[tuple[str, str]]:
        statuses = {owner: entry["status"] for owner, entry in self._member.entries().items()}
        names = self._router.candidates(request.method, request.raw_path, statuses, self._member.marked())
        return [(name, self._router.member(name)) for name in names]

    def _count(self, request: web.BaseRequest, account: Account, seconds: float) -> None:
        metrics = self._metrics
        metrics.requests.labels(str(account.status)).inc()
        if account.checksum:
            metrics.checksum_requests.inc()
            if account.rejected:
                metrics.checksum_rejected.inc()
        self._log.write("request", **account.line(request.method, request.raw_path, seconds))

    def _on_failure(self, node: str, why: str) -> None:
        self._suspects.failed(node)
        self._log.write("leg", peer=node, why=why)


def _relayed_request(request: web.BaseRequest, body: bytes) -> Request:
    headers = tuple(
        (name.decode("latin-1"), value.decode("utf-8", "surrogateescape"))
        for name, value in request.raw_headers
        if name.lower().decode("latin-1") not in HOP_BY_HOP
    )
    framing: Framing = "none"
    if request.content_length is not None:
        framing = "length"
    elif body or "chunked" in request.headers.get("transfer-encoding", "").lower():
        framing = "chunked"
    return Request(request.method, request.raw_path, headers, body, framing)


def _response(relayed: Relayed) -> web.Response:
    reply = relayed.reply
    response = web.Response(status=reply.status, reason=_reason(reply), body=reply.body)
    for name, value in reply.headers:
        if name.lower() == "content-length":
            response.headers["Content-Length"] = value
        elif name.lower() not in HOP_BY_HOP:
            response.headers.add(name, value)
    return response


def _reason(reply: Reply) -> str | None:
    return reply.reason if reply.reason.isprintable() and reply.reason else None


def _refusal(error: S3Error, request: web.BaseRequest) -> web.Response:
    request_id = secrets.token_hex(8)
    body = b"" if request.method == "HEAD" else error_xml(error, request.raw_path, request_id)
    headers = {"Content-Type": "application/xml", "x-amz-request-id": request_id, "Server": "straybit"}
    return web.Response(status=error.status, body=body, headers=headers)
