"""One trial over a storage link: a client writes and reads through a small cluster, and one bit on its way is another.

Keys are the trial's own and its bytes follow from the seed, so a message is the same wherever the trial is played.
The first key whose coordinator is at the link's end carries the flip; those before it pass by other links.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress

from straybit.again import Setting, flips_again
from straybit.backends import BackendError
from straybit.backends.choose import open_backend
from straybit.campaign.spec import SERVED, Setup, TrialSpec
from straybit.campaign.stepped import TRIES
from straybit.cluster import Cluster
from straybit.control import ControlError
from straybit.outcome import Outcome
from straybit.records import Trial as Record
from straybit.traffic import traffic_for
from straybit.trial import InvalidTrial, Trial
from straybit_faults.client import ProxyError
from straybit_nodes.gossip.rules import Rules

__all__ = ["Served", "start"]

PATIENCE = 4.0
"""No outcome here is about time-outs, and a copy that was slow to come would have another one read in its place."""


def start(backend: str, setup: Setup, taken: ExitStack) -> Served:
    """A small cluster of that backend, for trials of that setup. Raises BackendError."""
    runner = taken.enter_context(open_backend(backend))
    rules = Rules().patient(PATIENCE)
    served = Served(lambda: runner.start(SERVED, defences=setup.defences, rules=rules, seed=setup.seed))
    taken.callback(served.close)
    return served


class Served:
    """The cluster that `begin` starts, proved clean between trials or started anew. Closing it closes the cluster."""

    def __init__(self, begin: Callable[[], Cluster]) -> None:
        self._begin = begin
        self._cluster = begin()

    def close(self) -> None:
        """Take it down."""
        self._cluster.close()

    def tries(self, spec: TrialSpec) -> tuple[Record, ...]:
        """Every try, the one that counts last: one that proved nothing is played again, at most twice."""
        tries: list[Record] = []
        while len(tries) < TRIES and (not tries or tries[-1].outcome is Outcome.INVALID):
            tries.append(self._tried(spec, len(tries)))
        return tuple(tries)

    def _tried(self, spec: TrialSpec, number: int) -> Record:
        try:
            self._renew()
            return self._played(spec, f"{spec.id.rpartition('-')[2]:0>6}-{number}")
        except (BackendError, ControlError, ProxyError, OSError) as error:
            return Record(id=spec.id, outcome=Outcome.INVALID, flips=spec.flips, why=f"the host failed: {error}")

    def _renew(self) -> None:
        if not self._cluster.prove_clean():
            self._cluster.close()
            self._cluster = self._begin()

    def _played(self, spec: TrialSpec, keys: str) -> Record:
        flips = spec.parsed()
        running = self._cluster.spec
        setting = Setting(
            defences=running.defences, backend=self._cluster.backend, seed=running.seed, topology=running.topology
        )
        traffic = traffic_for(self._cluster, flips[0].link, name=keys)
        trial = Trial(self._cluster, *flips, id=spec.id, traffic=traffic, replay=flips_again(flips, setting))
        try:
            with suppress(InvalidTrial), trial:
                pass
        finally:
            traffic.close()
        assert trial.record is not None, "a trial that was left without another error has been judged"
        return trial.record
