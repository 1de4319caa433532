"""The map of a message: for every field and bit how its flips ended, and what that adds up to. Pure.

The count of dangerous bits leads, and percentages follow: padding a message improves its percentage and nothing else
(Schirmeier et al., DSN 2015).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from straybit.campaign.space import Plan, RecordedField
from straybit.outcome import DANGEROUS, Outcome
from straybit.records import Trial, TrialKind
from straybit.stats import at_most, wilson
from straybit_faults.flip import FieldAim, Flip
from straybit_faults.wire import FieldClass

__all__ = ["SCHEMA", "BitCell", "Dangerous", "FieldRow", "Map", "TwoByTwo", "draw_map"]

SCHEMA = 1


class BitCell(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One bit that was tried, and how that ended. `lost` of `legs` request legs failed after it."""

    bit: int
    outcome: Outcome
    trial: str
    by: tuple[str, ...] = ()
    by_luck: bool = False
    sticky: bool = False
    survives_restart: bool = False
    depth: int = 0
    reached: int = 0
    half_life: int | None = None
    legs: int = 0
    lost: int = 0

    @property
    def dangerous(self) -> bool:
        """As `outcome.DANGEROUS` says."""
        return self.outcome in DANGEROUS

    @property
    def caught(self) -> bool:
        """A check refused it, by name and not by luck, and nothing came of it."""
        return self.outcome is Outcome.DETECTED and not self.by_luck


class FieldRow(msgspec.Struct, frozen=True, kw_only=True):
    """One field: where it lies in the message, how many of its bits were tried, and how those ended.

    `uncaught` counts bits that no check refused: dangerous ones, those that changed nothing, those noticed by luck.
    """

    name: str
    at: int
    length: int
    cls: FieldClass
    guard: bool
    number: bool
    tried: int
    outcomes: dict[str, int]
    dangerous: int
    sticky: int
    takes_requests: int
    uncaught: int
    cells: tuple[BitCell, ...]

    @property
    def bits(self) -> int:
        """How many it has."""
        return 8 * self.length

    @property
    def bare(self) -> str:
        """Its name without the owner's."""
        return self.name.rpartition(".")[2]


class Dangerous(msgspec.Struct, frozen=True, kw_only=True):
    """How many bits of the message are dangerous; of a sample `count` is estimated, within `low` and `high`.

    `low` and `high` are Wilson's 95 % interval; where none was seen, `high` is the bound. A census has no interval.
    """

    count: float
    low: float
    high: float
    exact: bool


class TwoByTwo(msgspec.Struct, frozen=True, kw_only=True):
    """Injected or not, detected or not; `control_detected` are false alarms."""

    fault_detected: int = 0
    fault_missed: int = 0
    control_detected: int = 0
    control_quiet: int = 0


class Map(msgspec.Struct, frozen=True, kw_only=True):
    """What a campaign found out about one message. docs/campaigns.md explains every key."""

    schema: int = SCHEMA
    message: str
    length: int
    bits: int
    whole: bool
    planned: int
    backend: str
    nodes: int
    defences: tuple[str, ...]
    seed: int
    repair: bool
    dangerous: Dangerous
    outcomes: dict[str, int]
    intervals: dict[str, tuple[float, float]]
    invalid: int
    controls: int
    controls_invalid: int
    detected: TwoByTwo
    fields: tuple[FieldRow, ...]

    @property
    def tried(self) -> int:
        """Flips with a verdict."""
        return sum(self.outcomes.values())

    @property
    def complete(self) -> bool:
        """Every flip of the plan has a row."""
        return self.tried + self.invalid + self.controls + self.controls_invalid >= self.planned


def draw_map(plan: Plan, trials: Iterable[Trial], *, backend: str) -> Map:
    """The map that these trials of `plan` make; trials without a verdict are counted apart."""
    told = list(trials)
    faults = [trial for trial in told if trial.kind is TrialKind.FAULT]
    valid = [trial for trial in faults if trial.outcome is not Outcome.INVALID]
    controls = [trial for trial in told if trial.kind is TrialKind.CONTROL]
    sound = [trial for trial in controls if trial.outcome is not Outcome.INVALID]
    counts = Counter(trial.outcome for trial in valid)
    fields = tuple(_row(field, valid) for field in plan.message.fields if field.name in plan.sizes)
    return Map(
        message=str(plan.message.aimed),
        length=plan.message.length,
        bits=sum(plan.sizes.values()),
        whole=plan.whole,
        planned=len(plan.flips),
        backend=backend,
        nodes=plan.setup.nodes,
        defences=plan.setup.defences,
        seed=plan.setup.seed,
        repair=plan.repair,
        dangerous=_dangerous(plan, fields),
        outcomes={str(outcome): counts[outcome] for outcome in Outcome if outcome is not Outcome.INVALID},
        intervals={str(o): interval(counts[o], len(valid)) for o in Outcome if o is not Outcome.INVALID},
        invalid=len(faults) - len(valid),
        controls=len(sound),
        controls_invalid=len(controls) - len(sound),
        detected=TwoByTwo(
            fault_detected=sum(bool(trial.detected_by) for trial in valid),
            fault_missed=sum(not trial.detected_by for trial in valid),
            control_detected=sum(bool(trial.detected_by) for trial in sound),
            control_quiet=sum(not trial.detected_by for trial in sound),
        ),
        fields=fields,
    )


def interval(events: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share; for none at all, 0 and the bound."""
    return wilson(events, trials) if events or not trials else (0.0, at_most(trials))


def _row(field: RecordedField, trials: Sequence[Trial]) -> FieldRow:
    cells = tuple(sorted(_cells(field.name, trials), key=lambda cell: cell.bit))
    counts = Counter(cell.outcome for cell in cells)
    return FieldRow(
        name=field.name,
        at=field.at,
        length=field.length,
        cls=field.cls,
        guard=field.guard,
        number=field.number,
        tried=len(cells),
        outcomes={str(outcome): counts[outcome] for outcome in Outcome if counts[outcome]},
        dangerous=sum(cell.dangerous for cell in cells),
        sticky=sum(cell.sticky for cell in cells),
        takes_requests=sum(cell.lost > 0 for cell in cells),
        uncaught=sum(not cell.caught for cell in cells),
        cells=cells,
    )


def _cells(field: str, trials: Iterable[Trial]) -> Iterable[BitCell]:
    for trial in trials:
        aim = Flip.parse(trial.flips[0]).aim
        if isinstance(aim, FieldAim) and aim.field == field:
            yield BitCell(
                bit=aim.bits[0],
                outcome=trial.outcome,
                trial=trial.id,
                by=trial.detected_by,
                by_luck=trial.by_luck,
                sticky=trial.sticky,
                survives_restart=trial.survives_restart,
                depth=trial.depth,
                reached=trial.blast_radius,
                half_life=trial.half_life,
                legs=trial.requests,
                lost=trial.requests_lost,
            )


def _dangerous(plan: Plan, fields: Sequence[FieldRow]) -> Dangerous:
    """A census counts. A sample weighs each field's share with its bits.

    The interval is Wilson's of the weighted share, at the effective number of trials (Kish): (sum w)^2 / sum w^2.
    """
    bits = sum(plan.sizes.values())
    found = sum(row.dangerous for row in fields)
    tried = sum(row.tried for row in fields)
    if plan.whole and tried == bits:
        return Dangerous(count=found, low=found, high=found, exact=True)
    known = [row for row in fields if row.tried]
    if not known:
        return Dangerous(count=0.0, low=0.0, high=float(bits), exact=False)
    weights = [(row, row.bits / row.tried) for row in known]
    total = sum(weight * row.tried for row, weight in weights)
    share = sum(weight * row.dangerous for row, weight in weights) / total
    effective = max(1, int(total**2 / sum(weight**2 * row.tried for row, weight in weights)))
    low, high = interval(round(share * effective), effective)
    return Dangerous(
        count=round(share * bits, 1), low=round(min(low, share) * bits, 1), high=round(high * bits, 1), exact=False
    )
