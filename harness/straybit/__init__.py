"""Flips one bit of one message on its way, and says who noticed, how far it spread and how long recovery took."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from straybit.campaign.public import stepped
    from straybit.faults import BitFlip
    from straybit.outcome import DANGEROUS, Outcome
    from straybit.run import Run
    from straybit.scenarios.scenario import scenario
    from straybit.trial import InvalidTrial, Trial, TrialFailed
    from straybit_faults.flip import Flip

__all__ = [
    "DANGEROUS",
    "BitFlip",
    "Flip",
    "InvalidTrial",
    "Outcome",
    "Run",
    "Trial",
    "TrialFailed",
    "scenario",
    "stepped",
]

_HOMES = {
    "DANGEROUS": "straybit.outcome",
    "BitFlip": "straybit.faults",
    "Flip": "straybit_faults.flip",
    "InvalidTrial": "straybit.trial",
    "Outcome": "straybit.outcome",
    "Run": "straybit.run",
    "Trial": "straybit.trial",
    "TrialFailed": "straybit.trial",
    "scenario": "straybit.scenarios.scenario",
    "stepped": "straybit.campaign.public",
}


def __getattr__(name: str) -> object:
    """Import a name when it is first used: the plugin brings this package into every pytest run."""
    from importlib import import_module  # noqa: PLC0415 - as said

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
