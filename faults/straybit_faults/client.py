"""The one typed adapter over toxiproxy-python: every proxy server, straybit's and Toxiproxy's, is driven through it.

toxiproxy-python keeps host and port on a class, has no time-outs and lets a 500 pass;
here each server has a consumer class of its own, each call has a time-out, and each refusal is a ProxyError.
What is on loopback is called directly, whatever HTTP_PROXY says: requests exempts nothing by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import msgspec
import requests
from toxiproxy.api import APIConsumer
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists

from straybit_faults.receipt import Receipt

__all__ = ["ProxyError", "ProxyInfo", "ProxyServer", "Stream", "ToxicInfo"]

Stream = Literal["upstream", "downstream"]
T = TypeVar("T")

TIMEOUT_S = 2.0
"""For one call; a healthy proxy answers in milliseconds, even under load."""
DIRECTLY = {f"http://{host}": "" for host in ("127.0.0.1", "::1", "localhost")}
"""For requests: hosts that no HTTP proxy stands before; every other goes where the environment says."""


class ProxyError(RuntimeError):
    """A proxy server refused a call, or did not answer; the message says which server and what it said."""


class ToxicInfo(msgspec.Struct, frozen=True):
    """A toxic as the API lists it."""

    name: str
    type: str
    stream: Stream
    toxicity: float
    attributes: dict[str, Any]


class ProxyInfo(msgspec.Struct, frozen=True):
    """A proxy as the API lists it; `listen` carries the real port."""

    name: str
    listen: str
    upstream: str
    enabled: bool
    toxics: list[ToxicInfo] = []

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of `listen`."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


class _Populated(msgspec.Struct, frozen=True):
    proxies: list[ProxyInfo]


class _Version(msgspec.Struct, frozen=True):
    version: str


_VERSION = msgspec.json.Decoder(_Version)
_PROXIES = msgspec.json.Decoder(dict[str, ProxyInfo])
_POPULATED = msgspec.json.Decoder(_Populated)
_PROXY = msgspec.json.Decoder(ProxyInfo)
_TOXIC = msgspec.json.Decoder(ToxicInfo)
_RECEIPTS = msgspec.json.Decoder(list[Receipt])
_JSON = msgspec.json.Decoder()


class ProxyServer:
    """A proxy server's API at `host`:`port`. Every method raises ProxyError when the server refuses or is silent."""

    def __init__(self, host: str = "127.0.0.1", port: int = 8474) -> None:
        self.host = host
        self.port = port
        self._consumer: type[APIConsumer] = type("Consumer", (APIConsumer,), {"host": host, "port": port})

    def version(self) -> str:
        """The server's version, as 2.12.0."""
        return self._call("get", "/version", _VERSION).version

    def proxies(self) -> dict[str, ProxyInfo]:
        """Every proxy, by name."""
        return self._call("get", "/proxies", _PROXIES)

    def populate(self, proxies: Iterable[tuple[str, str, str]]) -> dict[str, tuple[str, int]]:
        """Create proxies from (name, listen, upstream) in one call; answers name -> (host, port) listened on."""
        body = [{"name": name, "listen": listen, "upstream": upstream} for name, listen, upstream in proxies]
        created = self._call("post", "/populate", _POPULATED, json=body).proxies
        return {proxy.name: proxy.address for proxy in created}

    def delete(self, proxy: str) -> None:
        """Remove a proxy and its connections."""
        self._call("delete", f"/proxies/{_quote(proxy)}", None)

    def enable(self, proxy: str, enabled: bool = True) -> ProxyInfo:
        """Open a proxy's listener, or close it and every live connection."""
        return self._call("post", f"/proxies/{_quote(proxy)}", _PROXY, json={"enabled": enabled})

    def add_toxic(
        self,
        proxy: str,
        kind: str,
        attributes: Mapping[str, Any],
        *,
        stream: Stream = "upstream",
        name: str | None = None,
        toxicity: float = 1.0,
        **options: object,
    ) -> ToxicInfo:
        """Add a toxic of type `kind`; `options` are straybit's own (`source`, `connections`, `lease_s`)."""
        body = {"type": kind, "stream": stream, "toxicity": toxicity, "attributes": dict(attributes), **options}
        if name is not None:
            body["name"] = name
        return self._call("post", f"/proxies/{_quote(proxy)}/toxics", _TOXIC, json=body)

    def update_toxic(self, proxy: str, name: str, **changes: object) -> ToxicInfo:
        """Change `attributes` (key by key) or `toxicity` of a toxic; naming a leased one renews its lease."""
        return self._call("post", f"/proxies/{_quote(proxy)}/toxics/{_quote(name)}", _TOXIC, json=changes)

    def remove_toxic(self, proxy: str, name: str) -> None:
        """Remove a toxic; what it still holds back is let go at once."""
        self._call("delete", f"/proxies/{_quote(proxy)}/toxics/{_quote(name)}", None)

    def reset(self) -> None:
        """Enable every proxy and remove every toxic; connections live on."""
        self._call("post", "/reset", None)

    def receipts(self, proxy: str | None = None, *, toxic: str | None = None) -> list[Receipt]:
        """Receipts, oldest first, of one proxy or toxic, or of all.

        Real Toxiproxy has none and answers with a ProxyError.
        """
        asked = {"proxy": proxy, "toxic": toxic}
        params = {name: value for name, value in asked.items() if value}
        return self._call("get", "/receipts", _RECEIPTS, params=params)

    def _call(
        self,
        method: Literal["get", "post", "delete"],
        path: str,
        answer: msgspec.json.Decoder[T] | None,
        **rest: object,
    ) -> T:
        where = f"proxy server {self.host}:{self.port}: {method.upper()} {path}"
        try:
            response = getattr(self._consumer, method)(path, timeout=TIMEOUT_S, proxies={**DIRECTLY}, **rest)
        except (ProxyExists, NotFound, InvalidToxic) as error:
            raise ProxyError(f"{where}: {_text(error.args[0])}") from error
        except requests.Timeout as error:
            raise ProxyError(f"{where}: no answer within {TIMEOUT_S:g} s") from error
        except requests.RequestException as error:
            raise ProxyError(f"{where}: cannot be reached ({error}); is it running?") from error
        if not response.ok:
            raise ProxyError(f"{where}: {response.status_code} {_text(response.content)}")
        try:
            return answer.decode(response.content) if answer is not None else None  # type: ignore[return-value]
        except msgspec.MsgspecError as error:
            raise ProxyError(f"{where}: an answer that is not of Toxiproxy's API ({error})") from error


def _quote(name: str) -> str:
    return quote(name, safe=":")


def _text(content: bytes) -> str:
    try:
        return str(_JSON.decode(content)["error"])
    except (msgspec.MsgspecError, KeyError, TypeError):
        return content.decode(errors="replace").strip()
