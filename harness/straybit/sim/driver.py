"""How a run waits, does several things at a time and talks to its cluster, on virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Self, TypeVar

from straybit.clients import S3, Mode
from straybit.load import Load, width
from straybit.observe.host import HostWatch
from straybit.sim.requests import Requests
from straybit.sim.tasks import Tasks
from straybit.waiting import wait_until
from straybit_nodes.topology import GENERATION

__all__ = ["SCHEME", "SimDriver", "SimLoad"]

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

    @contextmanager
    def often(self, look: Callable[[], None], every_s: float) -> Iterator[None]:
        """See Driver: a task of its own, which ends when it next wakes."""
        watch = _Watch(self._there.tasks, look, every_s)
        try:
            yield
        finally:
            watch.end()

    def s3(self, endpoint: str, mode: Mode, deadline_s: float, keys: tuple[str, str]) -> S3:
        """See Driver; the net's own rules say how long it waits, and nobody looks at signatures here."""
        from straybit.sim.client import Transport  # noqa: PLC0415 - imports botocore, which only a workload should pay

        there = self._there
        balancer = endpoint.removeprefix(SCHEME)
        answer = Transport(there.tasks, there.requests, balancer)
        return S3(f"http://{balancer}", mode, deadline_s=deadline_s, keys=keys, answer=answer)

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


class _Watch:
    """A task that looks every so often, until it is told to end."""

    def __init__(self, tasks: Tasks, look: Callable[[], None], every_s: float) -> None:
        self._tasks = tasks
        self._look = look
        self._every_s = every_s
        self._looking = self._ended = False
        self._idle: Callable[[None], None] = lambda _: None
        tasks.spawn(self._run)

    def end(self) -> None:
        """Look no more; a look under way comes to its end first."""
        self._ended = True
        if self._looking:

            def begin(idle: Callable[[None], None]) -> None:
                self._idle = idle

            self._tasks.wait_for(begin)

    def _run(self) -> None:
        self._tasks.pause(self._every_s)
        while not self._ended:
            self._looking = True
            self._look()
            self._looking = False
            self._idle(None)
            self._tasks.pause(self._every_s)


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
