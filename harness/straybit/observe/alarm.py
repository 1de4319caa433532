"""Alarms of a run: what gossip nodes raised by themselves, and the monitor that compares the balancers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
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
        self._lock = threading.Lock()
        self._looking = ExitStack()
        self._on = NAME in cluster.defences
        self.alarms: list[Alarm] = []
        self.errors: list[str] = []

    def __enter__(self) -> Self:
        if self._on:
            self._looking.enter_context(self._cluster.driver.often(self.look, EVERY_S))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._looking.close()

    def look(self) -> None:
        """Compare the balancers now."""
        if not self._on:
            return
        try:
            self._name(culprits(self._counts()))
        except Exception as error:  # it would end the watch unseen
            text = f"{type(error).__name__}: {error}"
            with self._lock:
                if text not in self.errors and len(self.errors) < ERRORS:
                    self.errors.append(text)

    def _name(self, found: Iterable[str]) -> None:
        """Raise the alarm about those that it was not raised about; several may look at a time."""
        with self._lock:
            named = {alarm.culprit for alarm in self.alarms}
            at_s = round(self._clock(), 3)
            self.alarms += [Alarm(name=NAME, culprit=name, at_s=at_s) for name in found if name not in named]

    def _counts(self) -> dict[str, tuple[int, int]]:
        """Of each balancer that answers, both counts from one scrape: of two, the second may know of more."""
        found = self._cluster.each(_pair, self._balancers)
        return {name: pair for name, pair in found.items() if not isinstance(pair, ControlError)}


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
