"""How a run waits, does several things at a time and talks to its cluster, on virtual time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Self, TypeVar

from straybit.clients import Mode, Reply
from straybit.load import Load, width
from straybit.observe.host import HostWatch
from straybit.sim.requests import Answer, Requests
from straybit.sim.tasks import Tasks
from straybit.waiting import wait_until
from straybit_nodes.topology import GENERATION

__all__ = ["SCHEME", "SimDriver", "SimLoad", "SimS3"]

T = TypeVar("T")

SCHEME = "sim://"
"""Before a balancer's name, its endpoint."""


class World:
    """What a driver drives."""

    def __init__(self, tasks: Tasks, requests: Requests) -> None:
        self.tasks = tasks
        self.requests = requests


class SimDriver:
    """Virtual time, which goes on from one cluster of a backend to the next."""

    def __init__(self) -> None:
        self._now = 0.0
        self._world: World | None = None

    def enter(self, tasks: Tasks, requests: Requests) -> None:
        """From now on time is that of these requests' net."""
        self._world = World(tasks, requests)

    def leave(self) -> None:
        """The net is gone; its time stays."""
        self._now = self.now()
        self._world = None

    @property
    def _there(self) -> World:
        if self._world is None:
            raise RuntimeError("no simulated cluster is running; start one first")
        return self._world

    def now(self) -> float:
        """See Driver."""
        return self._now if self._world is None else self._world.requests.net.now

    def watch_host(self, stall_s: float) -> HostWatch:
        """See Driver; a machine that stands still holds up virtual time as well, and proves nothing wrong."""
        return HostWatch(stall_s, sleep=lambda _: True)

    def date(self) -> datetime:
        """The day on which every generation begins, 2008-07-20, and virtual time on top of it."""
        return datetime.fromtimestamp(GENERATION, UTC) + timedelta(seconds=self.now())

    def pause(self, seconds: float) -> None:
        """See Driver."""
        self._there.tasks.pause(seconds)

    def wait_until(self, done: Callable[[], bool], within_s: float, *, every_s: float = 0.05) -> bool:
        """See Driver."""
        return wait_until(done, within_s, every_s=every_s, clock=self)

    def together(self, calls: Sequence[Callable[[], T]], *, at_once: int | None = None) -> tuple[T, ...]:
        """See Driver."""
        return self._there.tasks.together(calls, at_once=at_once)

    def s3(self, endpoint: str, mode: Mode, deadline_s: float, keys: tuple[str, str]) -> SimS3:
        """See Driver; the net's own rules say how long it waits, and nothing here is signed."""
        return SimS3(self._there, endpoint.removeprefix(SCHEME))

    def load(
        self,
        request: Callable[[str, int], bool],
        *,
        rates: Mapping[str, float],
        deadline_s: float,
        clock: Callable[[], float],
    ) -> SimLoad:
        """See Driver."""
        return SimLoad(self._there, request, rates=rates, deadline_s=deadline_s, clock=clock)


class SimS3:
    """A client of one balancer; every mode is alike here, since nothing on its links can be damaged."""

    def __init__(self, world: World, balancer: str) -> None:
        self._world = world
        self._balancer = balancer

    def create_bucket(self, bucket: str) -> Reply:
        """See S3Like."""
        return self._call(f"{bucket}/", b"")

    def put(self, bucket: str, key: str, body: bytes) -> Reply:
        """See S3Like."""
        return self._call(f"{bucket}/{key}", body)

    def get(self, bucket: str, key: str) -> Reply:
        """See S3Like."""
        return self._call(f"{bucket}/{key}", None)

    def close(self) -> None:
        """See S3Like."""

    def _call(self, key: str, body: bytes | None) -> Reply:
        def begin(done: Callable[[Answer], None]) -> None:
            self._world.requests.send(self._balancer, key, body, done)

        answer = self._world.tasks.wait_for(begin)
        match answer.status:
            case 200:
                etag = hashlib.md5(answer.body if body is None else body, usedforsecurity=False).hexdigest()
                return Reply(True, 200, etag=etag, body=answer.body)
            case 404:
                return Reply(False, 404, "NoSuchKey")
            case 0:
                return Reply(False, 0, "ReadTimeoutError")
        return Reply(False, answer.status, "ServiceUnavailable")


class SimLoad(Load):
    """Requests from tasks."""

    def __init__(
        self,
        world: World,
        request: Callable[[str, int], bool],
        *,
        rates: Mapping[str, float],
        deadline_s: float,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(rates, clock)
        self._world = world
        self._request = request
        self._widths = {region: width(rate, deadline_s) for region, rate in rates.items()}
        self._busy = dict.fromkeys(rates, 0)
        self._stopped = False
        self._idle: Callable[[None], None] = lambda _: None

    def __enter__(self) -> Self:
        for region in self._rates:
            self._pace(region, 0)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        if any(self._busy.values()):

            def begin(idle: Callable[[None], None]) -> None:
                self._idle = idle

            self._world.tasks.wait_for(begin)

    def _pace(self, region: str, number: int) -> None:
        if self._stopped:
            return
        self._world.requests.net.after(1 / self._rates[region], lambda: self._pace(region, number + 1))
        if self._busy[region] >= self._widths[region]:
            self._given_up(region)
            return
        self._busy[region] += 1
        self._began(region, number)
        self._world.tasks.spawn(lambda: self._perform(region, number))

    def _perform(self, region: str, number: int) -> None:
        ok = False
        try:
            ok = self._request(region, number)
        except Exception:
            ok = False  # as with threads: a request that raises has not succeeded, and others go on
        finally:
            self._busy[region] -= 1
            self._ended(region, number, ok)
            if self._stopped and not any(self._busy.values()):
                self._idle(None)
