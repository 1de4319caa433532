"""The golden run: the plan without its fault, played twice before anything else, and the same message both times."""

from __future__ import annotations

from contextlib import closing

import msgspec

from straybit.campaign.executors import Lanes
from straybit.campaign.space import Plan
from straybit.campaign.spec import TrialSpec
from straybit.campaign.stage import StageError
from straybit.outcome import Outcome
from straybit.records import Trial
from straybit_faults.flip import Flip

__all__ = ["golden"]


def golden(plan: Plan, lanes: Lanes, backend: str) -> None:
    """Play the plan's first flip as a control, twice.

    Raises StageError where that is not steady: it ends other than MASKED, loses a request,
    carries another message than the one that was recorded, or, in the simulator, differs from itself.
    """
    flip = msgspec.structs.replace(Flip.parse(plan.flips[0]), control=True)
    specs = [TrialSpec(id=f"golden-{number}", flips=(str(flip),), setup=plan.setup) for number in (1, 2)]
    with closing(lanes.run(backend, specs)) as played:
        runs = [done.trial for done in played]
    for run in runs:
        _check(run, plan.message.crc)
    if backend == "sim" and _bare(runs[0]) != _bare(runs[1]):
        raise StageError("two golden runs of one seed differ in the simulator: that is a defect of straybit")


def _check(run: Trial, crc: str) -> None:
    if run.outcome is not Outcome.MASKED:
        raise StageError(f"the golden run is not steady: without a fault it ended {run.outcome}, {run.why}")
    if run.requests_lost:
        raise StageError(f"the golden run is not steady: without a fault it lost {run.requests_lost} request legs")
    carried = run.receipts[0].crc
    if crc and carried and carried != crc:
        raise StageError(f"the golden run carried another message ({carried}) than was recorded ({crc})")


def _bare(run: Trial) -> Trial:
    return msgspec.structs.replace(run, id="")
