"""Steady state: five probes in a row, 100 ms apart, find that requests succeed and that every view is true."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Collection

import msgspec
from tenacity import RetryCallState, Retrying, retry_if_result

from straybit.clients import Reply, S3Like
from straybit.cluster import Cluster
from straybit.ledger import payload
from straybit.waiting import StopAt, Timepiece

__all__ = ["NotSteadyError", "Steady", "probe_steady", "wait_steady"]

PROBES = 5
EVERY_S = 0.1
BUCKET = "straybit-steady"
BODY_BYTES = 64


class Steady(msgspec.Struct, frozen=True):
    """The row of good probes: its first one began `since`, its last ended `at`, on the monotonic clock."""

    since: float
    at: float
    probes: int


class NotSteadyError(RuntimeError):
    """The cluster did not become steady within its budget; `missing` are lines that say what was amiss at last."""

    def __init__(self, budget_s: float, missing: tuple[str, ...]) -> None:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        super().__init__(f"not steady within {budget_s:g} s: {'; '.join(missing[:3])}{more}")
        self.missing = missing


def wait_steady(
    cluster: Cluster,
    *,
    budget_s: float = 5.0,
    probes: int = PROBES,
    every_s: float = EVERY_S,
    names: Collection[str] | None = None,
    probe: Callable[[], tuple[str, ...]] | None = None,
) -> Steady:
    """Probe until `probes` in a row found nothing amiss; their beginnings are `every_s` apart or more.

    `names` limits the services that are looked at and expected, as in a restore that is under way.
    `probe` replaces the reference cluster's; it answers with a line for everything that is missing.
    Raises NotSteadyError after `budget_s`.
    """
    clock = cluster.driver
    row = _Row(probe or (lambda: probe_steady(cluster, names)), probes, every_s, clock)

    def give_up(_: RetryCallState) -> Steady:
        raise NotSteadyError(budget_s, row.missing)

    return Retrying(
        retry=retry_if_result(lambda steady: steady is None),
        wait=row.until_next,
        stop=StopAt(clock, clock.now() + budget_s),
        sleep=clock.pause,
        retry_error_callback=give_up,
    )(row.probe)  # type: ignore[return-value]  # None is retried


def probe_steady(cluster: Cluster, names: Collection[str] | None = None) -> tuple[str, ...]:
    """One probe: a line for everything that is missing; none when all is well.

    A put and a get through each balancer in service; each view in service against what each member originated.
    """
    balancers = [name for name in cluster.endpoints() if names is None or name in names]
    failed = cluster.side_by_side(lambda name: _put_and_get(cluster, name), balancers)
    return (*(line for line in failed.values() if line), *cluster.disagreements(names))


class _Row:
    """Counts good probes in a row and keeps their spacing."""

    def __init__(self, probe: Callable[[], tuple[str, ...]], wanted: int, every_s: float, clock: Timepiece) -> None:
        self._probe = probe
        self._clock = clock
        self._wanted = wanted
        self._every_s = every_s
        self._good: list[float] = []
        self._began = 0.0
        self.missing: tuple[str, ...] = ()

    def probe(self) -> Steady | None:
        self._began = self._clock.now()
        missing = self._probe()
        if missing:
            self.missing = missing
            self._good.clear()
            return None
        self._good.append(self._began)
        if len(self._good) < self._wanted:
            return None
        return Steady(self._good[0], self._clock.now(), len(self._good))

    def until_next(self, _: RetryCallState) -> float:
        return max(0.0, self._began + self._every_s - self._clock.now())


class _Prober:
    """Puts a new value through one balancer and gets it back."""

    def __init__(self, balancer: str, s3: S3Like) -> None:
        self._balancer = balancer
        self._s3 = s3
        self._numbers = itertools.count()
        self._bucket = False
        self._lock = threading.Lock()

    def probe(self) -> str:
        """What went wrong, empty when nothing did."""
        with self._lock:
            body = payload(next(self._numbers), self._balancer, BODY_BYTES)
            if not self._bucket:
                created = self._s3.create_bucket(BUCKET)
                if not created.ok:
                    return self._line("create bucket", created)
                self._bucket = True
            put = self._s3.put(BUCKET, self._balancer, body)
            if not put.ok:
                return self._line("put", put)
            got = self._s3.get(BUCKET, self._balancer)
            if not got.ok:
                return self._line("get", got)
            return "" if got.body == body else f"a get through {self._balancer} gave another body than was put"

    def close(self) -> None:
        self._s3.close()

    def _line(self, what: str, reply: Reply) -> str:
        return f"{what} through {self._balancer} failed: {reply.status or 'no reply'} {reply.code or reply.noticed_by}"


def _put_and_get(cluster: Cluster, balancer: str) -> str:
    prober = cluster.keep(
        f"steady:{balancer}",
        lambda: _Prober(balancer, cluster.s3(balancer)),
    )
    return prober.probe()
