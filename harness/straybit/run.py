"""What a scenario sees of the world: a cluster, a clock, clients, faults, recovery, and a journal to write into.

Clients, waiting and concurrency are its cluster's driver's: boto3, tenacity and threads, or virtual time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal, TypeVar

from straybit import records
from straybit.clients import Reply
from straybit.cluster import Cluster
from straybit.journal import Journal
from straybit.ledger import Ledger
from straybit.ledger_client import BUCKET, LedgerClient, Stored
from straybit.load import Load, Sample
from straybit.observe import HostWatch
from straybit.restore import RestoreError, Stage, restore
from straybit.trial import Trial
from straybit_faults.flip import Flip
from straybit_nodes.topology import Kind

__all__ = ["BIN_S", "Recovery", "Run", "Stored"]

T = TypeVar("T")

Recovery = Literal["none", "rolling", "staged"]
BIN_S = 0.5
"""Width of a bin of the requests' success over time."""
WORKERS = 6
"""Clients that scan at the same time."""
SCAN_S = 5.0
"""For one key to be read, or a bucket to be made; an error is neither right nor lost."""


class Run:
    """One run of one scenario on one cluster.

    `seed` decides everything that is drawn. `pace` is how many times as long as usual everything takes,
    in slow motion: a scenario waits so much longer, and loads so much less.
    `now()` and every `_s` count seconds since the run's start.
    """

    def __init__(
        self,
        cluster: Cluster,
        journal: Journal,
        *,
        seed: int,
        recovery: Recovery = "staged",
        budgets: dict[str, float],
        pace: float = 1.0,
        replay: str = "",
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.cluster = cluster
        self.topology = cluster.topology
        self.defences = cluster.defences
        self.seed = seed
        self.recovery = recovery
        self.budgets = budgets
        self.replay = replay
        self.pace = pace
        self.ledger = Ledger(seed)
        self._journal = journal
        self._progress = progress
        self._clients: dict[tuple[str, str], LedgerClient] = {}
        self._homes: dict[str, str] = {}
        self._lock = threading.Lock()

    # -- time ----------------------------------------------------------------------------------------------

    def now(self) -> float:
        """Seconds since the run's start, on the monotonic clock."""
        return self._journal.now()

    def watch_host(self) -> HostWatch:
        """A watch on the machine that runs all this, to be entered: what it says may spoil every verdict."""
        return self.cluster.watch_host()

    @property
    def started(self) -> float:
        """The run's start, on the monotonic clock."""
        return self._journal.start

    def wait_until(self, done: Callable[[], bool], within_s: float, *, every_s: float = 0.05) -> bool:
        """Whether `done` came true in time."""
        return self.cluster.driver.wait_until(done, within_s, every_s=every_s)

    def together(self, *calls: Callable[[], T], at_once: int | None = None) -> tuple[T, ...]:
        """Make all calls at the same time, or `at_once` of them; their answers in order. The first error is raised."""
        return self.cluster.driver.together(calls, at_once=at_once)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A stretch of the run that the report shows by name."""
        began = self.now()
        self._progress(name)
        try:
            yield
        finally:
            self.record(records.Phase(name=name, at_s=round(began, 3), until_s=round(self.now(), 3)))

    # -- the journal ---------------------------------------------------------------------------------------

    def record(self, record: records.Record) -> None:
        """Write one record into the journal."""
        self._journal.write(record)

    def expect(self, text: str, met: bool, detail: str = "") -> bool:
        """Put on record whether an expectation of the scenario came true."""
        self.record(records.Expectation(text=text, met=met, detail=detail))
        return met

    # -- clients -------------------------------------------------------------------------------------------

    def balancers(self, region: str | None = None) -> list[str]:
        """Names of the balancers of a region, or of all."""
        services = self.topology.services()
        return [s.name for s in services if s.kind is Kind.BALANCER and region in (None, s.region)]

    def regions(self) -> tuple[str, ...]:
        """Names of the regions, small one first."""
        return tuple(region.name for region in self.topology.regions)

    def client(self, balancer: str, mode: str = "today-default") -> LedgerClient:
        """A boto3 client in that mode, which talks to that balancer and keeps the ledger; made once and shared."""
        with self._lock:
            if (balancer, mode) not in self._clients:
                s3 = self.cluster.s3(balancer, mode)
                self._clients[balancer, mode] = LedgerClient(s3, self.ledger)
            return self._clients[balancer, mode]

    def create_buckets(self) -> None:
        """The bucket of this run, in every region. Raises RuntimeError when a region does not take it in `SCAN_S`."""
        for region in self.regions():
            client = self.client(self.balancers(region)[0])
            if not self.wait_until(lambda client=client: client.create_bucket().ok, SCAN_S):  # type: ignore[misc]
                raise RuntimeError(f"region {region} did not take the bucket {BUCKET} within {SCAN_S:g} s")

    def put(self, key: str, body: bytes, *, balancer: str, mode: str = "today-default") -> Reply:
        """Write an object and keep the ledger: acknowledged, refused, or unknown."""
        self._homes[key] = self.topology.service(balancer).region
        return self.client(balancer, mode).put(key, body)

    def home(self, key: str) -> str:
        """The region that `key` was last written in. Raises KeyError for a key that nobody wrote."""
        return self._homes[key]

    def get(self, key: str, *, balancer: str, mode: str = "today-default") -> Stored:
        """Read an object and hold it against the ledger: right, wrong, lost or error."""
        return self.client(balancer, mode).get(key)

    def scan(self, keys: Iterable[tuple[str, str]]) -> tuple[Stored, ...]:
        """Read each (key, balancer) and hold it against the ledger; an error is tried again for `SCAN_S` seconds."""

        def one(key: str, balancer: str) -> Stored:
            found: list[Stored] = []

            def read() -> bool:
                found[:] = [self.get(key, balancer=balancer)]
                return found[0].verdict != "error"

            self.wait_until(read, SCAN_S, every_s=0.1)
            return found[0]

        return self.together(*(partial(one, *pair) for pair in keys), at_once=WORKERS)

    def load(self, request: Callable[[str, int], bool], *, per_storage: float) -> Load:
        """Open-loop requests in every region, `per_storage` a second for each of its storage nodes."""
        sizes = {r.name: r.servers for r in self.topology.regions}
        rates = {region: per_storage * servers for region, servers in sizes.items()}
        deadline_s = self.cluster.spec.rules.deadline_s
        return self.cluster.driver.load(request, rates=rates, deadline_s=deadline_s, clock=self.now)

    def record_samples(self, samples: Iterable[Sample]) -> None:
        """Put success by region and bin on record."""
        bins: dict[tuple[str, int], list[bool]] = {}
        for sample in samples:
            bins.setdefault((sample.region, int(sample.at_s / BIN_S)), []).append(sample.ok)
        for (region, number), oks in sorted(bins.items()):
            self.record(records.Sample(region=region, at_s=round(number * BIN_S, 3), ok=sum(oks), total=len(oks)))

    # -- faults and recovery -------------------------------------------------------------------------------

    def trial(self, id: str, *flips: Flip, title: str = "", drive: bool = False) -> Trial:
        """A trial on this run's cluster and clock; its record is the scenario's to write."""
        return Trial(
            self.cluster,
            *flips,
            id=id,
            budgets=self.budgets,
            start=self.started,
            drive=drive,
            title=title,
            replay=self.replay,
        )

    def restore(self, recovery: Recovery, *, budget_s: float) -> tuple[bool, float]:
        """Recover in that way; whether it came to its end, and when its first stage began. Stages go on record."""
        began = self.now()

        def on_stage(stage: Stage) -> None:
            self._progress(stage.name)
            self.record(
                records.RestoreStage(
                    name=stage.name,
                    at_s=round(stage.began - self.started, 3),
                    until_s=round(stage.ended - self.started, 3),
                    ok=stage.ok,
                    note=stage.note,
                )
            )

        try:
            restore(self.cluster, recovery, budget_s=budget_s, on_stage=on_stage)
        except RestoreError as error:
            self.record(records.LogLine(at_s=round(self.now(), 3), service="restore", what=str(error)))
            return False, began
        return True, began

    def close(self) -> None:
        """Close every client."""
        for client in self._clients.values():
            client.close()
