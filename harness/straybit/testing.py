"""What stands behind the plugin's fixtures: clusters that are kept between tests, and the trials of one test."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import msgspec

from straybit import records
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
        self._drop()
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
        wanted, cluster = self._kept
        replay = f"--defences {wanted.defences} --backend {wanted.backend} --seed {wanted.seed}"
        return Trials(cluster, id=id, budgets=budgets, traffic=traffic, steady=steady, replay=replay, on_trial=on_trial)

    def _drop(self) -> None:
        if self._kept is not None:
            self._kept[1].close()
            self._kept = None


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
        replay: str = "",
        on_trial: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._cluster = cluster
        self._id = id
        self._budgets = budgets
        self._traffic = traffic
        self._steady = steady
        self._replay = replay
        self._on_trial = on_trial
        self._made: list[Trial] = []

    @property
    def records(self) -> tuple[records.Trial, ...]:
        """Records of the trials that are over."""
        return tuple(trial.record for trial in self._made if trial.record is not None)

    def __call__(self, *flips: Flip, title: str = "") -> Trial:
        """A trial of these flips. Raises FlipIdError, naming what there is, for one that cannot be."""
        replay = f"straybit replay {shlex.join(map(str, flips))} {self._replay}"
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
