"""The stages there are: the simulator's own, and one over the control ports of each backend that runs clusters."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module

from straybit.backends.choose import BACKENDS
from straybit.campaign.spec import STEPPED, Setup
from straybit.campaign.stage import Recorder, Stage, StageError

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
    """The stages that this process holds open, one per backend and setup; trials take turns on them."""

    def __init__(self) -> None:
        self._taken = ExitStack()
        self._stages: dict[tuple[str, Setup], Stage] = {}

    def stage(self, backend: str, setup: Setup) -> Stage:
        """The stage for that setup, opened when it is first asked for. Raises as `open_stage` does."""
        key = (backend, setup)
        if key not in self._stages:
            self._stages[key] = open_stage(backend, setup, self._taken)
        return self._stages[key]

    def close(self) -> None:
        """Take every stage down."""
        self._stages.clear()
        self._taken.close()
