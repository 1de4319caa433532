"""What runs on a worker, be it this process, one of a pool, or one of a Dask cluster: trials in, records out."""

from __future__ import annotations

import os
import threading
import time
from importlib.metadata import version
from multiprocessing import util

import msgspec

from straybit.campaign.spec import TrialSpec
from straybit.campaign.stages import Hall
from straybit.records import Trial

__all__ = ["Done", "close_hall", "play", "this_version"]

_HALL = Hall()
_TURN = threading.Lock()
"""A Dask worker may have several threads, and a stage takes one trial at a time."""
util.Finalize(_HALL, _HALL.close, exitpriority=100)  # pools' workers leave without atexit


class Done(msgspec.Struct, frozen=True):
    """One spec, played: every try, the one that counts last, and what it cost where it ran."""

    tries: tuple[Trial, ...]
    took_s: float
    cpu_s: float
    pid: int

    @property
    def trial(self) -> Trial:
        """The try that counts."""
        return self.tries[-1]


def play(backend: str, spec: TrialSpec) -> Done:
    """Play one trial here, on a stage or cluster that stays open for the next one.

    `cpu_s` is this process's own: what the nodes of a cluster cost is not in it.
    Raises FlipIdError, StageError and BackendError.
    """
    with _TURN:
        began, cpu = time.monotonic(), time.process_time()
        tries = _HALL.tries(backend, spec)
        return Done(tries, time.monotonic() - began, time.process_time() - cpu, os.getpid())


def close_hall() -> None:
    """Take down what this process holds open."""
    _HALL.close()


def this_version() -> str:
    """Of straybit, on whatever machine this is called."""
    return version("straybit")
