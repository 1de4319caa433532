"""A running cluster: what trials, scenarios and users hold in their hands, whatever backend runs it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

import msgspec

from straybit.backends import BackendError
from straybit.clients import MODES, S3Like
from straybit.control import Control, ControlError, View
from straybit.crew import Crew, HeldBack
from straybit.driver import LIVE, Driver
from straybit.observe import HostWatch, Observers
from straybit.observe.host import STALL
from straybit.oracle import Originated
from straybit.services import PROXY, Exit, Services
from straybit.views import disagreements
from straybit_faults.client import ProxyError, ProxyServer
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.topology import Service, Topology

if TYPE_CHECKING:
    from straybit.testing import Trials
    from straybit.trial import Trial
    from straybit_faults.flip import Flip

__all__ = ["Cluster", "Spec"]

WORKERS = 8
"""Control calls under way at a time; on few cores more only wait for each other."""


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What a cluster was started with."""

    topology: Topology
    defences: frozenset[str] = frozenset()
    rules: Rules = Rules()
    seed: int = 0
    ticks: bool = True
    keep: bool = False
    keys: tuple[str, str] = ("", "")


class Closeable(Protocol):
    """What is closed with the cluster."""

    def close(self) -> None:
        """Let go of what it holds."""


T = TypeVar("T")
C = TypeVar("C", bound=Closeable)


class Cluster:
    """A cluster with every link through `proxy`, and a control port for each service.

    `run` is the label of its containers, where it has any.
    `proxy` flips; `network` has the toxics of the network: real Toxiproxy where it stands in front, else `proxy`.
    `folder` holds `logs/<service>.ndjson`, and `logs/<service>.err` for what a process wrote to its standard streams.
    `serials` numbers its trials. Usable from several threads; close it, or use it as a context manager.
    """

    restart_s = 0.4
    """What the restart of one service may take here: for budgets of work that restarts many."""

    def __init__(
        self,
        spec: Spec,
        folder: Path,
        *,
        backend: str,
        services: Services,
        controls: Mapping[str, Control],
        proxy: ProxyServer,
        network: ProxyServer | None = None,
        run: str = "",
        endpoints: Mapping[str, str],
        observers: Observers,
        driver: Driver = LIVE,
    ) -> None:
        self.spec = spec
        self.topology = spec.topology
        self.folder = folder
        self.backend = backend
        self.run = run
        self.proxy = proxy
        self.network = network or proxy
        self.observers = observers
        self.driver = driver
        self.trials: Trials | None = None
        self.serials = itertools.count()
        self._services = services
        self._controls = dict(controls)
        self._endpoints = dict(endpoints)
        self._known: dict[str, Originated] = {}
        self._crew = Crew(WORKERS, "straybit-control")
        self._kept: dict[str, Closeable] = {}
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def trial(self, *flips: Flip, title: str = "") -> Trial:
        """A trial of these flips, to be used in a `with` block.

        `trials` makes it, which the pytest plugin sets for each test; alone a cluster uses the default budgets.
        Raises FlipIdError, naming what there is, for a flip that cannot be.
        """
        from straybit.testing import Trials  # noqa: PLC0415 - trials know clusters, not the other way round

        if self.trials is None:
            self.trials = Trials(self)
        return self.trials(*flips, title=title)

    @property
    def fronted(self) -> bool:
        """Real Toxiproxy stands before the proxy, so that what goes down is not seen to arrive at its caller."""
        return self.network is not self.proxy

    @property
    def defences(self) -> frozenset[str]:
        """Names of those that are on."""
        return self.spec.defences

    @property
    def logs(self) -> Path:
        """The folder of the services' logs."""
        return self.folder / "logs"

    @property
    def closed(self) -> bool:
        """It was closed; nothing of it runs."""
        return self._closed

    def control(self, name: str) -> Control:
        """The control port of a service. Raises ValueError, naming those there are."""
        try:
            return self._controls[name]
        except KeyError:
            self.topology.service(name)
            raise

    def endpoint(self, balancer: str) -> str:
        """Where clients reach a balancer: the listener of its client link. Raises ValueError."""
        if balancer not in self._endpoints:
            names = ", ".join(self._endpoints) or "none"
            raise ValueError(f"{balancer!r} is no balancer of this cluster; it has {names}")
        return self._endpoints[balancer]

    def s3(self, balancer: str, mode: str = "today-default") -> S3Like:
        """A new client of a balancer, as patient as the cluster's rules say. Raises ValueError."""
        return self.driver.s3(self.endpoint(balancer), MODES[mode], self.spec.rules.deadline_s, self.spec.keys)

    def watch_host(self) -> HostWatch:
        """A watch on the machine that runs all this, to be entered; it minds what this cluster's time-outs would."""
        return self.driver.watch_host(STALL * self.spec.rules.connect_timeout_s)

    def endpoints(self) -> dict[str, str]:
        """Every balancer in service, with its endpoint."""
        return {name: url for name, url in self._endpoints.items() if self.in_service(name)}

    def services(self) -> tuple[Service, ...]:
        """Those in service: neither ended nor paused."""
        return tuple(s for s in self.topology.services() if self.in_service(s.name))

    def in_service(self, name: str) -> bool:
        """The service has not ended and is not paused."""
        return self._services.running(name)

    def side_by_side(self, work: Callable[[str], T], names: Iterable[str]) -> dict[str, T]:
        """`work` for each name, several at a time; the first error is raised."""
        chosen = list(names)
        return dict(zip(chosen, self._crew.each(work, chosen), strict=True))

    def each(self, call: Callable[[Control], T], names: Iterable[str] | None = None) -> dict[str, T | ControlError]:
        """`call` for each named service (default: each in service), several at a time; errors are answers."""

        def one(name: str) -> T | ControlError:
            try:
                return call(self._controls[name])
            except ControlError as error:
                return error

        return self.side_by_side(one, [s.name for s in self.services()] if names is None else names)

    def views(self, names: Iterable[str] | None = None) -> dict[str, View | ControlError]:
        """The view of each named service (default: each in service), looked at side by side."""
        views = self.each(lambda control: control.view(), names)
        for view in views.values():
            if isinstance(view, View) and view.originated is not None:
                self._known[view.name] = view.originated
        return views

    def originated(self, *, fresh: bool = True) -> dict[str, Originated]:
        """What every member originated; of one that does not answer, what it last said."""
        if fresh:
            self.views(m.name for m in self.topology.members() if self.in_service(m.name))
        return {m.name: self._known[m.name] for m in self.topology.members() if m.name in self._known}

    def disagreements(self, names: Collection[str] | None = None, *, versions: bool = False) -> tuple[str, ...]:
        """A line for each node that is silent or not running, and for each value that its owner did not originate.

        `names` are the services to look at (default: those in service) and to expect (default: all).
        """
        views = self.views(names)
        expected = [m.name for m in self.topology.members() if names is None or m.name in names]
        known = self.originated(fresh=versions)
        originated = {name: known[name] for name in expected if name in known}
        lines: list[str] = []
        for name, view in views.items():
            if isinstance(view, ControlError):
                lines.append(str(view))
            elif view.state != "running":
                lines.append(f"{name} is {view.state}")
            else:
                lines += disagreements(view, originated, versions=versions)
                lines += [f"{name} has marked {peer} as failed" for peer in view.marked if versions]
        lines += [f"{name} has not yet said what it is" for name in expected if name not in originated]
        return tuple(lines)

    def doubts(self) -> tuple[str, ...]:
        """Why this cluster is not as good as a new one; empty when it is."""
        lines = [f"{s.name} is not in service" for s in self.topology.services() if not self.in_service(s.name)]
        try:
            for server in dict.fromkeys((self.proxy, self.network)):
                for name, proxy in server.proxies().items():
                    lines += [f"proxy {name} has the toxic {toxic.name}" for toxic in proxy.toxics]
                    lines += [] if proxy.enabled else [f"proxy {name} is off"]
        except ProxyError as error:
            return (*lines, str(error))
        return (*lines, *self.disagreements(versions=True))

    def prove_clean(self) -> bool:
        """No toxic, every service in service and running, every view equal to what was originated."""
        return not self.doubts()

    def kill(self, name: str) -> None:
        """End a service at once, as SIGKILL does; it is gone when this returns."""
        self._services.kill(self._named(name))

    def pause(self, name: str) -> None:
        """Freeze a service; connections to it stay open and nothing answers."""
        self._services.pause(self._named(name))

    def unpause(self, name: str) -> None:
        """Let a paused service go on."""
        self._services.unpause(self._named(name))

    def terminate(self, name: str) -> None:
        """Ask a service to end (SIGTERM), and kill it when it does not in time; it is gone when this returns."""
        self._services.terminate(self._named(name))

    def restart(self, name: str) -> None:
        """End a service, in whatever state it is, and start it again: same ports, same data, empty memory.

        Returns when its control port answers that it is running. Raises BackendError.
        """
        self._services.terminate(self._named(name))
        self._services.start(name)

    def pid(self, name: str) -> int:
        """The process id of a service, or of the proxy server, whose name is `proxy`."""
        return self._services.pid(name if name == PROXY else self._named(name))

    def exits(self) -> tuple[Exit, ...]:
        """The services that ended unasked, in order: crashes; the proxy server among them."""
        return self._services.exits()

    def keep(self, name: str, make: Callable[[], C]) -> C:
        """A thing made once, as a client is, and closed with this cluster."""
        with self._lock:
            if name not in self._kept:
                self._kept[name] = make()
            return self._kept[name]  # type: ignore[return-value]  # one name, one maker, by contract

    def close(self, *, keep: bool | None = None) -> None:
        """End every service, then remove its data (default: as it was started); safe to call twice.

        Ctrl-C is heard when that is done. A BackendError says in `left` what may be there still.
        """
        with HeldBack():
            with self._lock:
                if self._closed:
                    return
                self._closed = True
            try:
                self._take_down(self.spec.keep if keep is None else keep)
            except BackendError as error:
                error.left = error.left or (f"containers of the run {self.run}" if self.run else "processes")
                raise

    def _take_down(self, keep: bool) -> None:
        try:
            self._services.end()
        finally:
            self.observers.close()
            self._crew.close()
            for kept in (*self._kept.values(), *self._controls.values()):
                kept.close()
            self._services.clean(keep)

    def _named(self, name: str) -> str:
        return self.topology.service(name).name
