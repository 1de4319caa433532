"""All proxies of one server, and what the API may ask of them. Only the data thread may call in here."""

from __future__ import annotations

import random
import resource
import socket
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import msgspec

from straybit_faults.proxy.address import UnknownHostError, format_address, is_numeric, parse_address
from straybit_faults.proxy.bodies import STREAMS, ProxyBody, ToxicBody, ToxicUpdate
from straybit_faults.proxy.datagram import UdpProxy
from straybit_faults.proxy.errors import ApiError
from straybit_faults.proxy.events import Event, EventLog
from straybit_faults.proxy.lease import MAX_LEASE_S, Lease
from straybit_faults.proxy.loop import Loop
from straybit_faults.proxy.pipes import PipePool
from straybit_faults.proxy.proxy import Proxy
from straybit_faults.proxy.receipts import ReceiptBook
from straybit_faults.proxy.tcp import TcpProxy
from straybit_faults.toxics import TOXICS, Armed, Toxic

__all__ = ["PopulateError", "Server"]

PROTOCOLS: dict[str, type[Proxy]] = {"tcp": TcpProxy, "udp": UdpProxy}

RESERVED = 32
"""Descriptors kept free for the API and the upstreams of connections that were accepted."""

_RESOLVERS = 4  # threads that ask name servers


class PopulateError(ApiError):
    """A refused populate, and the proxies it made or kept before that; None if it did not begin."""

    def __init__(self, error: ApiError, proxies: list[Proxy] | None) -> None:
        super().__init__(error.status, error.text)
        self.proxies = proxies


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
        self.names: Mapping[str, str] = {}
        """Addresses of hosts to listen on, for the command that runs: whoever handed it in has looked them up."""
        loop.failed = self._failed
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
        _check_lease(body.lease_s)
        if body.name in self.proxies:
            raise ApiError(409, "proxy already exists")
        toxics = [self._armed(toxic, 0) for toxic in body.toxics]
        _check_address(body.listen or "127.0.0.1:0")
        _check_address(body.upstream)
        kind = PROTOCOLS.get(body.protocol or "tcp")
        if kind is None:
            raise ApiError.bad_body(f"protocol must be one of {', '.join(PROTOCOLS)}, not {body.protocol!r}")
        proxy = kind(self, body.name, body.listen or "127.0.0.1:0", body.upstream)
        if len({armed.name for armed in toxics}) < len(toxics):
            raise ApiError(409, "toxic already exists")
        for armed in toxics:
            proxy.check(armed)
            proxy.add(armed)
        if body.enabled is not False:
            proxy.start()
        for armed, toxic in zip(toxics, body.toxics, strict=True):
            self._lease_toxic(proxy, armed, toxic.lease_s)
        if body.lease_s is not None:
            proxy.lease = Lease(self.loop, body.lease_s, lambda: self._expire_proxy(proxy))
        self.proxies[body.name] = proxy
        return proxy

    def populate(self, bodies: list[ProxyBody]) -> list[Proxy]:
        """Create those that are new or differ; one that is equal stays untouched. Raises PopulateError."""
        proxies: list[Proxy] | None = None
        try:
            for number, body in enumerate(bodies, 1):
                _require(body, f" at proxy {number}")
            proxies = []
            for body in bodies:
                proxies.append(self._populated(body))
        except ApiError as error:
            raise PopulateError(error, proxies) from error
        return proxies

    def _populated(self, body: ProxyBody) -> Proxy:
        old = self.proxies.get(body.name)
        if old is not None:
            same = old.protocol == (body.protocol or old.protocol) and old.upstream == body.upstream
            if same and self._listens(old, body.listen):
                return old
            self.delete(body.name)
        return self.create(body)

    def update(self, name: str, body: ProxyBody) -> Proxy:
        """Change listen, upstream or enabled. Raises ApiError."""
        proxy = self.proxy(name)
        for text in filter(None, (body.listen, body.upstream)):
            _check_address(text)
        enabled = proxy.enabled if body.enabled is None else body.enabled
        if not self._listens(proxy, body.listen):
            proxy.stop()
            proxy.listen = body.listen
        if body.upstream not in ("", proxy.upstream):
            proxy.stop()
            proxy.upstream = body.upstream
        proxy.start() if enabled else proxy.stop()
        if proxy.lease is not None:
            proxy.lease.renew()
        return proxy

    def delete(self, name: str) -> None:
        """Remove a proxy and its connections. Raises ApiError."""
        proxy = self.proxy(name)
        proxy.stop()
        for toxic in tuple(proxy.armed):
            proxy.remove(toxic)
        if proxy.lease is not None:
            proxy.lease.cancel()
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
        proxy.check(armed)
        proxy.add(armed)
        self._lease_toxic(proxy, armed, body.lease_s)
        self.events.add("added", proxy=name, toxic=armed.name)
        return armed

    def update_toxic(self, proxy: str, name: str, body: ToxicUpdate) -> Armed[Any]:
        """Change attributes, key by key, and toxicity. Raises ApiError."""
        armed = self.toxic(proxy, name)
        attributes = _attributes(type(armed.attributes), {**armed.attributes.listed(), **body.attributes})
        if attributes != armed.attributes:
            armed.attributes = attributes
            self.proxy(proxy).aim(armed)
        if body.toxicity is not None:
            armed.toxicity = body.toxicity
        if armed.lease is not None:
            armed.lease.renew()
        self.proxy(proxy).rearm()
        self.events.add("updated", proxy=proxy, toxic=name)
        return armed

    def remove_toxic(self, proxy: str, name: str) -> None:
        """Disarm a toxic. Raises ApiError."""
        self.toxic(proxy, name)
        self.proxy(proxy).remove(name)
        self.events.add("removed", proxy=proxy, toxic=name)

    def _armed(self, body: ToxicBody, since: int) -> Armed[Any]:
        direction = STREAMS.get(body.stream.casefold())
        if direction is None:
            raise ApiError(400, "stream was invalid, can be either upstream or downstream")
        kind = TOXICS.get(body.type)
        if kind is None:
            raise ApiError(400, "invalid toxic type")
        _check_lease(body.lease_s)
        attributes = _attributes(kind, body.attributes)
        armed = Armed(body.title, body.type, direction, attributes, toxicity=body.toxicity, since=since)
        armed.stream = body.stream
        if body.source is not None:
            armed.source = _network(body.source)
        if body.connections is not None:
            armed.connections = frozenset(body.connections)
        return armed

    # -- leases --------------------------------------------------------------------------------------------------

    def _lease_toxic(self, proxy: Proxy, armed: Armed[Any], lease_s: float | None) -> None:
        if lease_s is not None:
            armed.lease = Lease(self.loop, lease_s, lambda: self._expire_toxic(proxy, armed))

    def _expire_toxic(self, proxy: Proxy, armed: Armed[Any]) -> None:
        proxy.remove(armed.name)
        self.events.add("expired", proxy=proxy.name, toxic=armed.name)

    def _expire_proxy(self, proxy: Proxy) -> None:
        self.delete(proxy.name)
        self.events.add("expired", proxy=proxy.name)

    # -- addresses -----------------------------------------------------------------------------------------------

    def listen_address(self, text: str) -> tuple[str, int]:
        """A numeric host, and the port. Raises UnknownHostError for a name that was not looked up yet."""
        host, port = parse_address(text)
        if is_numeric(host):
            return host, port
        if host not in self.names:
            raise UnknownHostError(host)
        return self.names[host], port

    def _listens(self, proxy: Proxy, listen: str) -> bool:
        """Whether that is where a proxy listens, or will."""
        if listen in ("", proxy.listen):
            return True
        return proxy.enabled and format_address(*self.listen_address(listen)) == proxy.listen

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

    def events_since(self, seq: int) -> list[Event]:
        """Events numbered `seq` and later, a portion of them."""
        return self.events.since(seq)

    @property
    def most_descriptors(self) -> int:
        """The first descriptor that connections may not have: the last few are for the API."""
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVED

    def _failed(self, error: Exception) -> None:
        """A mistake of ours: noted, with where it was made, and nothing else stops."""
        last = traceback.extract_tb(error.__traceback__)[-1]
        self.events.add("error", reason=f"{error!r} in {last.name}, line {last.lineno} of {Path(last.filename).name}")

    def close(self) -> None:
        """Stop every proxy and give all descriptors back."""
        for proxy in self.proxies.values():
            proxy.stop()
        self.pipes.close()
        if self._resolvers is not None:
            self._resolvers.shutdown(wait=False, cancel_futures=True)


def _attributes(kind: type[Toxic], values: dict[str, Any]) -> Toxic:
    for name in kind.__struct_fields__:
        if not _fits(values.get(name)):
            raise ApiError.bad_body(f"{name} must fit in 64 bits")
    try:
        toxic = msgspec.convert(values, kind)
        toxic.check()
    except ValueError as error:  # msgspec's own errors are ValueErrors, too
        raise ApiError.bad_body(error) from error
    return toxic


def _fits(value: object) -> bool:
    """Whether integers are Toxiproxy's int64: times beyond them are none."""
    if isinstance(value, list):
        return all(_fits(item) for item in value)
    return not isinstance(value, int) or -(1 << 63) <= value < 1 << 63


def _check_address(text: str) -> None:
    try:
        parse_address(text)
    except ValueError as error:
        raise ApiError.bad_body(error) from error


def _check_lease(lease_s: float | None) -> None:
    if lease_s is not None and not 0 < lease_s <= MAX_LEASE_S:
        raise ApiError.bad_body(f"lease_s must be above 0 and at most {MAX_LEASE_S:g}, but is {lease_s:g}")


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ApiError.bad_body(f"source: {error}") from error


def _require(body: ProxyBody, where: str = "") -> None:
    for field in ("name", "upstream"):
        if not getattr(body, field):
            raise ApiError.missing(field, where)
