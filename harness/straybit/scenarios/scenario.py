"""What a scenario is: a published incident, its plan for a seed, and how it is played."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from straybit.run import Run
from straybit_nodes.topology import Topology

__all__ = ["STORY", "UNSTEADY", "Scenario"]

STORY = "as published"
"""Name of the table in which a scenario holds what happened against the published story, row by row."""


UNSTEADY = "the golden run was not steady"
"""How it begins where the workload failed before any fault: the machine's doing too, or else it fails again."""


class Scenario(msgspec.Struct, frozen=True):
    """`plan` gives what a dry run prints, one line each; `play` performs it and puts everything on record.

    An undefended run must end with `yes` in every row of its table `STORY`;
    that is how `demo` and the verdicts know that a cluster failed as published, and not in some other way.
    `patience` is how many times as long as usual everybody waits, where the story is not about time-outs.
    `not_tested` are lines for the report's last section.
    """

    name: str
    title: str
    incident: str
    plan: Callable[[Topology, int], tuple[str, ...]]
    play: Callable[[Run], None]
    patience: float = 1.0
    not_tested: tuple[str, ...] = ()


def scenario(
    name: str,
    *,
    title: str = "",
    incident: str = "",
    plan: Callable[[Topology, int], tuple[str, ...]] = lambda _topology, _seed: (),
) -> Callable[[Callable[[Run], None]], Scenario]:
    """Make a scenario of a function that plays it: what `straybit run FILE.py` looks for."""
    return lambda play: Scenario(name=name, title=title or name, incident=incident, plan=plan, play=play)
