"""All proxies of one server, and what the API may ask of them. Only the data thread may call in here."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from straybit_faults.proxy.address import format_address, parse_address
from straybit_faults.proxy.errors import ApiError
from straybit_faults.proxy.events import EventLog
from straybit_faults.proxy.loop import Loop
from straybit_faults.proxy.pipes import PipePool
from straybit_faults.proxy.proxy import Proxy
from straybit_faults.proxy.receipts import ReceiptBook
from straybit_faults.toxics import TOXICS, Armed, Toxic
from straybit_faults.wire import Direction

__all__ = ["ProxyBody", "Server", "ToxicBody", "ToxicUpdate", "describe_proxy", "describe_toxic", "describe_toxics"]

Json = dict[str, Any]

STREAMS = {"upstream": Direction.UP, "downstream": Direction.DOWN}
_STREAM_NAMES = {direction: name for name, direction in STREAMS.items()}

_RESOLVERS = 4  # threads that ask name servers


class ToxicBody(msgspec.Struct, kw_only=True):
    """A toxic as a client asks for it."""

    type: str = ""
    name: str = ""
    stream: str = "downstream"
    toxicity: float = 1.0
    attributes: dict[str, Any] = {}


class ToxicUpdate(msgspec.Struct, kw_only=True):
    """What may be changed of a toxic."""

    toxicity: float | None = None
    attributes: dict[str, Any] = {}


class ProxyBody(msgspec.Struct, kw_only=True):
    """A proxy as a client asks for it; what is left out keeps its value, or takes the default."""

    name: str = ""
    listen: str = ""
    upstream: str = ""
    enabled: bool | None = None
    toxics: list[ToxicBody] = []


class Server:
    """Proxies by name, and what they share."""

    def __init__(self, loop: Loop, *, seed: int = 0) -> None:
        self.loop = loop
        self.seed = seed
        self.random = random.Random(seed)  # jitter, not secrets
        self.pipes = PipePool()
        self.events = EventLog()
        self.book = ReceiptBook()
        self.proxies: dict[str, Proxy] = {}
        self._resolvers: ThreadPoolExecutor | None = None

    # -- proxies -------------------------------------------------------------------------------------------------

    def proxy(self, name: str) -> Proxy:
        """The proxy of that name. Raises ApiError 404."""
        proxy = self.proxies.get(name)
        if proxy is None:
            raise ApiError(404, "proxy not found")
        return proxy

    def create(self, body: ProxyBody) -> Proxy:
        """A new proxy, with its toxics before its first connection. Raises ApiError."""
        _require(body)
        if body.name in self.proxies:
            raise ApiError(409, "proxy already exists")
        toxics = [self._armed(toxic, 0) for toxic in body.toxics]
        proxy = Proxy(self, body.name, body.listen or "127.0.0.1:0", _address(body.upstream))
        proxy.listen = _address(proxy.listen)
        for armed in toxics:
            if armed.name in proxy.armed:
                raise ApiError(409, "toxic already exists")
            proxy.add(armed)
        if body.enabled is not False:
            proxy.start()
        self.proxies[body.name] = proxy
        return proxy

    def populate(self, bodies: list[ProxyBody]) -> list[Proxy]:
        """Create those that are new or differ; one that is equal stays untouched. Raises ApiError."""
        for number, body in enumerate(bodies, 1):
            _require(body, f" at proxy {number}")
        return [self._populated(body) for body in bodies]

    def _populated(self, body: ProxyBody) -> Proxy:
        old = self.proxies.get(body.name)
        if old is not None:
            if old.upstream == _address(body.upstream) and old.listen == _address(body.listen or old.listen):
                return old
            self.delete(body.name)
        return self.create(body)

    def update(self, name: str, body: ProxyBody) -> Proxy:
        """Change listen, upstream or enabled. Raises ApiError."""
        proxy = self.proxy(name)
        listen = _address(body.listen) if body.listen else proxy.listen
        upstream = _address(body.upstream) if body.upstream else proxy.upstream
        enabled = proxy.enabled if body.enabled is None else body.enabled
        if (listen, upstream) != (proxy.listen, proxy.upstream):
            proxy.stop()
            proxy.listen, proxy.upstream, proxy.target = listen, upstream, parse_address(upstream)
        proxy.start() if enabled else proxy.stop()
        return proxy

    def delete(self, name: str) -> None:
        """Remove a proxy and its connections. Raises ApiError."""
        self.proxy(name).stop()
        del self.proxies[name]

    def reset(self) -> None:
        """Enable every proxy and remove every toxic; connections live on. Raises ApiError."""
        for proxy in self.proxies.values():
            for name in tuple(proxy.armed):
                proxy.remove(name)
            proxy.start()

    # -- toxics --------------------------------------------------------------------------------------------------

    def toxic(self, proxy: str, name: str) -> Armed[Any]:
        """The toxic of that name. Raises ApiError 404."""
        armed = self.proxy(proxy).armed.get(name)
        if armed is None:
            raise ApiError(404, "toxic not found")
        return armed

    def add_toxic(self, name: str, body: ToxicBody) -> Armed[Any]:
        """Arm a toxic. Raises ApiError."""
        proxy = self.proxy(name)
        armed = self._armed(body, proxy.number)
        if armed.name in proxy.armed:
            raise ApiError(409, "toxic already exists")
        proxy.add(armed)
        self.events.add("added", proxy=name, toxic=armed.name)
        return armed

    def update_toxic(self, proxy: str, name: str, body: ToxicUpdate) -> Armed[Any]:
        """Change attributes, key by key, and toxicity. Raises ApiError."""
        armed = self.toxic(proxy, name)
        armed.attributes = _attributes(type(armed.attributes), {**armed.attributes.listed(), **body.attributes})
        if body.toxicity is not None:
            armed.toxicity = body.toxicity
        self.proxy(proxy).rearm()
        self.events.add("updated", proxy=proxy, toxic=name)
        return armed

    def remove_toxic(self, proxy: str, name: str) -> None:
        """Disarm a toxic. Raises ApiError."""
        self.toxic(proxy, name)
        self.proxy(proxy).remove(name)
        self.events.add("removed", proxy=proxy, toxic=name)

    def _armed(self, body: ToxicBody, since: int) -> Armed[Any]:
        direction = STREAMS.get(body.stream or "downstream")
        if direction is None:
            raise ApiError(400, "stream was invalid, can be either upstream or downstream")
        kind = TOXICS.get(body.type)
        if kind is None:
            raise ApiError(400, "invalid toxic type")
        return Armed(
            body.name or f"{body.type}_{_STREAM_NAMES[direction]}",
            body.type,
            direction,
            _attributes(kind, body.attributes),
            toxicity=body.toxicity,
            since=since,
        )

    # -- what proxies share --------------------------------------------------------------------------------------

    def resolve(self, host: str, found: Callable[[str | OSError], None]) -> None:
        """Ask the name server in another thread; `found` is called in the data thread."""
        if self._resolvers is None:
            self._resolvers = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolver")

        def ask() -> None:
            try:
                answer: str | OSError = str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
            except OSError as error:
                answer = error
            self.loop.submit(lambda: found(answer))

        self._resolvers.submit(ask)

    def close(self) -> None:
        """Stop every proxy and give all descriptors back."""
        for proxy in self.proxies.values():
            proxy.stop()
        self.pipes.close()
        if self._resolvers is not None:
            self._resolvers.shutdown(wait=False, cancel_futures=True)


def describe_proxy(proxy: Proxy) -> Json:
    """A proxy as the API shows it."""
    return {
        "name": proxy.name,
        "listen": proxy.listen,
        "upstream": proxy.upstream,
        "enabled": proxy.enabled,
        "toxics": describe_toxics(proxy),
    }


def describe_toxics(proxy: Proxy) -> list[Json]:
    """A proxy's toxics: upstream ones first, each stream in the order of insertion."""
    return [describe_toxic(a) for direction in Direction for a in proxy.armed.values() if a.direction is direction]


def describe_toxic(armed: Armed[Any]) -> Json:
    """A toxic as the API shows it."""
    return {
        "attributes": armed.attributes.listed(),
        "name": armed.name,
        "type": armed.kind,
        "stream": _STREAM_NAMES[armed.direction],
        "toxicity": armed.toxicity,
    }


def _attributes(kind: type[Toxic], values: Json) -> Toxic:
    try:
        toxic = msgspec.convert(values, kind)
        toxic.check()
    except ValueError as error:  # msgspec's own errors are ValueErrors, too
        raise ApiError.bad_body(error) from error
    return toxic


def _address(text: str) -> str:
    try:
        return format_address(*parse_address(text))
    except ValueError as error:
        raise ApiError.bad_body(error) from error


def _require(body: ProxyBody, where: str = "") -> None:
    for field in ("name", "upstream"):
        if not getattr(body, field):
            raise ApiError.missing(field, where)
