"""Services as pure cores in one process on virtual time: thousands of nodes, and two runs of a seed are the same."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from straybit.backends import DISAGREED, BackendError
from straybit.cluster import Cluster, Spec
from straybit.sim.cluster import SimCluster
from straybit.sim.driver import SimDriver
from straybit.sim.net import SimNet
from straybit.sim.requests import Requests
from straybit.sim.weather import FAIR, Weather
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.topology import Topology

__all__ = ["SimBackend"]

AGREE_S = 30.0
"""Virtual seconds for all views to list all members."""


class SimBackend:
    """One simulated cluster at a time; virtual time goes on from one to the next."""

    name = "sim"

    def __init__(self, weather: Weather = FAIR) -> None:
        self.driver = SimDriver()
        self._weather = weather
        self._cluster: SimCluster | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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
    ) -> Cluster:
        """As Backend.start. Raises BackendError also while another cluster of this backend runs."""
        if self._cluster is not None and not self._cluster.closed:
            raise BackendError("a simulated cluster runs already, and there is one virtual time; close it first")
        spec = Spec(
            topology=topology,
            defences=frozenset(defences),
            rules=rules or Rules(),
            seed=seed,
            ticks=ticks,
            keep=keep,
            keys=keys,
        )
        cluster = self._cluster = self._build(spec, folder)
        try:
            _bring_up(cluster)
        except BaseException:
            cluster.close()
            raise
        return cluster

    def close(self) -> None:
        """End the cluster, if one runs; safe to call twice."""
        if self._cluster is not None:
            self._cluster.close()

    def _build(self, spec: Spec, folder: Path | None) -> SimCluster:
        try:
            home = Path(tempfile.mkdtemp(prefix="straybit-")) if folder is None else folder.resolve()
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BackendError(f"the cluster's folder cannot be made: {error}; name another one") from None
        net = SimNet(
            spec.topology,
            rules=spec.rules,
            defences=spec.defences,
            seed=spec.seed,
            weather=self._weather,
            ticks=spec.ticks,
            start=self.driver.now(),
        )
        return SimCluster(spec, home, Requests(net), self.driver, home if folder is None else None)


def _bring_up(cluster: SimCluster) -> None:
    names = [service.name for service in cluster.topology.services()]
    for name in names:
        cluster.control(name).resume()
    if not cluster.spec.ticks:
        first, *others = (member.name for member in cluster.topology.members())
        for name in (*others, *others):
            cluster.control(name).exchange(first)
    missing: list[str] = []

    def agreed() -> bool:
        missing[:] = cluster.disagreements()
        return not missing

    if not cluster.driver.wait_until(agreed, AGREE_S):
        raise BackendError(f"{DISAGREED} within {AGREE_S:g} s: {'; '.join(missing[:3])}")
