"""A campaign's trials on real nodes: stepped ones end as the simulator says, those in requests as clients see them."""

import itertools

import pytest

from straybit.campaign.agree import agreement, chosen
from straybit.campaign.cluster_stage import ClusterStage
from straybit.campaign.record import record_message
from straybit.campaign.served import PATIENCE, Served
from straybit.campaign.spec import SERVED, STEPPED, Aimed, Setup, TrialSpec
from straybit.campaign.stages import recorder
from straybit.campaign.stepped import TRIES, rehearse, run_trial, run_tries
from straybit.faults import BitFlip
from straybit.sim.stage import SimStage
from straybit_nodes.gossip.rules import Rules
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


@pytest.fixture(scope="module")
def clients(backend):
    """Plays a flip in what clients write and read, on a cluster for each set of defences."""
    clusters = {}
    numbers = itertools.count()

    def play(flip, *defences):
        if defences not in clusters:
            rules = Rules().patient(PATIENCE)
            clusters[defences] = Served(lambda: backend.start(SERVED, defences=defences, rules=rules))
        return clusters[defences].tries(
            TrialSpec(id=f"a-{next(numbers)}", flips=(flip,), setup=Setup(defences=defences))
        )

    yield play
    for cluster in clusters.values():
        cluster.close()


@pytest.mark.parametrize(
    ("flip", "defences", "outcome", "why"),
    [
        ("1/lb-1:storage-1/up/request/0/body/9", (), "SILENT", "was answered with other bytes than were written"),
        ("1/lb-1:storage-1/up/request/0/body/9", ("content-checksum",), "DETECTED", "noticed by content-checksum"),
        ("1/lb-1:storage-2/down/reply/1/body/9", (), "SILENT", "was answered with other bytes than were written"),
        ("1/lb-1:storage-1/up/request/0/target/161", (), "SILENT", "was answered as if it were not there"),
        ("1/lb-1:storage-1/up/request/0/body/9/control", (), "MASKED", "nobody noticed, nothing differs"),
    ],
)
def test_a_flip_in_a_request_ends_as_it_must(clients, flip, defences, outcome, why):
    """A write, or the read of it, with one bit another: what the client gets, and who noticed."""
    (trial,) = clients(flip, *defences)
    assert str(trial.outcome) == outcome, trial.why
    assert why in trial.why
    assert trial.phases.felt_s is not None or "target" in flip
    assert "--servers 3 3 --balancers 1 1" in trial.replay


def test_a_field_that_never_came_is_invalid_after_all_tries(clients):
    """No outcome is made up for it."""
    tries = clients("1/lb-1:storage-1/up/request/0/header.nobody-sends-it/0")
    assert [str(trial.outcome) for trial in tries] == ["INVALID"] * TRIES
    assert "no message came that matches" in tries[-1].why
