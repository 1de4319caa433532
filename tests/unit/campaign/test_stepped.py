"""One stepped trial: the same twice, judged as the outcomes say, shrunk, and played against itself."""

import pytest

from straybit import DANGEROUS, stepped
from straybit.campaign import script
from straybit.campaign.agree import MIX, agreement, chosen
from straybit.campaign.executors import Here
from straybit.campaign.golden import golden
from straybit.campaign.record import NeverCameError, record_message
from straybit.campaign.shrink import paste, shrink
from straybit.campaign.space import census
from straybit.campaign.spec import Aimed, Setup, TrialSpec
from straybit.campaign.stage import StageError
from straybit.campaign.stages import recorder
from straybit.campaign.stepped import run_trial, run_tries
from straybit.campaign.watch import Watch
from straybit.oracle import Wrong
from straybit.outcome import Outcome
from straybit.sim.stage import SimStage
from straybit_faults.flip import Flip, FlipIdError

STATE = "1/gossip-1:gossip-2/up/state/0/"


def test_a_trial_is_the_same_twice_to_the_last_key():
    """Times, crc and all; on a stage that another trial was on before."""
    spec = TrialSpec(id="t1", flips=(STATE + "gossip-3.address/20",))
    with SimStage() as stage:
        first = run_trial(spec, stage)
        run_trial(TrialSpec(id="t2", flips=(STATE + "gossip-1.version/63",)), stage)
        assert run_trial(spec, stage) == first == run_trial(spec, SimStage())


@pytest.mark.parametrize(
    ("flip", "defences", "outcome", "by"),
    [
        ("gossip-3.version/62", "none", "SPREAD", ()),
        ("gossip-1.generation/40", "none", "SPREAD", ()),
        ("gossip-3.version/62", "2008", "DETECTED", ("gossip-crc",)),
        ("gossip-3.version/62/repair", "2008", "SPREAD", ()),
        ("gossip-3.version/62/repair", "all", "DETECTED", ("entry-digest",)),
        ("gossip-1.load/3", "none", "MASKED", ()),
        ("magic/0", "none", "DETECTED", ("parse",)),
        ("gossip-3.version/62/control", "none", "MASKED", ()),
    ],
)
def test_what_a_flip_comes_to(flip, defences, outcome, by):
    """Undefended, with the checksum of 2008, past it, and stopped by the owner's digest."""
    trial = stepped(STATE + flip, defences=defences)
    assert (trial.outcome, trial.detected_by) == (outcome, by)


def test_spread_is_told_with_depth_reach_and_whether_it_sticks():
    """Two hops from the receiver in a cluster of three, still there after a restart of everybody, and no half-life."""
    trial = stepped(STATE + "gossip-3.version/62")
    assert (trial.sticky, trial.survives_restart, trial.half_life) == (True, True, None)
    assert trial.blast_radius == len(trial.reached) == 2
    assert trial.depth >= 1
    assert trial.local == "adopted"
    assert "which gossip-3 never said" in trial.why


def test_what_heals_has_a_half_life():
    """An address bit from 1 to 0 loses the tie: the owner's own word comes round, and nothing sticks."""
    trial = stepped(STATE + "gossip-1.address/0")
    assert trial.outcome in DANGEROUS
    assert not trial.sticky
    assert trial.half_life >= 1


def test_an_address_bit_takes_requests_with_it():
    """Whoever believes it sends its request legs where nobody is."""
    hurt, fine = stepped(STATE + "gossip-3.address/20"), stepped(STATE + "gossip-3.version/62")
    assert (hurt.requests, fine.requests, fine.requests_lost) == (6, 6, 0)
    assert hurt.requests_lost >= 2


def test_luck_is_no_catch():
    """What only a parser stumbled over is marked."""
    assert stepped(STATE + "magic/0").by_luck
    assert not stepped(STATE + "magic/0", defences="2008").by_luck


def test_a_message_that_never_came_is_invalid_and_says_what_did():
    """Neither green nor red; and it is not the host's fault, so it is not tried again."""
    spec = TrialSpec(id="t1", flips=("1/gossip-1:gossip-2/up/state/3/gossip-3.version/62",))
    with SimStage() as stage:
        tries = run_tries(spec, stage)
    assert [trial.outcome for trial in tries] == [Outcome.INVALID]
    assert "no message came that matches 1/gossip-1:gossip-2/up/state/3" in tries[0].why
    assert tries[0].why.endswith("what came: 1 digest, 1 state")


class Unsteady(SimStage):
    """A stage whose host fails the first `failing` trials."""

    failing = 2

    def exchange(self, caller, peer):
        if self.failing:
            self.failing -= 1
            raise StageError("out of memory")
        return super().exchange(caller, peer)


def test_a_trial_that_the_host_failed_is_played_again_at_most_twice():
    """Every try is told; the one that counts is the last."""
    spec = TrialSpec(id="t1", flips=(STATE + "gossip-3.version/62",))
    tries = run_tries(spec, Unsteady())
    assert [str(trial.outcome) for trial in tries] == ["INVALID", "INVALID", "SPREAD"]
    assert tries[0].why == "the host failed: out of memory"
    hopeless = Unsteady()
    hopeless.failing = 10**6
    assert [str(trial.outcome) for trial in run_tries(spec, hopeless)] == ["INVALID"] * 3


class Deaf(SimStage):
    """A stage whose first exchange with a flip in wait does not even begin, as on a host that stands still."""

    waiting = heard = False

    def arm(self, flips):
        super().arm(flips)
        self.waiting = bool(flips)

    def exchange(self, caller, peer):
        if self.waiting and not self.heard:
            self.heard = True
            return False
        return super().exchange(caller, peer)


def test_an_exchange_that_carried_nothing_is_the_hosts_failure():
    """No flip was in it that could have stopped it; so it is tried again, where an aim at nothing is not."""
    tries = run_tries(TrialSpec(id="t1", flips=(STATE + "gossip-3.version/62",)), Deaf())
    assert [str(trial.outcome) for trial in tries] == ["INVALID", "SPREAD"]
    assert tries[0].why.endswith("what came: nothing")


def test_a_recording_is_what_a_trial_carries():
    """The same bytes: a control's receipt has the recording's crc."""
    message = record_message(Aimed.parse("gossip-1:gossip-2/state"), Setup(), recorder(Setup()))
    assert {field.name for field in message.fields if field.name.startswith("gossip-")} >= {"gossip-1.version"}
    assert stepped(STATE + "magic/0/control").receipts[0].crc == message.crc


def test_a_recording_of_what_never_comes_says_what_does():
    """Before a campaign begins, not after a thousand INVALID trials."""
    with pytest.raises(NeverCameError, match="what came on that link, in that direction: digest/0, state/0"):
        record_message(Aimed.parse("gossip-1:gossip-2/place"), Setup(), recorder(Setup()))
    with pytest.raises(FlipIdError, match="there is no link gossip-1:gossip-9"):
        record_message(Aimed.parse("gossip-1:gossip-9/state"), Setup(), recorder(Setup()))


def test_a_golden_run_that_is_not_steady_stops_a_campaign(monkeypatch):
    """A plan whose message is another than the one recorded proves nothing."""
    message = record_message(Aimed.parse("gossip-1:gossip-2/state"), Setup(), recorder(Setup()))
    plan = census(message, Setup(), fields=("load",))
    golden(plan, Here(), "sim")
    other = type(message)(aimed=message.aimed, length=message.length, fields=message.fields, crc="00000000")
    with pytest.raises(StageError, match="carried another message"):
        golden(census(other, Setup(), fields=("load",)), Here(), "sim")


# The script.


@pytest.mark.parametrize("nodes", [2, 3, 6])
def test_the_script_leaves_nobody_out(nodes):
    """Everybody is introduced, everybody has a turn in each ring, everybody is called as a request would."""
    members = [f"gossip-{n}" for n in range(1, nodes + 1)]
    for number in range(5):
        pairs = script.ring(members, 3, number)
        assert sorted(a for a, _ in pairs) == sorted(b for _, b in pairs) == members
        assert all(a != b for a, b in pairs)
    legs = script.legs(members, 3)
    assert {b for _, b in legs} == set(members)
    assert len(set(legs)) == len(legs) == nodes * min(2, nodes - 1)
    assert script.ring(members, 3, 1) == script.ring(members, 3, 1)


def test_a_watch_tells_the_half_life_from_the_peak():
    """Most were wrong at the third look, half of them right two looks later."""
    watch = Watch("gossip-2")
    wrongs = [Wrong(f"gossip-{n}", "gossip-1", "address", 5) for n in (2, 3, 4, 5)]
    for count in (1, 2, 4, 3, 2, 0):
        watch.look(wrongs[:count])
    assert (watch.half_life, watch.adopted, watch.reached) == (2, True, ("gossip-3", "gossip-4", "gossip-5"))
    assert watch.now == ()


# Shrinking.


def test_a_trial_shrinks_to_the_least_that_ends_the_same():
    """Six nodes, three bits and four rounds become two nodes, one bit and none: its owner believes it second-hand."""
    setup = Setup(nodes=6, rounds=4)
    spec = TrialSpec(id="t1", flips=("1/gossip-5:gossip-4/up/state/0/gossip-5.version/1+60+61",), setup=setup)
    found = shrink(spec, lambda one: run_trial(one, SimStage(one.setup.nodes)))
    assert (found.spec.setup.nodes, found.spec.setup.rounds, found.spec.setup.aftershock) == (2, 0, False)
    (flip,) = map(Flip.parse, found.spec.flips)
    assert str(flip.link) == "gossip-1:gossip-2"
    assert len(flip.aim.bits) == 1
    assert found.trial.outcome is Outcome.SPREAD


def test_what_needs_all_of_it_stays_as_it_is():
    """A trial that nothing smaller equals is its own smallest."""
    spec = TrialSpec(id="t1", flips=(STATE + "magic/0",), setup=Setup(nodes=2, rounds=0, aftershock=False))
    found = shrink(spec, lambda one: run_trial(one, SimStage(one.setup.nodes)))
    assert found.spec == spec


def test_an_invalid_trial_is_not_shrunk():
    """There is no outcome to keep."""
    spec = TrialSpec(id="t1", flips=("1/gossip-1:gossip-2/up/state/9/gossip-3.version/62",))
    with pytest.raises(ValueError, match="shrinking it proves nothing"):
        shrink(spec, lambda one: run_trial(one, SimStage()))


@pytest.mark.parametrize(
    ("flip", "defences", "fails"), [("gossip-3.version/62", "none", True), ("magic/0", "2008", False)]
)
def test_the_test_it_prints_runs_as_it_is(flip, defences, fails, pytester):
    """At most 15 lines; red while the trial ends dangerously, green where it holds a good end fast."""
    names = () if defences == "none" else ("gossip-crc",)
    spec = TrialSpec(id="t1", flips=(STATE + flip,), setup=Setup(defences=names))
    text = paste(shrink(spec, lambda one: run_trial(one, SimStage(one.setup.nodes, defences=names))))
    assert len(text.splitlines()) <= 15
    pytester.makepyfile(text)
    done = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    done.assert_outcomes(failed=int(fails), passed=int(not fails))


# Agreement.


def test_the_flips_of_an_agreement_are_spread_as_the_rules_ask():
    """As many as asked for, half of them undefended, no outcome above 60 %, the same for the same seed."""
    specs = chosen(60, nodes=3, seed=0)
    assert len(specs) == len({(spec.flips, spec.setup) for spec in specs}) == 60
    assert sum(not spec.setup.defences for spec in specs) == 30
    assert specs == chosen(60, nodes=3, seed=0)
    with pytest.raises(ValueError, match=f"cannot cover {len(MIX)} groups"):
        chosen(3, nodes=3, seed=0)
    found = agreement(specs, {name: _played(specs) for name in ("sim", "again")})
    assert (found.overall.flips, found.overall.same, found.invalid) == (60, 60, 0)
    assert not found.lopsided
    assert found.undefended == 30


def _played(specs):
    return {spec.id: run_trial(spec, SimStage(defences=spec.setup.defences)) for spec in specs}


def test_a_disagreement_is_listed_with_both_records(samples_of_two):
    """And INVALID is no agreement, even with another INVALID."""
    specs, first, second = samples_of_two
    found = agreement(specs, {"sim": first, "process": second})
    assert (found.overall.flips, found.overall.same, found.invalid) == (3, 2, 1)
    assert [sorted(each.trials) for each in found.differing] == [["process", "sim"]] * 2
    assert found.lopsided == "2 of 3 flips ended MASKED"


@pytest.fixture
def samples_of_two():
    from campaign_samples import PLAN, one

    specs = PLAN.trials()[1:5]
    fields = ("type", "length", "gossip-1.load")
    ends = [{}, {}, {"type": "SPREAD"}, {"type": "INVALID"}]
    first = {spec.id: one(spec, end) for spec, end in zip(specs, ends, strict=True)}
    second = first | {specs[0].id: one(specs[0], dict.fromkeys(fields, "HANG"))}
    return specs, first, second
