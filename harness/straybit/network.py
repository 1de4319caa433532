"""Toxics of the network: on real Toxiproxy where it stands in front, else on straybit's own proxy."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from straybit.cluster import Cluster
from straybit_faults.client import ProxyError, Stream

__all__ = ["Shown", "network_toxic"]

Shown = tuple[str, str, str, str]
"""Link, type, stream and attributes of a toxic, as the server's own API lists it."""

_SERIAL = itertools.count()


@contextmanager
def network_toxic(
    cluster: Cluster, kind: str, attributes: Mapping[str, Any], links: Iterable[str], *, stream: Stream = "upstream"
) -> Iterator[tuple[Shown, ...]]:
    """Keep a toxic on each of `links` inside the block; gives what the server itself lists of them.

    Raises ProxyError with none of them left, except those that would not go.
    """
    server = cluster.network
    name = f"network-{next(_SERIAL)}"
    on: list[str] = []
    try:
        for link in links:
            server.add_toxic(link, kind, attributes, stream=stream, name=name)
            on.append(link)
        yield tuple(
            (link, toxic.type, toxic.stream, ", ".join(f"{k}={v}" for k, v in sorted(toxic.attributes.items())))
            for link, proxy in server.proxies().items()
            for toxic in proxy.toxics
            if toxic.name == name
        )
    finally:
        failed: ProxyError | None = None
        for link in on:
            try:
                server.remove_toxic(link, name)
            except ProxyError as error:
                failed = error
        if failed is not None:
            raise failed
