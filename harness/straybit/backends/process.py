"""Services as processes on loopback, forked from one warm parent: needs nothing but Python."""

from __future__ import annotations

import itertools
import secrets
import shutil
import threading
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from straybit.backends import BackendError
from straybit.backends._folders import cluster_folder, data_folder
from straybit.backends._messages import Exited
from straybit.backends._processes import Processes
from straybit.backends._readiness import await_agreement, await_answer, await_proxy, step_until_known
from straybit.backends._wiring import HOST, Wiring, configs, ports_needed, share_out
from straybit.backends.nursery import Nursery, NurseryError
from straybit.cluster import Cluster, Spec
from straybit.control import Control, ControlError
from straybit.driver import LIVE
from straybit.observe import Follower, Observation, Observers
from straybit.services import PROXY, Exit
from straybit_faults.client import ProxyError, ProxyServer
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.topology import Topology

__all__ = ["ProcessBackend"]

START_BUDGET_S = 30.0
"""For a whole cluster to come up; a loaded machine needs many times what an idle one does."""


class ProcessBackend:
    """Every cluster's services are children of one warm parent, which starts with the first cluster.

    Tolerates its own process's death, even by SIGKILL: the warm parent then ends every service.
    """

    name = "process"
    driver = LIVE

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._nursery: Nursery | None = None
        self._numbers = itertools.count(1)
        self._clusters: dict[str, tuple[Cluster, Processes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def warm(self) -> float:
        """Start the warm parent unless it runs; answers the seconds its imports took. Raises BackendError."""
        return self._warm().import_s

    def start(
        self,
        topology: Topology,
        *,
        defences: Iterable[str] = (),
        rules: Rules | None = None,
        seed: int = 0,
        ticks: bool = True,
        folder: Path | None = None,
        keep: bool = False,
        keys: tuple[str, str] = ("", ""),
        budget_s: float = START_BUDGET_S,
    ) -> Cluster:
        """As Backend.start; gives up after `budget_s`."""
        spec = Spec(
            topology=topology,
            defences=frozenset(defences),
            rules=rules or Rules(),
            seed=seed,
            ticks=ticks,
            keep=keep,
            keys=keys,
        )
        nursery = self._warm()
        cluster, processes, wiring = self._build(nursery, spec, folder)
        try:
            _bring_up(cluster, processes, wiring, budget_s)
        except (ControlError, ProxyError, OSError) as error:
            cluster.close()
            raise BackendError(f"the cluster did not start: {error}") from error
        except BaseException:
            cluster.close()
            raise
        return cluster

    def close(self) -> None:
        """End every cluster of this backend, then the warm parent; safe to call twice."""
        with ExitStack() as stack:  # each is closed, whatever closing another raised
            stack.callback(self._end_nursery)
            for cluster, _ in list(self._clusters.values()):
                stack.callback(cluster.close)

    def _end_nursery(self) -> None:
        with self._lock:
            if self._nursery is not None:
                self._nursery.close()
                self._nursery = None

    def _warm(self) -> Nursery:
        with self._lock:
            if self._nursery is not None and not self._nursery.alive:
                self._nursery.close()
                self._nursery = None
            if self._nursery is None:
                try:
                    self._nursery = Nursery(["straybit.backends._programs"], on_exit=self._exited)
                except NurseryError as error:
                    raise BackendError(f"the warm parent did not start: {error}") from None
            return self._nursery

    def _build(self, nursery: Nursery, spec: Spec, folder: Path | None) -> tuple[Cluster, Processes, Wiring]:
        """Everything that needs no running service. What was taken is let go of when a part of it fails."""
        with ExitStack() as taken:
            home = cluster_folder(folder)
            data = data_folder(home, keep=spec.keep)
            temporary = [data] if folder is not None else [home, data]
            for made in temporary:
                taken.callback(shutil.rmtree, made, ignore_errors=True)
            ports = nursery.reserve(ports_needed(spec.topology))
            taken.callback(_release, nursery, ports)
            wiring = share_out(spec.topology, ports)
            token = secrets.token_hex(16)
            controls = {name: Control(name, (HOST, p.control), token) for name, p in wiring.services.items()}
            for control in controls.values():
                taken.callback(control.close)
            observers = Observers(Follower({name: home / "logs" / f"{name}.ndjson" for name in controls}))
            label = str(next(self._numbers))
            processes = Processes(
                nursery,
                label,
                configs=configs(spec, wiring, token=token, data=data, logs=home / "logs"),
                controls=controls,
                logs=home / "logs",
                temporary=temporary,
                keep=spec.keep,
                ports=ports,
                on_exit=lambda exit: observers.add(_as_observation(exit)),
            )
            cluster = _cluster(spec, home, wiring, processes, controls, observers)
            taken.pop_all()
        self._clusters = {key: pair for key, pair in self._clusters.items() if not pair[0].closed}
        self._clusters[label] = cluster, processes
        return cluster, processes, wiring

    def _exited(self, exit: Exited) -> None:
        label, _, name = exit.label.partition("/")
        if label in self._clusters:
            self._clusters[label][1].exited(name, exit)


def _release(nursery: Nursery, ports: list[int]) -> None:
    with suppress(NurseryError):  # it has ended, and let go of them
        nursery.release(ports)


def _cluster(
    spec: Spec,
    home: Path,
    wiring: Wiring,
    processes: Processes,
    controls: dict[str, Control],
    observers: Observers,
) -> Cluster:
    return Cluster(
        spec,
        home,
        backend=ProcessBackend.name,
        services=processes,
        controls=controls,
        proxy=ProxyServer(HOST, wiring.api),
        endpoints=wiring.endpoints(),
        observers=observers,
    )


def _bring_up(cluster: Cluster, processes: Processes, wiring: Wiring, budget_s: float) -> None:
    names = [service.name for service in cluster.topology.services()]
    processes.fork_proxy(HOST, wiring.api)
    for name in names:
        processes.fork(name)
    await_proxy(cluster.proxy, PROXY, processes, budget_s=budget_s)
    cluster.proxy.populate(wiring.proxies())
    cluster.side_by_side(
        lambda name: await_answer(cluster.control(name), processes, state="held", budget_s=budget_s), names
    )
    cluster.observers.start()
    cluster.side_by_side(lambda name: cluster.control(name).resume(), names)
    if not cluster.spec.ticks:
        step_until_known(cluster)
    await_agreement(cluster, budget_s=budget_s)


def _as_observation(exit: Exit) -> Observation:
    return Observation(exit.t, exit.service, "exit", {"status": exit.status})
