"""The storage node: its listener, its state, and which service answers what."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from straybit_nodes.config import NodeConfig
from straybit_nodes.control import Ask, ControlError, Routes, control_routes
from straybit_nodes.dial import DialTable
from straybit_nodes.logs import Log
from straybit_nodes.metrics import Metrics
from straybit_nodes.storage.body import Bodies
from straybit_nodes.storage.calls import Answer
from straybit_nodes.storage.coordinator import Coordinator
from straybit_nodes.storage.errors import S3Error, error_xml
from straybit_nodes.storage.findings import Findings
from straybit_nodes.storage.front import Front
from straybit_nodes.storage.host import Clock, host_routes
from straybit_nodes.storage.legs import TOKEN_HEADER, Places, RemoteReplica
from straybit_nodes.storage.mender import Mender
from straybit_nodes.storage.replica import LocalReplica, Replica
from straybit_nodes.storage.replicas import LegRefused, ReplicaService
from straybit_nodes.storage.request import MAX_BODY, parse_request
from straybit_nodes.storage.scrub import Scrubber
from straybit_nodes.storage.service import S3Service
from straybit_nodes.storage.sigv4 import Credentials
from straybit_nodes.storage.store import Store
from straybit_nodes.storage.suspects import Suspects
from straybit_nodes.topology import Kind
from straybit_nodes.web import HttpListener

__all__ = ["Beside", "StorageNode"]

_INFLIGHT_MAX = 256
"""Requests at a time; more are told to slow down."""
_END_S = 2.0
"""How long a stop waits for requests and legs: longer than any deadline, but not for a client that stalls."""


class Beside(Places, Protocol):
    """The gossip node beside a storage node, as that one sees it."""

    def entries(self) -> dict[str, dict[str, int]]:
        """What it told: `{owner: {"address", "status", "load", "generation", "version"}}`."""

    def frames(self, since: int) -> dict[str, Any]:
        """Frames that came from it, from sequence number `since` on."""

    async def start(self) -> None:
        """Connect and stay connected; returns at once."""

    async def stop(self) -> None:
        """Close the connection and give up every place."""

    def clear(self) -> None:
        """Forget the entries."""


class StorageNode:
    """One storage node: clients' requests are coordinated, legs of others are answered from the own store.

    While held or stopped every request is answered 503.
    """

    def __init__(self, config: NodeConfig, *, log: Log, metrics: Metrics, dials: DialTable, beside: Beside) -> None:
        self._config = config
        self._log = log
        self._metrics = metrics
        self._beside = beside
        suspects = Suspects(time.monotonic)
        self._findings = Findings(log, metrics, suspects)
        self._store = Store(Path(config.data_dir))
        self._clock = Clock()
        self._checksums = "content-checksum" in config.defences
        name = config.service.name
        local = LocalReplica(
            name, self._store, verify="read-verify" in config.defences, on_damage=partial(self._damaged, "read-verify")
        )
        replicas: tuple[Replica, ...] = (
            local,
            *(self._remote(number, member, dials) for number, member in self._others()),
        )
        self._coordinator = Coordinator(
            name,
            replicas,
            compare="replica-compare" in config.defences,
            deadline_s=config.rules.deadline_s,
            order=suspects.order,
            now_ns=self._clock.now_ns,
            on_divergence=self._diverged,
            on_conflict=self._findings.conflict,
        )
        self._mender = Mender(name, self._coordinator, replicas, self._store, on_mended=self._findings.mended)
        self._scrubber = Scrubber(self._store, partial(self._damaged, "scrub"))
        self._bodies = Bodies()
        service = S3Service(self._coordinator, checksums=self._checksums)
        self._front = Front(
            service,
            self._bodies,
            checksums=self._checksums,
            credentials=Credentials(config.access_key, config.secret_key) if config.access_key else None,
            now_ns=self._clock.now_ns,
            on_refused=self._refused,
        )
        self._replicas = ReplicaService(local, checksums=self._checksums)
        self._listener = HttpListener(self._handle)
        self._state = "held"
        self._inflight = 0
        self._silent = asyncio.Event()
        self._silent.set()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._listener.port

    @property
    def state(self) -> str:
        """`held`, `running` or `stopped`."""
        return self._state

    async def open(self) -> None:
        """Read the store, listen, and run unless held. Raises OSError."""
        await asyncio.to_thread(self._store.open)
        await self._listener.open(*self._config.listen)
        if not self._config.held:
            await self.resume(None)

    async def close(self) -> None:
        """Stop, then close the listener."""
        await self.stop()
        await self._listener.close()

    def routes(self) -> Routes:
        """What the control port obeys."""
        return {
            **control_routes(self._config.service.name, self),
            **host_routes(self._store, self._clock, self._scrubber, self._mender),
            ("GET", "/frames"): self._frames,
        }

    def view(self) -> dict[str, Any]:
        """See Controlled: the entries that the gossip node beside it told of."""
        return {
            "name": self._config.service.name,
            "now": time.monotonic(),
            "state": self._state,
            "entries": self._beside.entries(),
            "marked": [],
            "busy": self._coordinator.busy,
            "queued": 0,
            "exchanges": {"ok": 0, "failed": 0},
            "inflight": self._inflight,
        }

    async def stop(self) -> None:
        """See Controlled. Requests under way end first, so that none is cut off half done."""
        if self._state != "stopped":
            self._state = "stopped"
            self._log.write("state", state="stopped")
        await self._mender.stop()
        await self._scrubber.stop()
        try:
            async with asyncio.timeout(_END_S):
                await self._silent.wait()
                await self._coordinator.idle()
        except TimeoutError:
            self._log.write("error", why=f"{self._inflight} requests were still under way {_END_S} s after the stop")
        await self._beside.stop()

    def _diverged(self, bucket: str, key: str) -> None:
        self._mender.note(bucket, key)

    def _damaged(self, defence: str, bucket: str, key: str, why: str) -> None:
        self._findings.damage_at_rest(defence, bucket, key, why)
        self._mender.note(bucket, key)

    async def clear(self) -> None:
        """See Controlled. Objects are kept: only what gossip said is forgotten."""
        if self._state != "stopped":
            raise ControlError(409, f"this node is {self._state}; stop it before it is cleared")
        self._beside.clear()

    async def resume(self, contacts: tuple[str, ...] | None) -> None:
        """See Controlled; `contacts` are the gossip node's business."""
        del contacts
        if self._state != "running":
            self._state = "running"
            self._log.write("state", state="running")
            await self._beside.start()
            self._mender.start()
            if "scrub" in self._config.defences:
                self._scrubber.start()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        request_id = secrets.token_hex(8)
        self._inflight += 1
        self._silent.clear()
        try:
            answer = await self._answer(request)
        except S3Error as error:
            body = b"" if request.method == "HEAD" else error_xml(error, request.raw_path, request_id)
            answer = Answer(error.status, {"Content-Type": "application/xml"}, body)
        except Exception as error:  # a request must not take the node with it
            self._log.write("error", method=request.method, target=request.raw_path, why=repr(error))
            fault = S3Error("InternalError", "We encountered an internal error. Please try again.")
            answer = Answer(500, {"Content-Type": "application/xml"}, error_xml(fault, request.raw_path, request_id))
        finally:
            self._inflight -= 1
            if not self._inflight:
                self._silent.set()
        self._metrics.requests.labels(str(answer.status)).inc()
        response = _response(answer, request_id)
        if not request.content.is_eof():
            response.force_close()  # the body was refused unread: what follows on this connection is not a request
        return response

    async def _answer(self, request: web.BaseRequest) -> Answer:
        if self._state != "running":
            raise S3Error("ServiceUnavailable", f"The node is {self._state}.")
        if self._inflight > _INFLIGHT_MAX:
            raise S3Error("SlowDown", "Please reduce your request rate.")
        token = request.headers.get(TOKEN_HEADER)
        if token is not None:
            return await self._answer_leg(request, token)
        return await self._front.answer(request, parse_request(request.method, request.raw_path))

    async def _answer_leg(self, request: web.BaseRequest, token: str) -> Answer:
        if not hmac.compare_digest(token.encode(errors="replace"), self._config.token.encode()):
            raise S3Error("AccessDenied", "Access Denied")
        try:
            if request.method != "PUT":
                return await self._replicas.handle(request.method, request.raw_path, request.headers, b"")
            async with self._bodies.raw(request, request.content_length or 0, MAX_BODY) as body:
                return await self._replicas.handle("PUT", request.raw_path, request.headers, body)
        except LegRefused as error:
            self._refused(request, error)
            raise

    def _refused(self, request: web.BaseRequest, error: S3Error) -> None:
        self._findings.refused("content-checksum", request.method, request.raw_path, str(error), code=error.code)

    def _others(self) -> list[tuple[int, str]]:
        """Number and member of every other server of the region."""
        own = self._config.service
        return [
            (member.number, member.name)
            for member in self._config.members
            if member.kind is Kind.GOSSIP and member.region == own.region and member.number != own.number
        ]

    def _remote(self, number: int, member: str, dials: DialTable) -> RemoteReplica:
        return RemoteReplica(
            f"storage-{number}",
            member,
            places=self._beside,
            dials=dials,
            token=self._config.token,
            checksums=self._checksums,
            on_failure=self._findings.failed_leg,
            on_damage=self._findings.damaged_leg,
        )

    async def _frames(self, ask: Ask) -> object:
        return self._beside.frames(ask.number("since", 0))


def _response(answer: Answer, request_id: str) -> web.Response:
    headers = {"x-amz-request-id": request_id, "Server": "straybit", **answer.headers}
    if answer.length is not None:
        headers["Content-Length"] = str(answer.length)
    return web.Response(status=answer.status, body=answer.body, headers=headers)
