"""Messages, plans and trials made by hand, for tests that play nothing."""

import msgspec

from straybit.campaign.space import Recorded, RecordedField, census
from straybit.campaign.spec import Aimed, Setup
from straybit.outcome import Outcome
from straybit.records import Trial, TrialKind
from straybit_faults.flip import Flip
from straybit_faults.wire import FieldClass

AIMED = Aimed.parse("gossip-1:gossip-2/state")


def field(name, at, length, cls="payload", number=True):
    return RecordedField(name=name, at=at, length=length, cls=FieldClass(cls), number=number, value="00" * length)


MESSAGE = Recorded(
    aimed=AIMED,
    length=16,
    fields=(
        field("type", 0, 1, "type"),
        field("length", 1, 4, "length"),
        field("gossip-1.address", 5, 2, "address"),
        field("gossip-1.version", 7, 8),
        field("gossip-1.load", 15, 1),
    ),
    crc="0badf00d",
)
SETUP = Setup(seed=3)
PLAN = census(MESSAGE, SETUP)


def played(plan, ends, **more):
    """Every trial of a plan: `ends` maps (field, bit) or field to an outcome; anything else is MASKED."""
    return [one(spec, ends, **more) for spec in plan.trials()]


def one(spec, ends, **more):
    flip = Flip.parse(spec.flips[0])
    aim = flip.aim
    outcome = Outcome.MASKED
    if not flip.control:
        outcome = ends.get((aim.field, aim.bits[0]), ends.get(aim.field, Outcome.MASKED))
    return Trial(
        id=spec.id,
        kind=TrialKind.CONTROL if flip.control else TrialKind.FAULT,
        outcome=Outcome(outcome),
        flips=spec.flips,
        detected_by=("gossip-crc",) if outcome == "DETECTED" else (),
        **more,
    )


def replace(value, **changes):
    return msgspec.structs.replace(value, **changes)
