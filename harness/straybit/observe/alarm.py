"""Alarms of a run: what gossip nodes raised by themselves, and the monitor that compares the balancers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from straybit.cluster import Cluster
from straybit.control import Control, ControlError
from straybit.records import Alarm
from straybit_nodes.balancer.alarm import culprits
from straybit_nodes.topology import Kind

__all__ = ["BadDigestMonitor", "gossip_alarms"]

EVERY_S = 0.25
NAME = "bad-digest-alarm"
COUNTS = ("straybit_checksum_requests_total", "straybit_checksum_rejected_total")
ERRORS = 10
"""Different errors that are kept; a monitor that fails fails every time."""


class BadDigestMonitor:
    """Reads every balancer's counts a few times a second and raises `bad-digest-alarm` once for each culprit.

    Does nothing where the defence is off. `clock` gives the run's seconds.
    It never raises: `errors` says, once for each, what kept it from looking, and whoever uses it puts that on record.
    """

    def __init__(self, cluster: Cluster, *, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._clock = clock
        self._balancers = [s.name for s in cluster.topology.services() if s.kind is Kind.BALANCER]
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="straybit-alarm", daemon=True)
        self._on = NAME in cluster.defences
        self.alarms: list[Alarm] = []
        self.errors: list[str] = []

    def __enter__(self) -> Self:
        if self._on:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stop.set()
        if self._on:
            self._thread.join()

    def look(self) -> None:
        """Compare the balancers now."""
        if not self._on:
            return
        with self._lock:
            try:
                self._compare()
            except Exception as error:  # it would end the thread unseen
                text = f"{type(error).__name__}: {error}"
                if text not in self.errors and len(self.errors) < ERRORS:
                    self.errors.append(text)

    def _compare(self) -> None:
        named = {alarm.culprit for alarm in self.alarms}
        for name in culprits(self._counts()):
            if name not in named:
                self.alarms.append(Alarm(name=NAME, culprit=name, at_s=round(self._clock(), 3)))

    def _counts(self) -> dict[str, tuple[int, int]]:
        """Of each balancer that answers, both counts from one scrape: of two, the second may know of more."""
        found = self._cluster.each(_pair, self._balancers)
        return {name: pair for name, pair in found.items() if not isinstance(pair, ControlError)}

    def _watch(self) -> None:
        while not self._stop.wait(EVERY_S):
            self.look()


def _pair(control: Control) -> tuple[int, int]:
    samples = control.metrics()
    requests, rejected = (int(sum(s.value for s in samples if s.name == name)) for name in COUNTS)
    return requests, rejected


def gossip_alarms(cluster: Cluster, *, start: float) -> tuple[Alarm, ...]:
    """Alarms that members raised, with times since `start`."""
    return tuple(
        Alarm(name=str(o.fields["defence"]), culprit=str(o.fields["culprit"]), at_s=round(o.t - start, 3))
        for o in cluster.observers.seen("alarm")
    )
