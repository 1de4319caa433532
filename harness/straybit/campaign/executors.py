"""Where trials are played: here, in a pool of processes, or on a Dask cluster; all three on `concurrent.futures`.

A worker that dies takes nothing with it but the trials it was at.
Those are played again, one at a time, so that a trial that kills its workers is found out:
after `DEATHS_MAX` of them it is INVALID.
"""

from __future__ import annotations

import multiprocessing
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from importlib.metadata import version
from typing import Any, Protocol

from straybit.campaign.spec import TrialSpec
from straybit.campaign.worker import Done, close_hall, play, this_version
from straybit.outcome import Outcome
from straybit.records import Trial

__all__ = ["DEATHS_MAX", "Dask", "ExecutorError", "Here", "Lanes", "Processes"]

AHEAD = 4
"""Trials handed out per lane before the first of them is back."""
DEATHS_MAX = 3
"""Workers that may die at one trial before it is given up; Dask's own `allowed-failures` says the same."""
CONNECT_S = 10.0


class ExecutorError(RuntimeError):
    """There is nobody to play trials; says why, and what to do."""


class Lanes(Protocol):
    """Plays trials side by side."""

    def run(self, backend: str, specs: Iterable[TrialSpec]) -> Generator[Done, None, None]:
        """Every spec, played once, in the order they end. Closing the generator drops what is under way."""

    def close(self) -> None:
        """End the workers."""


class Here:
    """One after the other, in this process."""

    def run(self, backend: str, specs: Iterable[TrialSpec]) -> Generator[Done, None, None]:
        """See Lanes."""
        for spec in specs:
            yield play(backend, spec)

    def close(self) -> None:
        """Take down the stages that were opened."""
        close_hall()


class _Pooled(ABC):
    """Hands trials to an executor, a few ahead of those that are back."""

    lanes = 1

    def run(self, backend: str, specs: Iterable[TrialSpec]) -> Generator[Done, None, None]:
        """See Lanes."""
        left = iter(specs)
        suspects: deque[TrialSpec] = deque()
        deaths: Counter[str] = Counter()
        flying: dict[Future[Done], TrialSpec] = {}
        try:
            while True:
                self._hand_out(backend, left, suspects, flying)
                if not flying:
                    return
                ended, _ = wait(flying, return_when=FIRST_COMPLETED)
                if any(map(_broken, ended)):
                    ended, _ = wait(flying)  # the pool is gone, so each of them ends now
                lost = [flying.pop(future) for future in [*flying] if future in ended and _broken(future)]
                for future in ended & flying.keys():
                    yield _done(future, flying.pop(future))
                if lost:
                    self._mend()
                    deaths.update(spec.id for spec in lost if len(lost) == 1)
                    suspects.extend(lost)
                    yield from _given_up(suspects, deaths)
        finally:
            for future in flying:
                future.cancel()

    def _hand_out(
        self, backend: str, left: Iterator[TrialSpec], suspects: deque[TrialSpec], flying: dict[Future[Done], TrialSpec]
    ) -> None:
        """Suspects alone and one by one; else whoever is next, until enough are under way."""
        if suspects:
            if not flying:
                spec = suspects.popleft()
                flying[self._executor().submit(play, backend, spec)] = spec
            return
        while len(flying) < AHEAD * self.lanes and (following := next(left, None)) is not None:
            flying[self._executor().submit(play, backend, following)] = following

    @abstractmethod
    def _executor(self) -> Executor:
        """What trials are handed to, made when the first is."""

    @abstractmethod
    def _mend(self) -> None:
        """The executor lost a worker and is of no use any more."""


def _broken(future: Future[Done]) -> bool:
    return isinstance(future.exception(), BrokenProcessPool)


def _given_up(suspects: deque[TrialSpec], deaths: Counter[str]) -> Iterator[Done]:
    """Those that killed too many workers, taken out of the suspects."""
    for spec in [each for each in suspects if deaths[each.id] >= DEATHS_MAX]:
        suspects.remove(spec)
        yield _killer(spec)


def _killer(spec: TrialSpec) -> Done:
    why = f"the host failed: {DEATHS_MAX} workers died at this trial"
    return Done((Trial(id=spec.id, outcome=Outcome.INVALID, flips=spec.flips, why=why),), 0.0, 0.0, 0)


def _done(future: Future[Done], spec: TrialSpec) -> Done:
    error = future.exception()
    if error is not None and type(error).__name__ == "KilledWorker":  # of an extra that may not be there
        return _killer(spec)
    return future.result()


class Processes(_Pooled):
    """`lanes` processes on this machine, each with stages of its own."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self._pool: ProcessPoolExecutor | None = None

    def close(self) -> None:
        """End the pool when what is under way has ended."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _executor(self) -> Executor:
        if self._pool is None:  # spawned: a fork would take this process's threads' locks along
            self._pool = ProcessPoolExecutor(self.lanes, mp_context=multiprocessing.get_context("spawn"))
        return self._pool

    def _mend(self) -> None:
        self.close()


class Dask(_Pooled):
    """The workers of a Dask cluster whose scheduler is at `address`; Dask itself moves a dead worker's trials.

    Raises ExecutorError where nobody answers there, where no worker is, or where one has another straybit.
    """

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client  # noqa: PLC0415 - an extra
        except ImportError:
            raise ExecutorError("--scheduler needs Dask: install straybit[dask]") from None
        try:
            self._client: Any = Client(address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            why = " ".join(str(error).split())
            raise ExecutorError(
                f"no Dask scheduler answers at {address} ({why}); `dask scheduler` starts one"
            ) from None
        try:
            self.lanes = self._workers(address)
        except BaseException:
            self._client.close()
            raise
        self._pool: Executor = self._client.get_executor(pure=False, retries=0)

    def close(self) -> None:
        """Leave the cluster as it was found."""
        with suppress(Exception):  # a worker that is gone has closed everything
            self._client.run(close_hall)
        self._client.close()

    def _executor(self) -> Executor:
        return self._pool

    def _mend(self) -> None:
        """Nothing: Dask starts another worker, or goes on with those that are left."""

    def _workers(self, address: str) -> int:
        """How many trials fit at a time."""
        found = self._client.run(this_version, on_error="return")
        if not found:
            raise ExecutorError(f"the Dask scheduler at {address} has no worker; `dask worker {address}` starts one")
        here = version("straybit")
        for worker, there in sorted(found.items()):
            if isinstance(there, BaseException):
                what = " ".join(f"{type(there).__name__}: {there}".split())
                raise ExecutorError(
                    f"Dask worker {worker} has no straybit like this one ({what}); install {here} there"
                )
            if there != here:
                raise ExecutorError(f"Dask worker {worker} has straybit {there}, and this is {here}; install the same")
        return len(found)
