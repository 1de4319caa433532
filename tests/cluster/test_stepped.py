"""Stepped trials on real processes: cleared between trials, proved clean, and ending as the simulator says."""

import pytest

from straybit.campaign.agree import agreement, chosen
from straybit.campaign.cluster_stage import ClusterStage
from straybit.campaign.record import record_message
from straybit.campaign.spec import STEPPED, Aimed, Setup, TrialSpec
from straybit.campaign.stages import recorder
from straybit.campaign.stepped import rehearse, run_trial, run_tries
from straybit.faults import BitFlip
from straybit.sim.stage import SimStage
from straybit_nodes.topology import Topology

pytestmark = pytest.mark.proof

STATE = "1/gossip-1:gossip-2/up/state/0/"
AGREED = 20


class Hall:
    """A stage on processes for each set of defences."""

    def __init__(self, backend):
        self.backend = backend
        self.stages = {}

    def __call__(self, *defences):
        if defences not in self.stages:
            options = {"defences": defences, "rules": STEPPED, "ticks": False}
            self.stages[defences] = ClusterStage(lambda: self.backend.start(Topology.gossip_only(3), **options))
        return self.stages[defences]


@pytest.fixture(scope="module")
def hall(backend):
    hall = Hall(backend)
    yield hall
    for stage in hall.stages.values():
        stage.close()


def test_the_message_is_the_one_that_was_recorded(hall):
    """Byte for byte what the simulator sends: the proxy's receipt has the same crc, also after a poisoned trial."""
    message = record_message(Aimed.parse("gossip-1:gossip-2/state"), Setup(), recorder(Setup()))
    control = TrialSpec(id="t1", flips=(STATE + "gossip-3.version/62/control",))
    poison = TrialSpec(id="t2", flips=(STATE + "gossip-3.generation/40",))
    for spec in (control, poison, control):
        trial = run_tries(spec, hall())[-1]
    assert str(trial.outcome) == "MASKED", trial.why
    assert trial.receipts[0].crc == message.crc


@pytest.mark.timeout(600)  # in containers, on a busy machine
def test_flips_end_as_in_the_simulator(hall):
    """Half undefended, stratified by field: every one of them."""
    specs = chosen(AGREED, nodes=3, seed=5)
    played = {"sim": {}, "process": {}}
    for spec in specs:
        defences = spec.setup.defences
        played["sim"][spec.id] = run_trial(spec, SimStage(defences=defences))
        played["process"][spec.id] = run_tries(spec, hall(*defences))[-1]
    found = agreement(specs, played)
    assert (found.differing, found.invalid) == ((), 0)
    assert found.undefended == AGREED / 2


def test_a_cluster_that_does_not_clear_is_replaced(hall):
    """A member that died between two trials is back, and a toxic that stood there is no reason to go on."""
    stage = hall()
    stage.fresh()
    stage.arm([BitFlip("gossip-1:gossip-2", message="state", field="version", bit=3)])
    stage.kill("gossip-2")
    stage.fresh()
    assert stage.views().keys() == {"gossip-1", "gossip-2", "gossip-3"}
    before = stage._cluster
    before.proxy.add_toxic("gossip-1:gossip-3", "latency", {"latency": 1})
    stage.fresh()
    assert stage._cluster is not before
    assert before.closed


def test_the_script_brings_everybody_to_the_same_view(hall):
    """What the trial rests on: after the introductions every member knows every other at its count of heartbeats."""
    stage = hall()
    beats = rehearse(stage, "gossip-1", "gossip-2")
    assert beats == {"gossip-1": 3, "gossip-2": 4, "gossip-3": 5}
    assert {owner: entry.version for owner, entry in stage.views()["gossip-1"].items()} == {
        "gossip-1": 3,
        "gossip-2": 0,
        "gossip-3": 5,
    }
    assert stage.silent() == stage.exits() == ()
