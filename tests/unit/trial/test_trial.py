"""What a trial makes of what it sees: every phase, every outcome, and nothing green without proof."""

import time

import pytest

from straybit import BitFlip, InvalidTrial, Outcome, TrialFailed
from straybit.control import Entry
from straybit.trial import Trial
from straybit_faults.client import ProxyError

FLIP = BitFlip("gossip-1:gossip-2", message="state", field="version", bit=62)
OTHER = BitFlip("gossip-1:gossip-3", message="state", field="version", bit=3)
BUDGETS = {"detected": 0.3, "recovered": 0.3}


def trial(cluster, *flips, **options):
    """A trial with short budgets."""
    return Trial(cluster, *(flips or (FLIP,)), **{"budgets": BUDGETS, **options})


def refuse(cluster, *crcs, by="gossip-crc"):
    """The receiver refuses each flipped message once, naming its checksum."""

    def write():
        named = {line.fields["crc"] for line in cluster.lines}
        for receipt in cluster.proxy.book:
            if receipt.crc not in named and (not crcs or receipt.seq in crcs):
                cluster.log("refused", defence=by, crc=receipt.crc)

    cluster.after_flow = write


def test_a_refused_flip_is_detected(cluster):
    """Delivered, felt, named by a defence, nobody believes it, steady again: DETECTED, with every time."""
    refuse(cluster)
    with trial(cluster) as one:
        one.expect_detected(by="gossip-crc", within_s=1)
    one.expect_contained()
    one.expect_recovered(within_s=1)
    one.expect_outcome("DETECTED")
    assert one.record.detected_by == ("gossip-crc",)
    assert one.record.local == "refused"
    assert 0 <= one.record.phases.felt_s < 1
    assert one.record.phases.detected_s is not None
    assert cluster.proxy.armed == {}


def test_a_flip_nobody_notices_is_masked(cluster):
    """Nothing differs and nobody noticed."""
    with trial(cluster) as one:
        pass
    one.expect_outcome(Outcome.MASKED)
    with pytest.raises(TrialFailed, match="outcome MASKED"):
        one.expect_outcome("DETECTED")


def test_the_receipt_of_an_earlier_trial_is_not_taken_for_this_one(cluster):
    """The same flip in the next trial needs a message of its own."""
    with trial(cluster):
        pass
    cluster.flows = False
    with pytest.raises(InvalidTrial, match="no message came that matches 1/gossip-1:gossip-2/up/state/0/version/62"):
        with trial(cluster):
            pass


def test_a_flip_that_is_not_acknowledged_is_invalid(cluster):
    """Sent is not delivered."""
    cluster.proxy.acknowledges = False
    one = trial(cluster)
    with pytest.raises(InvalidTrial, match="its receiver never acknowledged it"), one:
        pass
    assert one.record.outcome is Outcome.INVALID


def test_a_cluster_in_doubt_is_invalid(cluster):
    """What was amiss before the flip proves nothing about it."""
    cluster.doubt = ("gossip-3 is stopped",)
    one = trial(cluster)
    with pytest.raises(InvalidTrial, match="not steady before the flip: gossip-3 is stopped"), one:
        pass
    assert one.record.outcome is Outcome.INVALID


def test_every_flip_of_a_trial_must_be_noticed(cluster):
    """One of two detections is not enough."""
    refuse(cluster, 0)
    with pytest.raises(TrialFailed, match="gossip-crc did not notice within 0.1 s; gossip-crc did"):
        with trial(cluster, FLIP, OTHER) as one:
            one.expect_detected(by="gossip-crc", within_s=0.1)
    assert one.noticed_after("gossip-crc")[1] is None


def test_a_detection_by_somebody_else_is_named(cluster):
    """The message says who noticed instead."""
    refuse(cluster, by="value-bounds")
    with pytest.raises(TrialFailed, match="gossip-crc did not notice within 0.05 s; value-bounds did"):
        with trial(cluster) as one:
            one.expect_detected(by="gossip-crc", within_s=0.05)


@pytest.mark.parametrize("ask", ["detected", "recovered"])
def test_what_is_late_while_the_host_stood_still_is_no_verdict(cluster, ask):
    """Nobody knows whose delay it was; what does not take time is a failure all the same."""
    cluster.late_s = 1.5
    cluster.missing = ("gossip-3's view is wrong",)
    cluster.believe("gossip-3")
    with trial(cluster) as one:
        pass
    expect = {
        "detected": lambda: one.expect_detected(by="gossip-crc", within_s=0),
        "recovered": lambda: one.expect_recovered(within_s=1),
    }
    with pytest.raises(InvalidTrial, match=r"INVALID: the host stood still for 1\.\d\d s, as long as a time-out; "):
        expect[ask]()
    with pytest.raises(TrialFailed, match="the damage spread to gossip-3"):
        one.expect_contained()


def test_a_late_detection_is_late(cluster):
    """Noticed, but after its time."""
    refuse(cluster)
    with trial(cluster) as one:
        pass
    with pytest.raises(TrialFailed, match=r"gossip-crc noticed after 0\.\d\d s, later than 0 s"):
        one.expect_detected(by="gossip-crc", within_s=0)


def test_a_detection_of_another_message_does_not_count(cluster):
    """A refusal that names another checksum is not about this flip."""
    cluster.after_flow = lambda: cluster.log("refused", defence="gossip-crc", crc=7)
    with trial(cluster) as one:
        pass
    one.expect_outcome("MASKED")


def test_a_parse_error_is_luck(cluster):
    """Bytes that could not be read are noticed by luck."""

    def write():
        if not cluster.lines:
            cluster.log("parse-error", crc=cluster.proxy.book[0].crc)

    cluster.after_flow = write
    with trial(cluster) as one:
        pass
    one.expect_outcome("DETECTED")
    assert one.record.by_luck


def test_damage_at_the_receiver_is_silent(cluster):
    """Believed by the one who got it, by nobody else, and nobody noticed."""
    cluster.after_flow = lambda: cluster.believe("gossip-2")
    with trial(cluster) as one:
        pass
    one.expect_outcome("SILENT")
    one.expect_contained()
    assert (one.record.local, one.record.blast_radius) == ("adopted", 0)


def test_damage_that_somebody_noticed_is_noticed(cluster):
    """Believed although it was refused somewhere."""
    refuse(cluster)
    cluster.believe("gossip-2")
    with trial(cluster) as one:
        pass
    one.expect_outcome("NOTICED")


def test_damage_elsewhere_is_spread(cluster):
    """A node that never received the message believes it: SPREAD, with the example in words."""
    cluster.after_flow = lambda: cluster.believe("gossip-3")
    with trial(cluster) as one:
        pass
    one.expect_outcome("SPREAD")
    assert (one.record.reached, one.record.blast_radius) == (("gossip-3",), 1)
    with pytest.raises(TrialFailed, match="spread to gossip-3: gossip-3 believes gossip-3.address = 99"):
        one.expect_contained()


def test_a_passing_belief_counts(cluster):
    """What was believed during the quiet time and is gone afterwards was believed all the same."""
    views = cluster.views
    looks = []

    def once():
        looks.append(1)
        cluster.beliefs = {"gossip-3": {"gossip-1": Entry(5, 1, 0, 100, 7)}} if len(looks) == 2 else {}
        return views()

    cluster.views = once
    with trial(cluster) as one:
        pass
    one.expect_outcome("SPREAD")
    assert not one.record.sticky


def test_damage_that_stays_is_sticky(cluster):
    """Not steady again, and still believed."""
    cluster.missing = ("gossip-3's view is wrong",)
    cluster.believe("gossip-3")
    with trial(cluster) as one:
        pass
    assert (one.record.outcome, one.record.sticky) == (Outcome.SPREAD, True)
    with pytest.raises(TrialFailed, match="never steady again, expected within 1 s"):
        one.expect_recovered(within_s=1)


def test_damage_that_no_probe_sees_is_sticky_too(cluster):
    """Steady by every probe, and still believed: a version from the future is no disagreement about addresses."""
    cluster.after_flow = lambda: cluster.believe("gossip-3")
    with trial(cluster) as one:
        pass
    assert one.record.sticky
    assert one.record.phases.recovered_s is not None


def test_a_receiver_that_dies_is_a_crash(cluster):
    """A process that ends by itself makes the trial CRASH, and its silence is no error of the harness."""

    def die():
        cluster.dead.add("gossip-2")
        cluster.ended = ["gossip-2"]

    cluster.ended = []
    cluster.after_flow = die
    with trial(cluster) as one:
        pass
    one.expect_outcome("CRASH")
    assert one.record.local == "crashed"


def test_what_the_host_did_to_a_receiver_is_invalid(cluster):
    """A service that is killed for memory proves nothing of the flip, and the reason says so."""

    def die():
        cluster.ended = ["gossip-2"]
        cluster.host = "killed for memory"

    cluster.after_flow = die
    one = trial(cluster)
    with pytest.raises(InvalidTrial, match="gossip-2: killed for memory"), one:
        pass
    assert one.record.outcome is Outcome.INVALID
    assert one.record.why == "gossip-2: killed for memory"


DOWN = BitFlip("gossip-1:gossip-2", message="state", field="version", bit=62, direction="down")


@pytest.mark.parametrize("fronted", [False, True])
def test_behind_toxiproxy_a_reply_is_delivered_when_it_is_felt(cluster, fronted):
    """What goes down is acknowledged by the proxy in front: there only the receiver's word counts, and is enough."""
    cluster.fronted = fronted
    with trial(cluster, DOWN) as heard:
        pass
    heard.expect_outcome("MASKED")
    cluster.deaf = True
    one = trial(cluster, DOWN)
    one.begin()
    assert one.wait_delivered(0.05) is not fronted


def test_what_goes_up_behind_toxiproxy_is_acknowledged_by_its_receiver(cluster):
    """Up, straybit's proxy has the callee itself before it, and believes its kernel."""
    cluster.fronted = cluster.deaf = True
    one = trial(cluster)
    one.begin()
    assert one.wait_delivered(0.05)


def test_an_exit_before_the_trial_is_not_its_crash(cluster):
    """Only what ended since the trial began counts."""
    cluster.ended = ["gossip-3"]
    with trial(cluster) as one:
        pass
    one.expect_outcome("MASKED")


def test_a_receiver_that_freezes_is_a_hang(cluster):
    """A process that runs and answers nothing makes the trial HANG."""

    def freeze():
        cluster.dead.add("gossip-2")
        cluster.missing = ("gossip-2 does not answer",)

    cluster.after_flow = freeze
    with trial(cluster) as one:
        pass
    one.expect_outcome("HANG")
    assert one.record.local == "hung"


def test_a_slow_recovery_is_degraded(cluster):
    """Right again, but over budget."""
    refuse(cluster)
    asked = []

    def slow(names=None):
        asked.append(time.monotonic())
        return ("not yet",) if asked[-1] - asked[0] < 0.3 else ()

    cluster.disagreements = slow
    with trial(cluster, budgets={"recovered": 0.25, "detected": 1}) as one:
        pass
    one.expect_outcome("DEGRADED")
    with pytest.raises(TrialFailed, match=r"steady again after 0\.\d+ s, expected within 0.1 s"):
        one.expect_recovered(within_s=0.1)


def test_nothing_is_known_before_the_end(cluster):
    """Inside the block nobody can say yet that damage is contained, or that the cluster recovered."""
    with trial(cluster) as one:
        asks = [one.expect_contained, lambda: one.expect_recovered(within_s=1), lambda: one.expect_outcome("MASKED")]
        for ask in asks:
            with pytest.raises(TrialFailed, match="ask behind the `with` block"):
                ask()


def test_an_exception_in_the_block_reverts_and_closes(cluster):
    """Whatever a test raises, no toxic stays."""
    with pytest.raises(ZeroDivisionError), trial(cluster):
        raise ZeroDivisionError
    assert cluster.proxy.armed == {}


def test_a_flip_that_cannot_be_armed_leaves_nothing_armed(cluster):
    """When the proxy refuses the second flip, the first is taken away again."""
    cluster.proxy.refuses = (1,)
    with pytest.raises(ProxyError), trial(cluster, FLIP, OTHER):
        pass
    assert cluster.proxy.armed == {}


def test_one_toxic_that_will_not_go_does_not_keep_the_others(cluster):
    """Every toxic is asked to go, and the refusal is raised at the end."""
    one = trial(cluster, FLIP, OTHER)
    one.begin()
    cluster.proxy.armed.pop(next(iter(cluster.proxy.armed)))
    with pytest.raises(ProxyError, match="not found"):
        one.revert()
    assert cluster.proxy.armed == {}


def test_a_control_is_a_control(cluster):
    """Its record says so, and a detection in it is still a detection."""
    control = BitFlip("gossip-1:gossip-2", message="state", field="version", bit=62, control=True)
    with trial(cluster, control) as one:
        pass
    assert (one.record.kind, one.record.outcome) == ("control", Outcome.MASKED)


def test_a_trial_needs_a_flip(cluster):
    """No flip is a mistake, not a trial that always passes."""
    with pytest.raises(ValueError, match="a trial needs a flip"):
        Trial(cluster)


def test_ones_own_traffic_is_used_and_left_open(cluster):
    """A user's traffic drives the trial, and is the user's to close."""

    class Mine:
        steps = scans = closed = 0

        def step(self):
            self.steps += 1
            cluster.proxy.flow()

        def answers(self):
            return ()

        def scan(self):
            self.scans += 1
            return ()

        def close(self):
            self.closed += 1

    mine = Mine()
    for _ in range(2):
        with trial(cluster, traffic=mine) as one:
            pass
        one.expect_outcome("MASKED")
    assert (mine.steps, mine.scans, mine.closed) == (2, 2, 0)


def test_ones_own_probe_is_asked_before_and_afterwards(cluster):
    """The same question decides whether the cluster was clean and whether it has recovered."""
    said = []

    def probe(asked):
        assert asked is cluster
        said.append(1)
        return () if len(said) < 3 or len(said) > 5 else ("not yet",)

    with trial(cluster, steady=probe, budgets={"recovered": 2.0}) as one:
        pass
    assert len(said) > 5
    assert one.record.phases.recovered_s > 0


def test_a_failure_says_how_to_play_it_again(cluster):
    """The message ends with the flips and the replay line, which the plugin reads from the error as well."""
    with trial(cluster, replay="straybit replay X") as one:
        pass
    with pytest.raises(TrialFailed) as failed:
        one.expect_detected(by="gossip-crc", within_s=1)
    assert str(failed.value).splitlines()[1:] == [f"flip: {FLIP}", "replay: straybit replay X"]
    assert failed.value.replay == "straybit replay X"
