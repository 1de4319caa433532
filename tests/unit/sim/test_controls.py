"""A thousand trials on virtual time that do everything but change the bit: nothing is noticed, nothing differs."""

import random
from collections import Counter

import pytest

from straybit import BitFlip, Outcome
from straybit.campaign.spec import Setup, TrialSpec
from straybit.campaign.stepped import run_trial
from straybit.sim.stage import SimStage
from straybit_nodes.defences import DEFENCES
from straybit_nodes.gossip.wire import WIRE

TRIALS = 1000
NODES = 3
SETUP = Setup(nodes=NODES, defences=tuple(d.name for d in DEFENCES.values() if d.of == "gossip"), aftershock=False)


def controls(seed):
    """Control flips over every link, message of an exchange, direction and field, drawn by seed."""
    rng = random.Random(seed)
    ways = [("digest", "up"), ("state", "down"), ("state", "up")]
    for number in range(TRIALS):
        caller, callee = (f"gossip-{n + 1}" for n in rng.sample(range(NODES), 2))
        message, direction = rng.choice(ways)
        name, _, bits = rng.choice([field for field in WIRE.fields(message) if field[0] != "wanted"])
        flip = BitFlip(
            f"{caller}:{callee}",
            message=message,
            field=name,
            bit=rng.randrange(bits),
            direction=direction,
            control=True,
            repair=rng.random() < 0.5,
        )
        setup = Setup(
            nodes=NODES, defences=tuple(d.name for d in DEFENCES.values() if d.of == "gossip"), aftershock=False
        )
        yield TrialSpec(id=f"c{number}", flips=(str(flip),), setup=setup)


@pytest.mark.proof
def test_a_thousand_controls_raise_nothing():
    """With every defence of gossip on, each control is delivered and ends MASKED, noticed by nobody."""
    ends = Counter()
    stage = SimStage(NODES, defences=SETUP.defences)
    for spec in controls(1):
        trial = run_trial(spec, stage)
        ends[trial.outcome, trial.kind, trial.detected_by, len(trial.receipts)] += 1
    assert ends == {(Outcome.MASKED, "control", (), 1): TRIALS}
