"""Toxiproxy's metrics in Prometheus' text form; unlike its own, they move while a connection lives."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from straybit_faults.proxy.bodies import STREAMS
from straybit_faults.proxy.proxy import Proxy

__all__ = ["Reading", "metrics_text", "read_counts"]

Reading = tuple[tuple[str, str, str, str], int, int]
"""Labels (direction, proxy, listener, upstream), bytes received and bytes sent."""

_LABELS = ("direction", "proxy", "listener", "upstream")


def read_counts(proxies: list[Proxy]) -> list[Reading]:
    """Two readings for each proxy. Only the data thread may call."""
    return [
        ((name, proxy.name, proxy.listen, proxy.upstream), *proxy.counts(direction))
        for proxy in proxies
        for name, direction in STREAMS.items()
    ]


def metrics_text(readings: list[Reading]) -> bytes:
    """The page."""
    registry = CollectorRegistry()
    registry.register(_Readings(readings))
    return generate_latest(registry)


class _Readings(Collector):
    def __init__(self, readings: list[Reading]) -> None:
        self.readings = readings

    def collect(self) -> Iterator[CounterMetricFamily]:
        received = CounterMetricFamily("toxiproxy_proxy_received_bytes", "Bytes received", labels=_LABELS)
        sent = CounterMetricFamily("toxiproxy_proxy_sent_bytes", "Bytes sent", labels=_LABELS)
        for labels, received_bytes, sent_bytes in self.readings:
            received.add_metric(labels, received_bytes)
            sent.add_metric(labels, sent_bytes)
        yield received
        yield sent
