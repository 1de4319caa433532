"""`straybit.stepped`: one stepped trial for a test, without a campaign around it."""

from __future__ import annotations

from contextlib import ExitStack

from straybit.campaign.spec import Setup, TrialSpec
from straybit.campaign.stages import open_stage
from straybit.campaign.stepped import run_tries
from straybit.records import Trial
from straybit_faults.flip import Flip
from straybit_nodes.defences import parse_defences

__all__ = ["stepped"]


def stepped(
    *flips: Flip | str,
    nodes: int = 3,
    defences: str = "none",
    seed: int = 0,
    rounds: int = 2,
    aftershock: bool = True,
    backend: str = "sim",
) -> Trial:
    """The record of a trial of these flips on a gossip-only cluster whose rounds are stepped; `sim` takes milliseconds.

    Raises ValueError for a defence or a flip that is none, StageError for a backend without stepped trials.
    """
    setup = Setup(
        nodes=nodes, defences=tuple(sorted(parse_defences(defences))), seed=seed, rounds=rounds, aftershock=aftershock
    )
    spec = TrialSpec(id="t1", flips=tuple(map(str, flips)), setup=setup)
    spec.parsed()
    with ExitStack() as taken:
        return run_tries(spec, open_stage(backend, setup, taken))[-1]
