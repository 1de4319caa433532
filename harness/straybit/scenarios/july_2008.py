"""July 20, 2008: single bits flip in state messages that nothing checks, every server believes them, and S3 is down.

Sources: Amazon's dashboard of that day and its post-mortem, "Amazon S3 Availability Event: July 20, 2008".
Nothing here makes the cluster collapse; `straybit_nodes.gossip` says which mechanisms do.
"""

from __future__ import annotations

from collections.abc import Container
from contextlib import suppress
from functools import partial

import msgspec

from straybit import records
from straybit.control import ControlError
from straybit.load import Load
from straybit.observe.alarm import gossip_alarms
from straybit.observe.host import stalled_for
from straybit.rollout import servers
from straybit.run import Run
from straybit.scenarios._july_judge import expectations, story
from straybit.scenarios._july_plan import july_plan, owner_of
from straybit.scenarios.scenario import UNSTEADY, Scenario
from straybit.trial import Trial
from straybit_faults.flip import Flip

__all__ = ["JULY_2008", "July"]

GOLDEN_S = 2.0
"""The workload's stretch before arming that everything is compared with."""
CHASE_EVERY_S = 0.02
FLIPS_S = 12.0
"""For six messages about certain members to come by on certain links."""
DOWN = 0.05
DOWN_S = 5.0
"""Success below `DOWN` in every region for so long: the cluster is down."""
UP = 0.4
UP_S = 4.0
"""Success above `UP` in every region for so long after the last flip: it will not go down any more.

A collapse that begins at once is complete after 1.5 s; one in twenty takes 3 s."""
VERIFY_S = 1.5
"""36 requests, after everything else."""
ENOUGH = 40
"""Requests in a region without which a share of success says nothing."""
WATCH_S = 25.0
ROLLING_S = 5.0
"""For the rolling restart that is tried first, as in 2008, and cannot help; more where a restart takes longer."""
AGAIN_S = 12.0
"""For the cluster to be down again after it: the restarts have emptied every queue, and they fill up first."""
PER_STORAGE = 3.0
"""Requests per second and storage node; a collapse needs 3 to 40."""
SIZE = 1024


class July:
    """One July: what was planned, and what is known so far."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.plan = july_plan(run.topology, run.seed)
        self.flips_s = FLIPS_S * run.pace
        self.balancers = {region: run.balancers(region) for region in run.regions()}
        self.homes: dict[str, str] = {}
        self.last_s = 0.0
        self.down = False
        self.rolled = False
        self.still_down = False
        self.restored = False
        self.sticky = False
        self.verified = 0.0
        self.through = 0.0

    def request(self, region: str, number: int) -> bool:
        """Writes and reads in turn: a new key, then the same again."""
        balancers = self.balancers[region]
        balancer = balancers[number // 2 % len(balancers)]
        key = f"{region}-{number // 2}"
        if number % 2 and key in self.homes:
            return self.run.get(key, balancer=balancer).verdict == "right"
        key = key if number % 2 == 0 else f"{key}-again"
        reply = self.run.put(key, self.run.ledger.payload(key, SIZE), balancer=balancer)
        if reply.ok:
            self.homes[key] = balancer
        return reply.ok

    def bring_about(self, trial: Trial) -> bool:
        """See every flip delivered; whether it was in time.

        The messages that the plan names are made to come by, as natural traffic would bring them one by one:
        the sender asks the owner for news, and tells the receiver.
        Left alone, the last of them would come when the first have long brought the cluster down.
        """
        over: set[Flip] = set()

        def watch() -> bool:
            def all_sent() -> bool:
                over.update(set(trial.flips) - set(trial.unsent()))
                return len(over) == len(trial.flips)

            try:
                return self.run.wait_until(all_sent, self.flips_s)
            finally:
                over.update(trial.flips)

        in_time, *_ = self.run.together(watch, *(partial(self.chase, flip, over) for flip in trial.flips))
        return in_time and trial.wait_delivered(self.flips_s)

    def chase(self, flip: Flip, over: Container[Flip]) -> bool:
        """Have the sender ask the owner and tell the receiver, until its message was sent or its time is over.

        An owner that does not answer any more is not asked again: others pass on what it says.
        """
        control = self.run.cluster.control(flip.link.caller)
        owner_answers = True
        while not self.run.wait_until(lambda: flip in over, CHASE_EVERY_S, every_s=CHASE_EVERY_S):
            with suppress(ControlError):
                owner_answers = owner_answers and control.exchange(owner_of(flip)).ok
                control.exchange(flip.link.callee)
        return True

    def steady_state(self, load: Load) -> tuple[records.Trial, float]:
        """The golden stretch, with a control trial in it: the first flip in all but the bit.

        Answers with the control's record and the golden share of success, of the worse region.
        """
        flip = msgspec.structs.replace(self.plan.flips[0], control=True)
        control = self.run.trial("control", flip, title="the first message as it is")
        control.begin()
        try:
            self.bring_about(control)
            control.settle()
        finally:
            control.revert()
        control.recover()
        golden_s = GOLDEN_S * self.run.pace
        self.run.wait_until(lambda: load.settled_s() - load.started_s >= golden_s, within_s=2 * golden_s)
        return control.finish(), load.worst(load.started_s, load.settled_s())

    def watch(self, load: Load, trial: Trial) -> None:
        """Until the cluster has been down, or up, for long enough."""
        run = self.run
        up_s = UP_S * run.pace

        def decided() -> bool:
            trial.look()
            self.down = self.is_down(load, self.last_s)
            until_s = load.settled_s()
            up = until_s - self.last_s >= up_s and load.worst(until_s - up_s, until_s) >= UP
            return self.down or up

        run.wait_until(decided, WATCH_S * run.pace, every_s=0.25)

    def is_down(self, load: Load, after_s: float) -> bool:
        """Almost nothing of at least `ENOUGH` requests succeeded in any region for so long, all after that second."""
        until_s = load.settled_s()
        since_s = until_s - DOWN_S * self.run.pace
        asked = min(load.success(region, since_s, until_s).total for region in load.regions)
        return since_s >= after_s and asked >= ENOUGH and load.best(since_s, until_s) < DOWN

    def recover(self, load: Load, trial: Trial) -> None:
        """A rolling restart first where the cluster is down; then the recovery that was asked for."""
        run = self.run
        if self.down:
            with run.phase("rolling restart"):
                budget_s = max(ROLLING_S * run.pace, run.cluster.restart_s * len([*servers(run.topology)]))
                self.rolled, _ = run.restore("rolling", budget_s=budget_s)
                after_s = run.now()
                again_s = AGAIN_S * run.pace
                self.still_down = run.wait_until(lambda: self.is_down(load, after_s), again_s, every_s=0.25)
        self.sticky = bool(trial.look())
        if not self.sticky:
            trial.recover()
        elif run.recovery != "none":
            with run.phase(f"{run.recovery} restore"):
                self.restored, began_s = run.restore(run.recovery, budget_s=run.budgets["staged"])
                if self.restored:
                    trial.recover(since_s=began_s, budget="staged")

    @property
    def spoiled(self) -> bool:
        """Whether a host that stood still could be to blame; what is believed needs no clock.

        A stall that cost no request its answer, and no restart or restore its end, spoils nothing.
        """
        if not self.sticky:
            return self.through < 1
        unhelped = self.run.recovery != "none" and not (self.restored and self.verified == 1)
        return unhelped or (self.down and not (self.rolled and self.still_down))

    def verify(self, load: Load) -> None:
        """Whether every request succeeds, once more where it did all along, again where it did not."""
        verify_s = VERIFY_S * self.run.pace
        since_s = self.run.now() - (0.0 if self.sticky else verify_s)
        with self.run.phase("verify"):
            self.run.wait_until(lambda: load.settled_s() - since_s >= verify_s, 4 * verify_s)
        self.verified = load.worst(since_s, load.settled_s())
        self.through = load.worst(load.started_s, load.settled_s())


def _play(run: Run) -> None:
    july = July(run)
    run.create_buckets()
    trial = run.trial("july", *july.plan.flips, title="six single-bit flips in state messages")
    with run.watch_host() as host, run.load(july.request, per_storage=PER_STORAGE / run.pace) as load:
        with run.phase("steady state"):
            control, golden = july.steady_state(load)
        run.record(control)
        if golden < 1:
            what = f"{UNSTEADY}: {golden:.0%} of the requests succeeded in the worse region"
            run.record(records.Error(what=what))
            return
        with run.phase("flips"):
            trial.begin()
            delivered = july.bring_about(trial)
            trial.wait_felt(run.budgets["detected"])
            july.last_s = run.now()
        if delivered:
            with run.phase("watch"):
                july.watch(load, trial)
        trial.revert()
        july.recover(load, trial)
        july.verify(load)
    if host.stalled and july.spoiled:
        trial.doubt(stalled_for(host.late_s))
    run.record_samples(load.samples())
    noticed = trial.noticed_after()
    record = trial.finish(sticky=july.sticky)
    run.record(record)
    for alarm in gossip_alarms(run.cluster, start=run.started):
        run.record(alarm)
    found = run.scan([*july.homes.items()])
    for expectation in expectations(record, noticed, found, through=july.through, verified=july.verified):
        run.record(expectation)
    down_again = july.rolled and july.still_down
    run.record(
        story(record, found, down=july.down, down_again=down_again, restored=july.restored and july.verified == 1)
    )


JULY_2008 = Scenario(
    name="july-2008",
    title="one bit in the gossip: S3 is down for eight hours",
    incident="Amazon S3 Availability Event, July 20, 2008",
    plan=lambda topology, seed: july_plan(topology, seed).lines(),
    play=_play,
    not_tested=(
        "bits of version, generation, status and load, and the bits that decide whether a check runs",
        "damage from before a message's checksum was made",
        "more than one region's operators restoring at the same time",
    ),
)
