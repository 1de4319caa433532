"""Recovery: nothing, a rolling restart, or July's own: everything stopped, cleared, and let back in batches.

Theory of operation of the staged restore.
What poisons a cluster lives in every node at once and is taught back to whoever forgets it alone.
So all stop first, and silence is verified, not assumed: nothing runs, nothing is in flight,
and two looks in a row count the same frames.
Then every node forgets, and each is looked at: whoever remembers anything is named and nothing is resumed.
Only then batch after batch talks again, to those already resumed and no other, the small region first.
No step is timed; each gate is waited for against what is left of one budget.
It may end anywhere, by a gate, by Ctrl-C, by SIGKILL: every stage may be done again, so the next restore begins anew
and takes what it finds, stopped, cleared, half resumed or dead.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal, get_args

import msgspec
from tenacity import RetryCallState, Retrying, retry_if_result, wait_fixed

from straybit.backends import BackendError
from straybit.cluster import Cluster
from straybit.control import Control, ControlError, View
from straybit.rollout import Step, servers, staged_plan
from straybit.steady import NotSteadyError, wait_steady
from straybit.views import disagreements
from straybit.waiting import StopAt, Timepiece

__all__ = ["Recovery", "RestoreError", "Restored", "Stage", "restore"]

Recovery = Literal["none", "rolling", "staged"]

LOOK_EVERY_S = 0.05


class Stage(msgspec.Struct, frozen=True):
    """One stage of a restore, on the monotonic clock; `note` says what it found, or why it is not `ok`."""

    name: str
    began: float
    ended: float
    ok: bool = True
    note: str = ""


class Restored(msgspec.Struct, frozen=True):
    """A restore that went through every gate."""

    recovery: Recovery
    stages: tuple[Stage, ...]


class RestoreError(RuntimeError):
    """A gate did not open; `stages` are those until then, the last one not ok, `culprits` the nodes to blame."""

    def __init__(self, message: str, culprits: tuple[str, ...]) -> None:
        super().__init__(message)
        self.culprits = culprits
        self.stages: tuple[Stage, ...] = ()


def restore(
    cluster: Cluster,
    recovery: Recovery,
    *,
    budget_s: float = 15.0,
    batch: int = 2,
    keep_state: Collection[str] = (),
    on_stage: Callable[[Stage], None] = lambda _: None,
) -> Restored:
    """Bring a cluster back within `budget_s`, and answer with the stages; `on_stage` hears of each as it ends.

    `batch` is the number of servers that are resumed at a time.
    `keep_state` names services that skip the clearing: a test's way to have one that keeps its old state.
    Raises RestoreError when a gate does not open, ValueError for an unknown recovery.
    """
    if recovery not in get_args(Recovery):
        raise ValueError(f"unknown recovery {recovery!r}; choose from {', '.join(get_args(Recovery))}")
    log = _Stages(cluster.driver, budget_s, on_stage)
    try:
        match recovery:
            case "rolling":
                _rolling(cluster, log)
            case "staged":
                _staged(cluster, log, batch, frozenset(keep_state))
            case "none":
                pass
    except RestoreError as error:
        error.stages = tuple(log.stages)
        raise
    return Restored(recovery, tuple(log.stages))


class _Stages:
    """The stages so far, and what is left of the budget."""

    def __init__(self, clock: Timepiece, budget_s: float, on_stage: Callable[[Stage], None]) -> None:
        self._clock = clock
        self._deadline = clock.now() + budget_s
        self._on_stage = on_stage
        self.stages: list[Stage] = []

    @property
    def left_s(self) -> float:
        return max(0.0, self._deadline - self._clock.now())

    def stage(self, name: str, work: Callable[[], str]) -> None:
        """Run one stage; `work` answers with a note."""
        began = self._clock.now()
        try:
            note, failure = work(), None
        except RestoreError as error:
            note, failure = str(error), error
        stage = Stage(name, began, self._clock.now(), failure is None, note)
        self.stages.append(stage)
        self._on_stage(stage)
        if failure is not None:
            raise failure

    def gate(self, what: str, amiss: Callable[[], dict[str, str]]) -> None:
        """Wait until nothing is amiss (service to reason). Raises RestoreError when the budget ends first."""

        def give_up(state: RetryCallState) -> None:
            found: dict[str, str] = state.outcome.result() if state.outcome is not None else {}
            raise RestoreError(f"{what}: {'; '.join(list(found.values())[:3])}", tuple(found))

        Retrying(
            retry=retry_if_result(bool),
            wait=wait_fixed(LOOK_EVERY_S),
            stop=StopAt(self._clock, self._deadline),
            sleep=self._clock.pause,
            retry_error_callback=give_up,
        )(amiss)


def _rolling(cluster: Cluster, log: _Stages) -> None:
    """Restart one server after another, as far as the budget reaches."""
    for server in servers(cluster.topology):
        names = [service.name for service in server]
        if not log.left_s:
            raise RestoreError(f"the rolling restart came to {names[0]} when its time was over", ())
        log.stage(f"restart {' and '.join(names)}", lambda n=names: _restart(cluster, n))  # type: ignore[misc]


def _restart(cluster: Cluster, names: list[str]) -> str:
    failed: dict[str, str] = {}

    def one(name: str) -> None:
        try:
            cluster.restart(name)
        except BackendError as error:
            failed[name] = str(error)

    cluster.side_by_side(one, names)
    if failed:
        raise RestoreError("; ".join(failed.values()), tuple(failed))
    return ""


def _staged(cluster: Cluster, log: _Stages, batch: int, keep_state: frozenset[str]) -> None:
    resumed: list[str] = []
    for step in staged_plan(cluster.topology, batch):
        names = list(step.services)
        if step.what == "batch":
            resumed += names
        so_far = tuple(resumed)
        log.stage(step.name, lambda s=step, n=names, r=so_far: _do(cluster, log, s, n, r, keep_state))  # type: ignore[misc]


def _do(
    cluster: Cluster, log: _Stages, step: Step, names: list[str], resumed: tuple[str, ...], keep_state: frozenset[str]
) -> str:
    match step.what:
        case "stop":
            return _stop(cluster, names)
        case "silence":
            return _silence(cluster, log, names)
        case "clear":
            return _everywhere(cluster, lambda control: control.clear(), [n for n in names if n not in keep_state])
        case "cleared":
            return _cleared(cluster, names)
        case "batch":
            return _resume(cluster, log, names, resumed)
        case "region":
            return _healthy(cluster, log, resumed)


def _stop(cluster: Cluster, names: list[str]) -> str:
    """Everybody, so whoever is out of service comes back first: it may have state on its disk."""
    absent = [name for name in names if not cluster.in_service(name)]
    _restart(cluster, absent)
    _everywhere(cluster, lambda control: control.stop(), names)
    return f"restarted first: {', '.join(absent)}" if absent else ""


def _everywhere(cluster: Cluster, call: Callable[[Control], None], names: list[str]) -> str:
    failed = {n: str(error) for n, error in cluster.each(call, names).items() if isinstance(error, ControlError)}
    if failed:
        raise RestoreError("; ".join(failed.values()), tuple(failed))
    return f"{len(names)} services"


def _silence(cluster: Cluster, log: _Stages, names: list[str]) -> str:
    """Nothing runs, nothing is in flight, and the same frames are counted twice in a row."""
    before: dict[str, float] = {}

    def amiss() -> dict[str, str]:
        found: dict[str, str] = {}
        for name, look in cluster.each(_traffic, names).items():
            if isinstance(look, ControlError):
                found[name] = str(look)
                continue
            view, frames = look
            if view.state != "stopped" or view.inflight:
                found[name] = f"{name} is {view.state} with {view.inflight} requests in flight"
            elif before.get(name) != frames:
                found[name] = f"{name} still gossips"
            before[name] = frames
        return found

    log.gate("no silence", amiss)
    return f"{sum(before.values()):.0f} frames in all, twice"


def _traffic(control: Control) -> tuple[View, float]:
    return control.view(), control.metric("straybit_frames_total")


def _cleared(cluster: Cluster, names: list[str]) -> str:
    """One look: whoever remembers anybody, or anything else of itself than it originated, is a culprit."""
    owners = {s.name: s.member for s in cluster.topology.services()}
    views = cluster.views(names)
    originated = cluster.originated(fresh=False)
    kept: dict[str, str] = {}
    for name, view in views.items():
        if isinstance(view, ControlError):
            kept[name] = str(view)
            continue
        others = sorted(view.entries.keys() - {owners[name]})
        own = {n: truth for n, truth in originated.items() if n == owners[name] and n in view.entries}
        lines = [f"{name} still remembers {', '.join(others)}"] if others else disagreements(view, own)
        kept |= {name: lines[0]} if lines else {}
    if kept:
        raise RestoreError(f"not cleared: {'; '.join(kept.values())}", tuple(kept))
    return f"{len(names)} services know nobody but themselves"


def _resume(cluster: Cluster, log: _Stages, group: list[str], so_far: tuple[str, ...]) -> str:
    """Let `group` talk to those resumed `so_far`, itself among them, until their views agree."""
    members = {s.name for s in cluster.topology.members()}
    contacts = [name for name in so_far if name in members]
    _everywhere(cluster, lambda control: control.resume(contacts), group)

    def amiss() -> dict[str, str]:
        return {str(number): line for number, line in enumerate(cluster.disagreements(so_far))}

    log.gate("the batch does not agree", amiss)
    return f"{len(contacts)} members agree"


def _healthy(cluster: Cluster, log: _Stages, so_far: tuple[str, ...]) -> str:
    """Requests succeed through every balancer that was resumed, five probes in a row."""
    try:
        wait_steady(cluster, budget_s=log.left_s, names=so_far)
    except NotSteadyError as error:
        raise RestoreError(str(error), ()) from None
    return "steady"
