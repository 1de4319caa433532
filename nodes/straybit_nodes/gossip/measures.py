"""What a gossip member counts, as metrics."""

from __future__ import annotations

import time
from collections import Counter

from straybit_nodes.gossip.core import Core
from straybit_nodes.gossip.layout import BODIES
from straybit_nodes.metrics import Metrics

__all__ = ["Measures"]

_MEASURE_EVERY_S = 0.2


class Measures:
    """What a core counts, as metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._exchanges = {result: metrics.exchanges.labels(result) for result in ("ok", "failed")}
        self._seen = dict.fromkeys(self._exchanges, 0)
        self._spent: dict[str, float] = {}
        self._talked: Counter[tuple[str, str]] = Counter()
        self._next = 0.0
        kinds = (*BODIES, "")
        self._received = {kind: metrics.frames.labels("in", kind) for kind in kinds}
        self._sent = {kind: metrics.frames.labels("out", kind) for kind in kinds}

    def received(self, kind: str) -> None:
        """A frame of that kind came; "" where it could not be told."""
        self._received[kind].inc()

    def sent(self, kind: str) -> None:
        """A frame of that kind went."""
        self._sent[kind].inc()

    def noticed(self, event: str, fields: dict[str, object]) -> None:
        """A line was logged; some of them are detections."""
        if event in {"refused", "alarm"}:
            self._metrics.detections.labels(str(fields["defence"])).inc()
        elif event == "parse-error":
            self._metrics.detections.labels("parse").inc()

    def measure(self, core: Core) -> None:
        """Bring exchanges and talk about failed members level, and slot time every `_MEASURE_EVERY_S`."""
        for result, count in core.exchanges.items():
            if count != self._seen[result]:
                self._exchanges[result].inc(count - self._seen[result])
                self._seen[result] = count
        if core.suspicion.talk != self._talked:
            for key, count in core.suspicion.talk.items():
                self._metrics.failed_talk.labels(*key).inc(count - self._talked[key])
            self._talked = core.suspicion.talk.copy()
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _MEASURE_EVERY_S
            for work, seconds in core.places.spent(now).items():
                self._metrics.slot_seconds.labels(work.value).inc(max(seconds - self._spent.get(work, 0.0), 0.0))
                self._spent[work] = seconds
