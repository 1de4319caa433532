"""One trial of given flips on a quiet cluster: what `straybit replay FLIP` plays."""

from __future__ import annotations

from straybit.faults import check_flip
from straybit.outcome import DANGEROUS, Outcome
from straybit.run import Run
from straybit.scenarios.scenario import Scenario
from straybit_faults.flip import Flip
from straybit_nodes.topology import Topology

__all__ = ["single"]


def single(flips: tuple[Flip, ...], topology: Topology) -> Scenario:
    """A scenario of one trial. Raises FlipIdError, naming what there is, for a flip that cannot be."""
    for flip in flips:
        check_flip(flip, topology)

    def play(run: Run) -> None:
        trial = run.trial("t1", *flips, title="single trial", drive=True)
        with run.phase("trial"):
            trial.begin()
            trial.settle()
            trial.revert()
            trial.recover()
        record = trial.finish()
        run.record(record)
        if record.outcome is not Outcome.INVALID:
            run.expect("the flip is not dangerous", record.outcome not in DANGEROUS, f"{record.outcome}: {record.why}")

    lines = tuple(map(str, flips))
    return Scenario(name="single", title="one trial", incident="", plan=lambda *_: lines, play=play)
