"""Where trials are played: stages, one kind per backend; flips in requests on a cluster with storage."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from typing import TYPE_CHECKING

from straybit.backends.choose import BACKENDS
from straybit.campaign.spec import STEPPED, Setup, TrialSpec, is_served
from straybit.campaign.stage import Recorder, Stage, StageError
from straybit.campaign.stepped import run_tries
from straybit.records import Trial

if TYPE_CHECKING:
    from straybit.campaign.served import Served

__all__ = ["STAGES", "Hall", "open_stage", "recorder"]

STAGES: dict[str, Callable[[str, Setup, ExitStack], Stage]] = {}
"""By backend: makes the stage, and leaves in the stack what else must be closed."""


def _sim(_: str, setup: Setup, taken: ExitStack) -> Stage:
    stage = _sim_stage(setup, record=False)
    taken.callback(stage.close)
    return stage


def _cluster(backend: str, setup: Setup, taken: ExitStack) -> Stage:
    cluster_stage = import_module("straybit.campaign.cluster_stage")
    stage: Stage = cluster_stage.start(backend, setup, taken)
    return stage


STAGES |= dict.fromkeys(BACKENDS, _cluster) | {"sim": _sim}


def open_stage(backend: str, setup: Setup, taken: ExitStack) -> Stage:
    """A stage of that backend for trials of that setup; closing `taken` takes it down.

    Raises StageError for a backend that has no stage; BackendError where it cannot be started.
    """
    if backend not in STAGES:
        raise StageError(f"no stepped trial runs on {backend!r}; choose from {', '.join(STAGES)}")
    return STAGES[backend](backend, setup, taken)


def recorder(setup: Setup) -> Recorder:
    """A simulated stage that keeps the frames that pass."""
    return _sim_stage(setup, record=True)


def _sim_stage(setup: Setup, *, record: bool) -> Recorder:
    from straybit.sim.stage import SimStage  # noqa: PLC0415 - a campaign on processes needs no simulator

    return SimStage(setup.nodes, defences=setup.defences, seed=setup.seed, rules=STEPPED, record=record)


class Hall:
    """The stages and clusters that this process holds open, one per backend and setup; trials take turns on them."""

    def __init__(self) -> None:
        self._taken = ExitStack()
        self._stages: dict[tuple[str, Setup], Stage] = {}
        self._served: dict[tuple[str, Setup], Served] = {}

    def tries(self, backend: str, spec: TrialSpec) -> tuple[Trial, ...]:
        """Play a trial where it belongs, and again where the host failed it; the last try counts.

        Raises FlipIdError, StageError, BackendError.
        """
        if not is_served(spec):
            return run_tries(spec, self.stage(backend, spec.setup))
        key = (backend, spec.setup)
        if key not in self._served:
            if backend not in BACKENDS:
                raise StageError(f"no trial over a storage link runs on {backend!r}; choose from {', '.join(BACKENDS)}")
            self._served[key] = import_module("straybit.campaign.served").start(backend, spec.setup, self._taken)
        return self._served[key].tries(spec)

    def stage(self, backend: str, setup: Setup) -> Stage:
        """The stage for that setup, opened when it is first asked for. Raises as `open_stage` does."""
        key = (backend, setup)
        if key not in self._stages:
            self._stages[key] = open_stage(backend, setup, self._taken)
        return self._stages[key]

    def close(self) -> None:
        """Take every stage down."""
        self._stages.clear()
        self._served.clear()
        self._taken.close()
