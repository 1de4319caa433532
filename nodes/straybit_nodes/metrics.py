"""A node's metrics, in a registry of its own, so that several nodes can live in one process."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, generate_latest

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """What a node counts. All are counters; their names follow Prometheus' conventions.

    `detections` (defence): what a defence noticed, one per fault.
    `requests` (code): HTTP requests answered, by status.
    `checksum_requests`, `checksum_rejected`: requests that carried a digest of their body,
    and those of them that got a 400 with an integrity code.
    `quarantined`: stored files that were found damaged and moved aside; `mended`: keys brought to holders lacking them.
    `exchanges` (result: ok, failed), `slot_seconds` (work: gossip, tell, verify, request): a member's talking.
    `frames` (direction, kind): gossip frames.
    `failed_talk` (kind: reopen, tell, verify; result: done, damped): talk about failed members.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.detections = self._counter("detections", "Faults a defence noticed.", "defence")
        self.requests = self._counter("requests", "HTTP requests answered.", "code")
        self.checksum_requests = self._counter("checksum_requests", "Requests that carried a digest.")
        self.checksum_rejected = self._counter("checksum_rejected", "Of those, answered 400 with an integrity code.")
        self.quarantined = self._counter("quarantined", "Stored files found damaged and moved aside.")
        self.mended = self._counter("mended", "Keys brought to holders that lacked them.")
        self.exchanges = self._counter("exchanges", "Gossip exchanges that ended.", "result")
        self.slot_seconds = self._counter("slot_seconds", "Seconds that slots were held.", "work")
        self.frames = self._counter("frames", "Gossip frames.", "direction", "kind")

        self.failed_talk = self._counter("failed_talk", "Talk about failed members.", "kind", "result")

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"straybit_{name}", what, labels, registry=self.registry)
