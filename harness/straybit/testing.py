"""What stands behind the plugin's fixtures: clusters that are kept between tests, and the trials of one test."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import msgspec

from straybit.again import Setting, flips_again
from straybit.backends import Backend
from straybit.backends.choose import open_backend
from straybit.cluster import Cluster
from straybit.traffic import Traffic
from straybit.trial import Trial
from straybit_faults.flip import Flip
from straybit_nodes.defences import parse_defences
from straybit_nodes.topology import Topology

__all__ = ["Clusters", "Trials"]


class _Wanted(msgspec.Struct, frozen=True):
    topology: Topology
    backend: str
    defences: str
    seed: int


class Clusters:
    """Backends by name, each with its warm parent, and the one cluster that is kept."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._backends: dict[str, Backend] = {}
        self._kept: tuple[_Wanted, Cluster] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._drop()
        finally:
            self._stack.__exit__(kind, error, trace)

    def get(self, topology: Topology, backend: str, defences: str, seed: int) -> Cluster:
        """The kept cluster when it is of that kind and proved clean, else one started afresh.

        Raises BackendError, and ValueError for an unknown defence.
        """
        wanted = _Wanted(topology, backend, defences, seed)
        if self._kept is not None and self._kept[0] == wanted and self._kept[1].prove_clean():
            return self._kept[1]
        self._drop()
        names = parse_defences(defences)
        if backend not in self._backends:
            self._backends[backend] = self._stack.enter_context(open_backend(backend))
        cluster = self._backends[backend].start(topology, defences=names, seed=seed)
        self._kept = (wanted, cluster)
        return cluster

    def trials(
        self,
        *,
        id: str,
        budgets: dict[str, float],
        traffic: Traffic | None,
        steady: Callable[[Cluster], Iterable[str]] | None,
        on_trial: Callable[[str], None],
    ) -> Trials:
        """What `cluster.trial` makes trials with, for one test."""
        assert self._kept is not None, "a cluster comes first"
        return Trials(self._kept[1], id=id, budgets=budgets, traffic=traffic, steady=steady, on_trial=on_trial)

    def _drop(self) -> None:
        if self._kept is not None:
            (_, cluster), self._kept = self._kept, None
            cluster.close()


class Trials:
    """Makes the trials of one test, each checked against the cluster before anything is armed."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        id: str = "",
        budgets: dict[str, float] | None = None,
        traffic: Traffic | None = None,
        steady: Callable[[Cluster], Iterable[str]] | None = None,
        on_trial: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._cluster = cluster
        self._id = id
        self._budgets = budgets
        self._traffic = traffic
        self._steady = steady
        self._on_trial = on_trial
        self._made: list[Trial] = []

    @property
    def made(self) -> tuple[Trial, ...]:
        """Every trial, in order; one that an exception ended has no record."""
        return tuple(self._made)

    def _again(self, flips: tuple[Flip, ...]) -> str:
        """The replay line; empty where no command has the test's own traffic, probe or topology."""
        spec = self._cluster.spec
        setting = Setting(
            defences=spec.defences,
            backend=self._cluster.backend,
            seed=spec.seed,
            topology=spec.topology,
            budgets=self._budgets or {},
        )
        try:
            return "" if self._traffic or self._steady else flips_again(flips, setting)
        except ValueError:
            return ""

    def __call__(self, *flips: Flip, title: str = "") -> Trial:
        """A trial of these flips. Raises FlipIdError, naming what there is, for one that cannot be."""
        replay = self._again(flips)
        self._on_trial(replay)
        trial = Trial(
            self._cluster,
            *flips,
            id=f"t{len(self._made) + 1}",
            budgets=self._budgets,
            traffic=self._traffic,
            steady=self._steady,
            title=title or self._id,
            replay=replay,
        )
        self._made.append(trial)
        return trial
