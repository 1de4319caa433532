"""Each defence that refuses gossip: off, its attack does damage; on, it is DETECTED by that name, and counted once."""

import pytest

from straybit import BitFlip, Outcome
from straybit.trial import Trial
from straybit_nodes.topology import Topology

pytestmark = pytest.mark.proof

FAULTS = 3
LINKS = ("gossip-1:gossip-2", "gossip-2:gossip-3", "gossip-3:gossip-1")
ATTACKS = {
    "gossip-crc": ((), {"field": "version", "bit": 62}),
    "entry-digest": (("gossip-crc",), {"field": "version", "bit": 62, "repair": True}),
    "value-bounds": (("gossip-crc",), {"field": "generation", "bit": 40, "repair": True}),
}
"""Of each defence: what is on beside it, and the flip that it is for."""


def counted(cluster, defence):
    """What the nodes' metrics say that it refused."""
    found = cluster.each(lambda control: control.metric("straybit_detections_total", defence=defence))
    return sum(found.values())


@pytest.mark.parametrize("defence", ATTACKS)
def test_off_its_attack_does_damage(backend, defence):
    """Without it nobody notices, and every member believes what its owner never said."""
    beside, flip = ATTACKS[defence]
    with backend.start(Topology.gossip_only(3), defences=beside) as cluster:
        with Trial(cluster, BitFlip(LINKS[0], message="state", **flip)) as trial:
            pass
        assert trial.record.outcome is Outcome.SPREAD
        assert trial.record.detected_by == ()


@pytest.mark.parametrize("defence", ATTACKS)
def test_on_it_is_detected_by_name_and_counted_once_a_fault(backend, defence):
    """With it each fault is refused by this name and no other, nothing is believed, and the metric is their number."""
    beside, flip = ATTACKS[defence]
    with backend.start(Topology.gossip_only(3), defences=(*beside, defence)) as cluster:
        for number in range(FAULTS):
            with Trial(cluster, BitFlip(LINKS[number], message="state", **flip)) as trial:
                trial.expect_detected(by=defence, within_s=2)
            assert (trial.record.outcome, trial.record.detected_by) == (Outcome.DETECTED, (defence,))
            assert counted(cluster, defence) == number + 1
