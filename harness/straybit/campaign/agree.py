"""Whether the same flips end alike on different backends: which are tried, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random

import msgspec

from straybit.campaign.record import record_message
from straybit.campaign.space import Margin, Plan, allocate, sample
from straybit.campaign.spec import Aimed, Setup, TrialSpec
from straybit.campaign.stages import recorder
from straybit.outcome import Outcome
from straybit.records import Trial
from straybit.stats import wilson
from straybit_nodes.defences import GROUPS

__all__ = ["MIX", "SAME_OUTCOME_MAX", "SERVED_MIX", "Agreement", "Differing", "Group", "Row", "agreement", "chosen"]

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


_WRITE = {"method": 24, "target": 200, "header.x-amz-checksum-crc32": 64, "body": 4096}
_READ = {"status": 24, "header.etag": 272, "body": 4096}
SERVED_MIX = tuple(
    (f"1/{message}/{field}", bits, GROUPS[defended])
    for message, fields in (("lb-1:storage-1/up/request/0", _WRITE), ("lb-1:storage-2/down/reply/1", _READ))
    for field, bits in fields.items()
    for defended in ("none", "all")
)
"""Flips in what clients write and read, framing left out: a flip id up to its bit, how many bits there are, defences.

A write on its way to its coordinator, and the coordinator's answer to the read that follows.
"""


def chosen(size: int, *, nodes: int, seed: int, served: bool = False) -> tuple[TrialSpec, ...]:
    """So many flips over `MIX`, each part stratified by field; their ids are `a-0`, `a-1`, ...

    With `served`, half of them are over `SERVED_MIX` instead.
    Raises ValueError for fewer than there are groups, StageError.
    """
    gossip = size - size // 2 if served else size
    if gossip < len(MIX):
        raise ValueError(f"a sample of {size} cannot cover {len(MIX)} groups of flips; take more")
    flips = [*_gossip(gossip, nodes, seed), *_served(size - gossip, nodes, seed)]
    return tuple(TrialSpec(id=f"a-{n}", flips=(flip,), setup=setup) for n, (flip, setup) in enumerate(flips))


def _served(size: int, nodes: int, seed: int) -> Iterator[tuple[str, Setup]]:
    """Field by field in turn, each without and with defences; bits drawn by the seed."""
    rng = Random(f"{seed}/served")
    for number in range(size):
        aim, bits, defences = SERVED_MIX[number % len(SERVED_MIX)]
        yield f"{aim}/{rng.randrange(bits)}", Setup(nodes=nodes, defences=tuple(sorted(defences)), seed=seed)


def _gossip(size: int, nodes: int, seed: int) -> Iterator[tuple[str, Setup]]:
    sizes = allocate({str(number): round(1_000_000 * group.share) for number, group in enumerate(MIX)}, size)
    for number, group in enumerate(MIX):
        setup = Setup(nodes=nodes, defences=tuple(sorted(group.defences)), seed=seed)
        message = record_message(Aimed.parse(group.aimed), setup, recorder(setup))
        plan = sample(message, setup, Margin(), repair=group.repair, size=sizes[str(number)])
        yield from ((flip, setup) for flip in _without_controls(plan)[: sizes[str(number)]])


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
