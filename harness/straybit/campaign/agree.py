"""Whether the same flips end alike on different backends: which are tried, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from straybit.campaign.record import record_message
from straybit.campaign.space import Margin, Plan, allocate, sample
from straybit.campaign.spec import Aimed, Setup, TrialSpec
from straybit.campaign.stages import recorder
from straybit.outcome import Outcome
from straybit.records import Trial
from straybit.stats import wilson
from straybit_nodes.defences import GROUPS

__all__ = ["MIX", "SAME_OUTCOME_MAX", "Agreement", "Differing", "Group", "Row", "agreement", "chosen"]

SAME_OUTCOME_MAX = 0.6
"""Of the flips that may end alike: more, and agreeing would prove little."""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the flips: which message, under which defences, and how large a share of all."""

    aimed: str
    defences: frozenset[str]
    share: float
    repair: bool = False


MIX = (
    Group(aimed="gossip-1:gossip-2/state", defences=GROUPS["none"], share=0.35),
    Group(aimed="gossip-1:gossip-2/down/state", defences=GROUPS["none"], share=0.10),
    Group(aimed="gossip-3:gossip-1/digest", defences=GROUPS["none"], share=0.05),
    Group(aimed="gossip-1:gossip-2/state", defences=GROUPS["2008"], share=0.05),
    Group(aimed="gossip-1:gossip-2/state", defences=GROUPS["2008"], share=0.40, repair=True),
    Group(aimed="gossip-2:gossip-3/state", defences=GROUPS["all"], share=0.05, repair=True),
)
"""Half without defences, the rest with those of 2008 or all; repaired flips get past checksums, so outcomes vary."""


def chosen(size: int, *, nodes: int, seed: int) -> tuple[TrialSpec, ...]:
    """So many flips over `MIX`, each part stratified by field; their ids are `a-0`, `a-1`, ...

    Raises ValueError for fewer than there are groups, StageError.
    """
    if size < len(MIX):
        raise ValueError(f"a sample of {size} cannot cover {len(MIX)} groups of flips; take more")
    sizes = allocate({str(number): round(1_000_000 * group.share) for number, group in enumerate(MIX)}, size)
    flips: list[tuple[str, Setup]] = []
    for number, group in enumerate(MIX):
        setup = Setup(nodes=nodes, defences=tuple(sorted(group.defences)), seed=seed)
        message = record_message(Aimed.parse(group.aimed), setup, recorder(setup))
        plan = sample(message, setup, Margin(), repair=group.repair, size=sizes[str(number)])
        flips += [(flip, setup) for flip in _without_controls(plan)[: sizes[str(number)]]]
    return tuple(TrialSpec(id=f"a-{n}", flips=(flip,), setup=setup) for n, (flip, setup) in enumerate(flips))


def _without_controls(plan: Plan) -> list[str]:
    return [flip for flip in plan.flips if not flip.endswith("/control")]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """How many flips ended so on the first backend, and how many of those on all others too; with Wilson's 95 %."""

    name: str
    flips: int
    same: int
    low: float
    high: float


class Differing(msgspec.Struct, frozen=True, kw_only=True):
    """A flip that did not end alike: each backend's whole record of it."""

    flip: str
    defences: tuple[str, ...]
    trials: dict[str, Trial]


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. `overall` and `rows` leave out flips that were INVALID anywhere; those are counted apart."""

    backends: tuple[str, ...]
    nodes: int
    seed: int
    overall: Row
    rows: tuple[Row, ...]
    undefended: int
    invalid: int
    differing: tuple[Differing, ...]

    @property
    def share(self) -> float:
        """Of flips that ended alike."""
        return self.overall.same / self.overall.flips if self.overall.flips else 0.0

    @property
    def lopsided(self) -> str:
        """The outcome that too many flips share, if one does."""
        for row in self.rows:
            if row.flips > SAME_OUTCOME_MAX * self.overall.flips:
                return f"{row.flips} of {self.overall.flips} flips ended {row.name}"
        return ""


def agreement(specs: Sequence[TrialSpec], played: dict[str, dict[str, Trial]]) -> Agreement:
    """Compare `played`, the trials by backend and id, with the first backend's."""
    backends = tuple(played)
    first = played[backends[0]]
    valid = [s for s in specs if all(played[b][s.id].outcome is not Outcome.INVALID for b in backends)]
    same = [s for s in valid if len({played[b][s.id].outcome for b in backends}) == 1]
    ended, alike = (Counter(first[spec.id].outcome for spec in group) for group in (valid, same))
    agreed = {spec.id for spec in same}
    return Agreement(
        backends=backends,
        nodes=specs[0].setup.nodes,
        seed=specs[0].setup.seed,
        overall=_row("overall", len(valid), len(same)),
        rows=tuple(_row(str(o), ended[o], alike[o]) for o in Outcome if ended[o]),
        undefended=sum(not spec.setup.defences for spec in valid),
        invalid=len(specs) - len(valid),
        differing=tuple(
            Differing(flip=s.flips[0], defences=s.setup.defences, trials={b: played[b][s.id] for b in backends})
            for s in specs
            if s.id not in agreed
        ),
    )


def _row(name: str, flips: int, same: int) -> Row:
    low, high = wilson(same, flips)
    return Row(name=name, flips=flips, same=same, low=low, high=high)
