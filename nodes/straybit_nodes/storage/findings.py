"""What a storage node noticed, said to its log, its metrics and its suspicion."""

from __future__ import annotations

from straybit_nodes.logs import Log
from straybit_nodes.metrics import Metrics
from straybit_nodes.storage.legs import target_of
from straybit_nodes.storage.suspects import Suspects

__all__ = ["Findings"]


class Findings:
    """One line in the log and one count in the metrics for each finding of a defence; failed legs are suspected."""

    def __init__(self, log: Log, metrics: Metrics, suspects: Suspects) -> None:
        self._log = log
        self._metrics = metrics
        self._suspects = suspects

    def refused(self, defence: str, method: str, target: str, why: str, *, code: str = "") -> None:
        """`defence` refused a request, or damage found while answering one; `code` is the S3 error it became."""
        self._metrics.detections.labels(defence).inc()
        self._log.write("refused", defence=defence, method=method, target=target, code=code, why=why)

    def damage_at_rest(self, defence: str, bucket: str, key: str, why: str) -> None:
        """Stored bytes were not what was stored: `read-verify` or `scrub` found it."""
        self._metrics.quarantined.inc()
        self.refused(defence, "GET", target_of(bucket, key), why)

    def conflict(self, bucket: str, key: str, why: str) -> None:
        """Holders have other bytes of the same version."""
        self.refused("replica-compare", "GET", target_of(bucket, key), why)

    def mended(self, bucket: str, key: str) -> None:
        """A key was brought to holders that lacked it."""
        self._metrics.mended.inc()
        self._log.write("mended", target=target_of(bucket, key))

    def damaged_leg(self, method: str, target: str, why: str) -> None:
        """The reply of a replica did not have its checksum."""
        self.refused("content-checksum", method, target, why)

    def failed_leg(self, node: str, why: str) -> None:
        """A replica did not do its part."""
        self._suspects.failed(node)
        self._log.write("leg", peer=node, why=why)
