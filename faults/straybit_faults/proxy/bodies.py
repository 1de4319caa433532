"""Requests and answers of the API as records and JSON objects."""

from __future__ import annotations

from typing import Any, TypeVar, get_origin

import msgspec

from straybit_faults.proxy.errors import ApiError
from straybit_faults.proxy.proxy import Proxy
from straybit_faults.toxics import Armed
from straybit_faults.wire import Direction

__all__ = [
    "STREAMS",
    "Json",
    "ProxyBody",
    "ToxicBody",
    "ToxicUpdate",
    "describe_proxy",
    "describe_toxic",
    "describe_toxics",
    "read_body",
]

T = TypeVar("T")
Json = dict[str, Any]

STREAMS = {"upstream": Direction.UP, "downstream": Direction.DOWN}
_STREAM_NAMES = {direction: name for name, direction in STREAMS.items()}


class ToxicBody(msgspec.Struct, kw_only=True):
    """A toxic as a client asks for it; see `Armed` for what straybit adds to Toxiproxy's."""

    type: str = ""
    name: str = ""
    stream: str = "downstream"
    toxicity: float = 1.0
    attributes: dict[str, Any] = {}
    source: str | None = None
    connections: list[int] | None = None
    lease_s: float | None = None

    @property
    def title(self) -> str:
        """Its name, or Toxiproxy's default."""
        return self.name or f"{self.type}_{self.stream}"


class ToxicUpdate(msgspec.Struct, kw_only=True):
    """What may be changed of a toxic; even an empty one renews its lease."""

    toxicity: float | None = None
    attributes: dict[str, Any] = {}


class ProxyBody(msgspec.Struct, kw_only=True):
    """A proxy as a client asks for it; what is left out keeps its value, or takes the default."""

    name: str = ""
    listen: str = ""
    upstream: str = ""
    enabled: bool | None = None
    protocol: str | None = None
    toxics: list[ToxicBody] = []
    lease_s: float | None = None


_JSON = msgspec.json.Decoder()


def read_body(text: bytes, kind: type[T]) -> T:
    """JSON as a record; keys in any case, and null as left out, as Go has it. Raises ApiError 400."""
    try:
        value = _as_go_reads(_JSON.decode(text))
        if value is None:
            value = [] if get_origin(kind) is list else {}
        return msgspec.convert(value, kind)
    except (ValueError, RecursionError) as error:
        raise ApiError.bad_body(error) from error


def _as_go_reads(value: object) -> object:
    if isinstance(value, dict):
        return {key.casefold(): _as_go_reads(item) for key, item in value.items() if item is not None}
    return [_as_go_reads(item) for item in value] if isinstance(value, list) else value


def describe_proxy(proxy: Proxy) -> Json:
    """A proxy as the API shows it."""
    extra: Json = {} if proxy.lease is None else {"lease_s": proxy.lease.lease_s}
    if proxy.protocol != "tcp":
        extra["protocol"] = proxy.protocol
    return {
        "name": proxy.name,
        "listen": proxy.listen,
        "upstream": proxy.upstream,
        "enabled": proxy.enabled,
        "toxics": describe_toxics(proxy),
        **extra,
    }


def describe_toxics(proxy: Proxy) -> list[Json]:
    """A proxy's toxics: upstream ones first, each stream in the order of insertion."""
    return [describe_toxic(a) for direction in Direction for a in proxy.armed.values() if a.direction is direction]


def describe_toxic(armed: Armed[Any]) -> Json:
    """A toxic as the API shows it."""
    extra = {
        "source": str(armed.source) if armed.source is not None else None,
        "connections": sorted(armed.connections) if armed.connections is not None else None,
        "lease_s": armed.lease.lease_s if armed.lease is not None else None,
    }
    return {
        "attributes": armed.attributes.listed(),
        "name": armed.name,
        "type": armed.kind,
        "stream": armed.stream or _STREAM_NAMES[armed.direction],
        "toxicity": armed.toxicity,
        **{key: value for key, value in extra.items() if value is not None},
    }
