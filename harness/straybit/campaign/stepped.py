"""One stepped trial: the same script on every stage, from nobody knowing anybody to exactly one outcome.

Theory of operation.
A message means the same twice only when everything before it was the same.
So members are cleared, introduced and beaten in a fixed order, the flip is armed, and one exchange carries it.
Then rings of exchanges, in an order that the seed decides, give the damage its chances to spread,
with a look at all views after each of them.
One more heartbeat of every owner shows whether it says again what it was taught.
Exchanges as requests need them show what would be lost; a rolling restart shows what survives it.
Where nothing was seen, an ordinary bad day brings out what is latent: the hit member dies and returns, then all others.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import msgspec

from straybit import records
from straybit.campaign import script
from straybit.campaign.spec import TrialSpec, stepped_again
from straybit.campaign.stage import Stage, StageError
from straybit.campaign.watch import Watch
from straybit.oracle import Originated, Wrong, wrong_values
from straybit.outcome import Evidence, Outcome, by_luck, judge
from straybit.records import Detection, Local, TrialKind, TrialPhases
from straybit_faults.flip import Flip
from straybit_faults.receipt import Receipt
from straybit_faults.wire import Direction
from straybit_nodes.gossip.messages import UP
from straybit_nodes.topology import GENERATION

__all__ = ["TRIES", "rehearse", "run_trial", "run_tries"]

TRIES = 3
"""Of one trial, when the host fails it."""


def run_trial(spec: TrialSpec, stage: Stage) -> records.Trial:
    """Play `spec` on `stage`, whatever was on it before, and judge. Raises FlipIdError for flips that cannot be.

    A host that fails in the middle makes the trial INVALID, with the reason.
    """
    return _played(spec, stage).record()


def run_tries(spec: TrialSpec, stage: Stage) -> tuple[records.Trial, ...]:
    """Every try of `spec`, the one that counts last: a trial that the host failed is played again, at most twice."""
    tries: list[records.Trial] = []
    while len(tries) < TRIES:
        play = _played(spec, stage)
        tries.append(play.record())
        if not play.host_failed:
            break
    return tuple(tries)


def _played(spec: TrialSpec, stage: Stage) -> _Play:
    play = _Play(spec, spec.parsed(), stage)
    try:
        play.all()
    except StageError as error:
        play.fail(f"the host failed: {error}")
    return play


def rehearse(stage: Stage, caller: str, callee: str) -> dict[str, int]:
    """Bring a fresh stage to where a flip on that link is armed; answers with each member's heartbeats."""
    members = stage.members
    stage.fresh()
    for pair in script.introductions(members):
        stage.exchange(*pair)
    beats = script.first_beats(members)
    for name, count in beats.items():
        for _ in range(count):
            stage.heartbeat(name)
    for pair in script.bystanders_first(members, caller, callee):
        stage.exchange(*pair)
    return dict(beats)


class _Play:
    """One trial under way."""

    def __init__(self, spec: TrialSpec, flips: tuple[Flip, ...], stage: Stage) -> None:
        self.spec = spec
        self.flips = flips
        self.stage = stage
        self.members = stage.members
        self.addresses = {m.name: m.address for m in script.topology(len(stage.members)).members()}
        link = flips[0].link
        self.caller, self.callee = link.caller, link.callee
        self.hit = self.callee if flips[0].direction is Direction.UP else self.caller
        self.watch = Watch(self.hit)
        self.doubt = ""
        self.host_failed = False
        self.beats: dict[str, int] = {}
        self.receipts: tuple[Receipt, ...] = ()
        self.felt: dict[int, float] = {}
        self.noticed: tuple[Detection, ...] = ()
        self.degraded: list[str] = []
        self.crashed: tuple[str, ...] = ()
        self.hung: tuple[str, ...] = ()
        self.began = self.ended = 0.0
        self.sticky = self.survives = self.latent = False
        self.legs = self.legs_lost = 0

    def fail(self, why: str) -> None:
        """The trial proves nothing, and the host is to blame: it may be tried again."""
        self.doubt = self.doubt or why
        self.host_failed = True

    def all(self) -> None:
        """Every phase, in order."""
        self.beats = rehearse(self.stage, self.caller, self.callee)
        if wrong := self._wrong():
            self.fail(f"before the flip {wrong[0].holder} held {wrong[0].owner}.{wrong[0].field} wrong")
            return
        self.began = self.stage.now()
        self.strike()
        if self.doubt:
            return
        self.quiet()
        self.requests()
        self.late()
        self.noticed = self.stage.noticed()
        self.crashed = self.stage.exits()
        self.ended = self.stage.now()

    def strike(self) -> None:
        """Arm, let the one exchange carry it, disarm."""
        self.stage.arm(self.flips)
        try:
            carried = self.stage.exchange(self.caller, self.callee)
            self.receipts = self.stage.receipts()
            self.felt = dict(self.stage.felt())
        finally:
            self.stage.disarm()
        self._look(self.caller, self.callee)
        if len(self.receipts) < len(self.flips):
            came = ", ".join(f"{count} {kind}" for kind, count in sorted(self.stage.came().items())) or "nothing"
            self.doubt = f"no message came that matches {self._unsent()}; what came: {came}"
            if not carried and not self.receipts:
                self.fail("the exchange failed before any flip was in it")
        elif any(receipt.delivered is None for receipt in self.receipts):
            self.fail("a flip was sent, and its receiver never acknowledged it")

    def quiet(self) -> None:
        """Rings, then a heartbeat of every owner and one ring more: what is wrong then, sticks."""
        for number in range(self.spec.setup.rounds):
            self._ring(number)
        for name in self.members:
            self._beat(name)
        self._ring(self.spec.setup.rounds)
        self.sticky = bool(self.watch.now)
        self.hung = self.stage.silent()
        for name, marked in self.stage.marked().items():
            self.degraded += [f"{name} holds {peer} for failed" for peer in sorted(marked)]

    def requests(self) -> None:
        """Exchanges that requests would wait for; one that fails is a request leg lost."""
        for caller, peer in script.legs(self.members, self.spec.setup.seed):
            if caller not in self.hung:
                self.legs += 1
                self.legs_lost += not self.stage.exchange(caller, peer)

    def late(self) -> None:
        """What survives a restart, or comes out by one; only where that is the open question."""
        if self.sticky:
            self._restart(self.members)
            self.survives = bool(self._wrong())
        elif self.spec.setup.aftershock and self._nothing_seen():
            self._bad_day()
            self.latent = bool(self.watch.ever)

    def _nothing_seen(self) -> bool:
        troubled = self.watch.ever or self.degraded or self.hung or self.legs_lost
        return not (troubled or self.stage.exits() or self.stage.noticed())

    def _bad_day(self) -> None:
        others = [name for name in self.members if name != self.hit]
        self.stage.kill(self.hit)
        for pair in itertools.pairwise(others):
            self.stage.exchange(*pair)
        self._start(self.hit)
        self._step(self.hit, others[0])
        self._restart(others)
        self._ring(self.spec.setup.rounds + 1)

    def _restart(self, names: Sequence[str]) -> None:
        """A rolling restart: each ends, returns, and talks to the two beside it."""
        for name in names:
            at = self.members.index(name)
            self.stage.kill(name)
            self._start(name)
            for step in (1, 2):
                peer = self.members[(at + step) % len(self.members)]
                if peer != name:
                    self._step(name, peer)

    # -- steps ---------------------------------------------------------------------------------------------

    def _ring(self, number: int) -> None:
        for pair in script.ring(self.members, self.spec.setup.seed, number):
            self._step(*pair)

    def _step(self, caller: str, peer: str) -> None:
        self.stage.exchange(caller, peer)
        self._look(caller, peer)

    def _start(self, name: str) -> None:
        """A member returns; what it brings from its disk is looked at before anybody heals it."""
        self.stage.start(name)
        self.watch.look(self._wrong())

    def _beat(self, name: str) -> None:
        self.stage.heartbeat(name)
        self.beats[name] += 1

    def _look(self, caller: str, peer: str) -> None:
        self.watch.look(self._wrong(), (caller, peer))

    def _wrong(self) -> tuple[Wrong, ...]:
        beats = self.beats
        truth = {name: Originated(at, UP, GENERATION, beats[name]) for name, at in self.addresses.items()}
        return wrong_values(self.stage.views(), truth)

    def _unsent(self) -> str:
        sent = {receipt.flip for receipt in self.receipts}
        return next((str(flip) for flip in self.flips if str(flip) not in sent), str(self.flips[0]))

    # -- judging -------------------------------------------------------------------------------------------

    def record(self) -> records.Trial:
        """The trial as the journal holds it; times count from the moment of arming."""
        evidence = self._evidence()
        outcome = judge(evidence)
        sent = [receipt.sent for receipt in self.receipts if receipt.sent is not None]
        return records.Trial(
            id=self.spec.id,
            kind=TrialKind.CONTROL if all(flip.control for flip in self.flips) else TrialKind.FAULT,
            outcome=outcome,
            why=self._why(evidence, outcome),
            flips=self.spec.flips,
            at_s=round(min(sent) - self.began, 6) if sent else None,
            receipts=tuple(self._receipts()),
            detected_by=evidence.detected_by,
            detections=tuple(self._since(self.noticed)),
            by_luck=by_luck(evidence.detected_by),
            phases=self._phases(sent),
            local=self._local(evidence),
            blast_radius=len(self.watch.reached),
            reached=self.watch.reached,
            depth=self.watch.depth,
            sticky=self.sticky,
            half_life=self.watch.half_life,
            survives_restart=self.survives,
            requests=self.legs,
            requests_lost=self.legs_lost,
            replay=stepped_again(self.spec, self.stage.backend),
        )

    def _evidence(self) -> Evidence:
        return Evidence(
            delivered=not self.doubt and bool(self.receipts),
            golden_ok=not self.doubt,
            spread=0 if self.latent else len(self.watch.reached),
            latent=self.latent,
            adopted=self.watch.adopted,
            detected_by=tuple(sorted({detection.by for detection in self.noticed})),
            crashed=self.crashed,
            hung=bool(self.hung),
            degraded=tuple(self.degraded),
        )

    def _why(self, evidence: Evidence, outcome: Outcome) -> str:
        if outcome is Outcome.INVALID:
            return self.doubt or "the flip was not delivered"
        if self.watch.ever:
            return self.watch.example()
        if self.crashed or self.hung:
            return f"ended: {', '.join(self.crashed) or 'none'}; silent: {', '.join(self.hung) or 'none'}"
        if self.degraded:
            return "; ".join(self.degraded)
        noticed = ", ".join(evidence.detected_by)
        return f"noticed by {noticed}, and nothing wrong was adopted" if noticed else "nobody noticed, nothing differs"

    def _local(self, evidence: Evidence) -> Local:
        if self.hit in self.crashed:
            return Local.CRASHED
        if self.hit in self.hung:
            return Local.HUNG
        if evidence.adopted:
            return Local.ADOPTED
        return Local.REFUSED if evidence.detected_by else Local.IGNORED

    def _phases(self, sent: list[float]) -> TrialPhases:
        if not sent:
            return TrialPhases()
        seen = [d.at_s for d in self.noticed if d.at_s is not None]
        return TrialPhases(
            felt_s=round(max(self.felt.values()) - min(sent), 6) if self.felt else None,
            detected_s=round(max(min(seen) - min(sent), 0.0), 6) if seen else None,
        )

    def _receipts(self) -> Iterable[records.Receipt]:
        for receipt in self.receipts:
            seen = msgspec.structs.replace(receipt, felt=self.felt.get(receipt.seq))
            yield records.Receipt.from_proxy(msgspec.to_builtins(seen), self.began)

    def _since(self, detections: Iterable[Detection]) -> Iterable[Detection]:
        for detection in detections:
            at_s = None if detection.at_s is None else round(detection.at_s - self.began, 6)
            yield msgspec.structs.replace(detection, at_s=at_s)
