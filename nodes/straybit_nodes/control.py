"""The control port: how a harness looks into a node and steers it. Every path wants the run's token."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec
from aiohttp import web

from straybit_nodes.metrics import CONTENT_TYPE, Metrics
from straybit_nodes.web import HttpListener

__all__ = [
    "Ask",
    "ControlError",
    "ControlServer",
    "Controlled",
    "Member",
    "Route",
    "Routes",
    "control_routes",
    "member_routes",
]

_BODY_LIMIT = 64 * 1024


class ControlError(Exception):
    """A command that cannot be obeyed: an HTTP status of 4xx and one line for the caller."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Ask(msgspec.Struct, frozen=True):
    """One control request: its query and its JSON body (an empty object where there is none)."""

    query: Mapping[str, str]
    body: dict[str, Any]

    def number(self, name: str, default: int | None = None) -> int:
        """An integer of the query or body. Raises ControlError 400."""
        value = self.body.get(name, self.query.get(name, default))
        try:
            return int(value)  # type: ignore[arg-type]  # None and rubbish are what the except is for
        except (TypeError, ValueError):
            raise ControlError(400, f"{name} must be a number, not {value!r}") from None

    def text(self, name: str) -> str:
        """A string of the body that must be there. Raises ControlError 400."""
        value = self.body.get(name)
        if not isinstance(value, str) or not value:
            raise ControlError(400, f"{name} must be a string that is not empty, not {value!r}")
        return value


Route = Callable[[Ask], Awaitable[object]]
Routes = Mapping[tuple[str, str], Route]


class Controlled(Protocol):
    """What every node can do: show itself, stop, clear, resume."""

    @property
    def state(self) -> str:
        """`held`, `running` or `stopped`."""

    def view(self) -> dict[str, Any]:
        """The node's idea of the cluster, as JSON shows it."""

    async def stop(self) -> None:
        """End all traffic between servers and refuse requests; returns when this node is silent."""

    async def clear(self) -> None:
        """Forget gossiped state. Raises ControlError 409 unless stopped."""

    async def resume(self, contacts: tuple[str, ...] | None) -> None:
        """Run; `contacts` limits the members that are spoken to first."""


class Member(Controlled, Protocol):
    """What gossip nodes and balancers can do besides."""

    def frames(self, since: int) -> dict[str, Any]:
        """`{"next", "frames"}`: gossip frames received from sequence number `since` on."""

    async def exchange(self, peer: str) -> str | None:
        """One exchange with `peer` now; None when it went well, else what went wrong. Raises ControlError."""

    async def round(self, peer: str | None) -> None:
        """One gossip round, with `peer` or a random one; ended when it returns. Raises ControlError."""

    async def heartbeat(self) -> None:
        """One rise of the own version."""

    async def ticks(self, on: bool) -> None:
        """Turn the timers on or off."""

    async def originate(self, status: int) -> None:
        """Set the own status, as its owner. Raises ControlError."""


def control_routes(name: str, node: Controlled) -> Routes:
    """The paths that every node has, beside /metrics."""

    async def healthz(_: Ask) -> object:
        return {"name": name, "state": node.state}

    async def view(_: Ask) -> object:
        return node.view()

    async def stop(_: Ask) -> object:
        await node.stop()
        return {"state": node.state}

    async def clear(_: Ask) -> object:
        await node.clear()
        return {"state": node.state}

    async def resume(ask: Ask) -> object:
        await node.resume(_contacts(ask))
        return {"state": node.state}

    return {
        ("GET", "/healthz"): healthz,
        ("GET", "/view"): view,
        ("POST", "/stop"): stop,
        ("POST", "/clear"): clear,
        ("POST", "/resume"): resume,
    }


def member_routes(member: Member) -> Routes:
    """The paths of those that gossip."""

    async def frames(ask: Ask) -> object:
        return member.frames(ask.number("since", 0))

    async def exchange(ask: Ask) -> object:
        error = await member.exchange(ask.text("peer"))
        return {"ok": error is None, "error": error}

    async def round_(ask: Ask) -> object:
        await member.round(ask.text("peer") if ask.body.get("peer") is not None else None)
        return {}

    async def heartbeat(_: Ask) -> object:
        await member.heartbeat()
        return {}

    async def ticks(ask: Ask) -> object:
        on = ask.body.get("on")
        if not isinstance(on, bool):
            raise ControlError(400, f"on must be true or false, not {on!r}")
        await member.ticks(on)
        return {}

    async def originate(ask: Ask) -> object:
        await member.originate(ask.number("status"))
        return {}

    return {
        ("GET", "/frames"): frames,
        ("POST", "/exchange"): exchange,
        ("POST", "/round"): round_,
        ("POST", "/heartbeat"): heartbeat,
        ("POST", "/ticks"): ticks,
        ("POST", "/originate"): originate,
    }


class ControlServer:
    """The control port of one node. 401 without the token, 404 for an unknown path, else JSON."""

    def __init__(self, token: str, metrics: Metrics, routes: Routes) -> None:
        self._secret = f"Bearer {token}".encode()
        self._metrics = metrics
        self._routes = dict(routes)
        self.listener = HttpListener(self._handle)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if not hmac.compare_digest(
            request.headers.get("Authorization", "").encode(errors="surrogateescape"), self._secret
        ):
            return _json(401, {"error": "this port wants the run's token as Authorization: Bearer TOKEN"})
        key = (request.method, request.rel_url.path)
        if key == ("GET", "/metrics"):
            return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})
        route = self._routes.get(key)
        if route is None:
            return _json(404, {"error": f"this node has no {' '.join(key)}"})
        try:
            return _json(200, await route(Ask(request.query, await _read(request))))
        except ControlError as error:
            return _json(error.status, {"error": str(error)})


def _contacts(ask: Ask) -> tuple[str, ...] | None:
    value = ask.body.get("contacts")
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ControlError(400, f"contacts must be a list of member names or null, not {value!r}")
    return tuple(value)


_JSON = msgspec.json.Decoder()


async def _read(request: web.BaseRequest) -> dict[str, Any]:
    data = bytearray()
    async for chunk in request.content.iter_any():
        data += chunk
        if len(data) > _BODY_LIMIT:
            raise ControlError(413, f"the body is longer than {_BODY_LIMIT} bytes")
    try:
        body = _JSON.decode(data) if data else {}
    except msgspec.DecodeError as error:
        raise ControlError(400, f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise ControlError(400, "the body must be a JSON object")
    return body


def _json(status: int, value: object) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(value), headers={"Content-Type": "application/json"})
