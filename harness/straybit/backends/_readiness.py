"""Waiting for services to come up: polled finely, against a budget, and given up at once when one has died."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    retry_if_result,
    stop_after_delay,
    wait_fixed,
)
from tenacity.stop import stop_base

from straybit.backends import DISAGREED, BackendError
from straybit.cluster import Cluster
from straybit.control import Control, NodeSilentError
from straybit_faults.client import ProxyError, ProxyServer

__all__ = ["await_agreement", "await_answer", "await_proxy", "step_until_known"]

POLL_S = 0.01
"""Between two looks; finer takes processor time from the very processes that are waited for."""

T = TypeVar("T")


class Ended(Protocol):
    """How a service ended."""

    @property
    def status(self) -> int:
        """Its exit code, or minus the signal that killed it."""


class Watched(Protocol):
    """What tells whether a service still lives."""

    def ended(self, name: str) -> Ended | None:
        """Its exit, None while it lives."""

    def last_words(self, name: str) -> str:
        """The last lines it wrote."""


def await_answer(control: Control, watched: Watched, *, state: str, budget_s: float, every_s: float = POLL_S) -> None:
    """Return when the service's control port says `state`. Raises BackendError when it dies or `budget_s` pass."""

    def look() -> None:
        health = control.healthz()
        if health.state != state:
            raise NodeSilentError(f"{control.name} is {health.state}, not {state}")

    _await(look, control.name, watched, budget_s, every_s, NodeSilentError)


def await_proxy(proxy: ProxyServer, name: str, watched: Watched, *, budget_s: float, every_s: float = POLL_S) -> None:
    """Return when the proxy server answers. Raises BackendError."""
    _await(proxy.version, name, watched, budget_s, every_s, ProxyError)


def await_agreement(cluster: Cluster, *, budget_s: float) -> None:
    """Return when every view lists every member as it originated itself. Raises BackendError."""

    def missing(state: RetryCallState) -> tuple[str, ...]:
        lines: tuple[str, ...] = state.outcome.result() if state.outcome is not None else ()
        return lines

    def give_up(state: RetryCallState) -> None:
        crashed = [f"{exit.service} ended with {exit.status}" for exit in cluster.exits()]
        lines = [*crashed, *missing(state)]
        more = f" and {len(lines) - 3} more" if len(lines) > 3 else ""
        what = "the cluster could not come to agree" if crashed else f"{DISAGREED} within {budget_s:g} s"
        raise BackendError(f"{what}: {'; '.join(lines[:3])}{more}")

    Retrying(
        retry=retry_if_result(bool),
        wait=wait_fixed(POLL_S),
        stop=stop_after_delay(budget_s) | _StopWhen(lambda: bool(cluster.exits())),
        retry_error_callback=give_up,
    )(cluster.disagreements)


def step_until_known(cluster: Cluster) -> None:
    """Without timers nobody hears of anybody: let every member talk to the first, twice, in order."""
    first, *others = (member.name for member in cluster.topology.members())
    for name in (*others, *others):
        cluster.control(name).exchange(first)


class _StopWhen(stop_base):
    """Give up as soon as `hopeless` says so."""

    def __init__(self, hopeless: Callable[[], bool]) -> None:
        self._hopeless = hopeless

    def __call__(self, retry_state: RetryCallState) -> bool:
        return self._hopeless()


def _await(
    look: Callable[[], T], name: str, watched: Watched, budget_s: float, every_s: float, error: type[Exception]
) -> T:
    def give_up(state: RetryCallState) -> T:
        exit = watched.ended(name)
        why = f"ended with {exit.status} before it was ready" if exit else f"was not ready within {budget_s:g} s"
        reason = state.outcome.exception() if state.outcome is not None and exit is None else None
        raise BackendError(
            f"{name} {why}{f' ({reason})' if reason else ''}; its last words:\n{watched.last_words(name)}"
        )

    return Retrying(
        retry=retry_if_exception_type(error),
        wait=wait_fixed(every_s),
        stop=stop_after_delay(budget_s) | _StopWhen(lambda: watched.ended(name) is not None),
        retry_error_callback=give_up,
    )(look)
