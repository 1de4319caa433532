"""One trial on a live cluster: steady, armed, felt, detected, reverted, recovered, and then exactly one outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

import msgspec

from straybit import records
from straybit.budgets import budgets_with
from straybit.cluster import Cluster
from straybit.faults import toxic_of
from straybit.oracle import Wrong
from straybit.outcome import Evidence, Outcome, by_luck, judge
from straybit.records import Detection, Local, TrialKind, TrialPhases
from straybit.steady import NotSteadyError, wait_steady
from straybit.traffic import Answer, Traffic, quiet_step, traffic_for
from straybit.waiting import wait_until
from straybit.witness import Witness, since
from straybit_faults.flip import Flip

__all__ = ["InvalidTrial", "Trial", "TrialFailed"]

QUIET_S = 1.0
"""After the flip was felt: six rounds of gossip, in which what was adopted would spread."""
LOOK_EVERY_S = 0.02
SENT_BUDGET_S = 5.0
"""For the message that a flip is aimed at to come by; beyond it the trial is INVALID."""


class TrialFailed(AssertionError):
    """An expectation of a trial was not met; the message says what was seen instead."""


class InvalidTrial(TrialFailed):
    """The trial proves nothing: the flip was not delivered, or the cluster was not steady before it."""


class Trial:
    """Arms `flips` on entering, drives traffic over their links, reverts on leaving, and judges.

    Every time is on one monotonic clock; `start` is the second that the record's times count from.
    `traffic` replaces what suits the first flip's link, `steady` the question whether the cluster is clean before.
    `drive` False leaves traffic to whoever runs the load.
    """

    def __init__(
        self,
        cluster: Cluster,
        *flips: Flip,
        id: str = "t1",
        budgets: dict[str, float] | None = None,
        traffic: Traffic | None = None,
        steady: Callable[[Cluster], Iterable[str]] | None = None,
        drive: bool = True,
        start: float | None = None,
        title: str = "",
        replay: str = "",
    ) -> None:
        self.id = id
        self.flips = flips
        self.budgets = budgets_with(budgets or {})
        self.record: records.Trial | None = None
        self._title = title
        self._replay = replay
        self._cluster = cluster
        self._start = time.monotonic() if start is None else start
        self._drive = drive
        self._traffic = traffic
        self._steady = steady
        self._toxics = {f"{id}-{number}": toxic_of(flip, cluster.topology) for number, flip in enumerate(flips)}
        self._armed: list[tuple[str, str]] = []
        self._witness = Witness(cluster, list(self._toxics.values()), list(self._toxics))
        self._doubt = ""
        self._hung: tuple[str, ...] = ()
        self._sticky = False
        self._reverted: float | None = None
        self._recovered_s: float | None = None
        self._recovery = "recovered"

    # -- the phases ----------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if kind is None:
                self.settle()
        finally:
            self.revert()
        if kind is None:
            self.recover()
            self.finish()
            self._require_valid()

    def begin(self) -> None:
        """Prove the cluster clean and arm every flip. A cluster that is not clean makes the trial INVALID."""
        if self._drive and self._traffic is None:
            self._traffic = traffic_for(self._cluster, self.flips[0].link, name=self.id)
        doubts = tuple(self._steady(self._cluster)) if self._steady else self._cluster.doubts()
        if doubts:
            self._doubt = f"the cluster was not steady before the flip: {doubts[0]}"
        for name, toxic in self._toxics.items():
            options: dict[str, Any] = {"stream": toxic.stream, "name": name}
            self._cluster.proxy.add_toxic(toxic.link, toxic.kind, toxic.attributes, **options)
            self._armed.append((toxic.link, name))

    def settle(self) -> None:
        """See the flips delivered and felt, and give what they did the quiet time to show."""
        if self.wait_delivered(SENT_BUDGET_S):
            self.wait_felt(self.budgets["detected"])
            wait_until(lambda: bool(self.look()) and False, QUIET_S, every_s=QUIET_S / 5)

    def revert(self) -> None:
        """Take every toxic away; safe to call twice."""
        while self._armed:
            self._cluster.proxy.remove_toxic(*self._armed.pop())
        if self._reverted is None:
            self._reverted = time.monotonic()

    def recover(self, *, since_s: float | None = None, budget: str = "recovered") -> None:
        """Wait until the cluster is steady again, at most for the budget and as long again.

        `since_s` is the second of the run that recovery counts from: the revert, unless a restore began later.
        """
        self._recovery = budget
        began = self._reverted if since_s is None else since_s + self._start
        try:
            steady = wait_steady(self._cluster, budget_s=2 * self.budgets[budget])
            self._recovered_s = round(max(0.0, steady.since - (began or steady.since)), 6)
        except NotSteadyError as error:
            self._hung = tuple(text for text in error.missing if "silent" in text)
            self._sticky = bool(self.look())

    def finish(self, *, sticky: bool | None = None) -> records.Trial:
        """Judge what was seen and keep the record; `sticky` says so where somebody else watched for it."""
        if self._traffic is not None:
            self._traffic.scan()
        if sticky is not None:
            self._sticky = sticky
        evidence = self._evidence()
        self.record = self._recorded(evidence, judge(evidence))
        if self._traffic is not None:
            self._traffic.close()
        return self.record

    # -- waiting for evidence ------------------------------------------------------------------------------

    def wait_delivered(self, within_s: float) -> bool:
        """Whether every flip left the proxy and was acknowledged in time; drives traffic until then."""

        def done() -> bool:
            if self._witness.delivered():
                return True
            if self._drive and self._traffic is not None and self._witness.unsent():
                quiet_step(self._traffic)
                return self._witness.delivered()
            return False

        return wait_until(done, within_s, every_s=LOOK_EVERY_S)

    def unsent(self) -> tuple[Flip, ...]:
        """Flips that have found no message yet; asks the proxy."""
        self._witness.delivered()
        left = self._witness.unsent()
        return tuple(flip for name, flip in zip(self._toxics, self.flips, strict=True) if name in left)

    def wait_felt(self, within_s: float) -> bool:
        """Whether every receiver shows that it took the flipped message in time."""
        return wait_until(self._witness.all_felt, within_s, every_s=LOOK_EVERY_S)

    def wait_detected(self, within_s: float, by: str | None = None) -> bool:
        """Whether somebody (the defence `by`) noticed every flipped message in time."""
        return wait_until(lambda: self._witness.all_detected(by), within_s, every_s=LOOK_EVERY_S)

    def look(self) -> tuple[Wrong, ...]:
        """Values that are wrong in some view now; remembered for the verdict."""
        return self._witness.look()

    # -- expectations, for tests ---------------------------------------------------------------------------

    def expect_detected(self, *, by: str, within_s: float) -> None:
        """The defence `by` noticed every flipped message within so many seconds of its being sent.

        Raises InvalidTrial when nothing was delivered, TrialFailed when nobody noticed, or somebody else, or late.
        """
        if self.record is None and self.wait_delivered(SENT_BUDGET_S):
            self.wait_detected(within_s, by)
        self._require_valid()
        found = [d for d in self._detections() if d.by == by]
        if not found:
            others = ", ".join(sorted({d.by for d in self._detections()})) or "nobody"
            raise TrialFailed(self._say(f"{by} did not notice within {within_s:g} s; {others} did"))
        took_s = (found[0].at_s or 0.0) - (self._witness.sent() or 0.0)
        if took_s > within_s:
            raise TrialFailed(self._say(f"{by} noticed after {took_s:.2f} s, later than {within_s:g} s"))

    def expect_contained(self) -> None:
        """No node but the receiver ever held a wrong value. Raises TrialFailed, naming those that did."""
        self._require_valid()
        if reached := self._witness.reached():
            raise TrialFailed(self._say(f"the damage spread to {', '.join(reached)}: {self._witness.example()}"))

    def expect_recovered(self, *, within_s: float) -> None:
        """Steady again within so many seconds of the revert. Raises TrialFailed."""
        self._require_valid()
        took_s = self._recovered_s
        if took_s is None or took_s > within_s:
            seen = "never steady again" if took_s is None else f"steady again after {took_s:.2f} s"
            raise TrialFailed(self._say(f"{seen}, expected within {within_s:g} s"))

    def expect_outcome(self, *outcomes: Outcome | str) -> None:
        """The trial, once it is over, ended in one of these outcomes. Raises TrialFailed."""
        if self.record is None:
            raise TrialFailed("an outcome is known when the trial is over: ask behind the `with` block")
        if self.record.outcome not in {Outcome(outcome) for outcome in outcomes}:
            raise TrialFailed(self._say(f"outcome {self.record.outcome}: {self.record.why}"))

    def _require_valid(self) -> None:
        if why := self._invalid():
            raise InvalidTrial(self._say(f"INVALID: {why}"))

    def _invalid(self) -> str:
        if self._doubt or self._witness.delivered():
            return self._doubt
        unsent = sorted(self._witness.unsent())
        if unsent:
            return f"no message came that matches {self.flips[list(self._toxics).index(unsent[0])]}"
        return "a flip was sent, and its receiver never acknowledged it"

    def _say(self, text: str) -> str:
        lines = [
            text,
            *(f"flip: {flip}" for flip in self.flips),
            *([f"replay: {self._replay}"] if self._replay else []),
        ]
        return "\n".join(lines)

    # -- the verdict ---------------------------------------------------------------------------------------

    def _answers(self) -> tuple[Answer, ...]:
        return self._traffic.answers() if self._traffic is not None else ()

    def _detections(self) -> tuple[Detection, ...]:
        return self._witness.detections(self._answers())

    def _evidence(self) -> Evidence:
        limit_s = self.budgets[self._recovery]
        late = self._recovered_s is not None and self._recovered_s > limit_s
        wrong = [a for a in self._answers() if a.verdict in {"wrong", "lost"}]
        return Evidence(
            delivered=self._witness.delivered(),
            golden_ok=not self._doubt,
            spread=len(self._witness.reached()),
            adopted=self._witness.adopted(),
            served=any(not answer.reply.noticed_by for answer in wrong),
            detected_by=tuple(sorted({d.by for d in self._detections()})),
            crashed=self._witness.crashed(),
            hung=bool(self._hung),
            degraded=(f"steady again after {self._recovered_s:.2f} s, over {limit_s:g} s",) if late else (),
            recovered=self._recovered_s is not None,
        )

    def _recorded(self, evidence: Evidence, outcome: Outcome) -> records.Trial:
        sent = self._witness.sent()
        reached = self._witness.reached()
        return records.Trial(
            id=self.id,
            kind=TrialKind.CONTROL if all(f.control for f in self.flips) else TrialKind.FAULT,
            title=self._title,
            outcome=outcome,
            why=self._why(evidence, outcome),
            flips=tuple(str(flip) for flip in self.flips),
            at_s=None if sent is None else round(sent - self._start, 6),
            receipts=tuple(self._receipts()),
            detected_by=evidence.detected_by,
            detections=since(self._start, self._detections()),
            by_luck=by_luck(evidence.detected_by),
            phases=self._phases(sent),
            budgets=self.budgets,
            local=_local(evidence),
            blast_radius=len(reached),
            reached=reached,
            depth=1 if reached else 0,
            sticky=self._sticky,
            replay=self._replay,
        )

    def _receipts(self) -> Iterable[records.Receipt]:
        for receipt in self._witness.receipts:
            seen = msgspec.structs.replace(receipt, felt=self._witness.felt.get(receipt.seq))
            yield records.Receipt.from_proxy(msgspec.to_builtins(seen), self._start)

    def _phases(self, sent: float | None) -> TrialPhases:
        if sent is None:
            return TrialPhases()
        felt = max(self._witness.felt.values(), default=None)
        seen = [d.at_s for d in self._detections() if d.at_s is not None]
        return TrialPhases(
            felt_s=None if felt is None else round(felt - sent, 6),
            detected_s=round(min(seen) - sent, 6) if seen else None,
            reverted_s=None if self._reverted is None else round(self._reverted - sent, 6),
            recovered_s=self._recovered_s,
        )

    def _why(self, evidence: Evidence, outcome: Outcome) -> str:
        if outcome is Outcome.INVALID:
            return self._invalid()
        if self._witness.wrong:
            return self._witness.example()
        if evidence.degraded or not evidence.recovered:
            return "; ".join(evidence.degraded) or "never steady again"
        noticed = ", ".join(evidence.detected_by)
        return f"noticed by {noticed}, and nothing wrong was adopted" if noticed else "nobody noticed, nothing differs"


def _local(evidence: Evidence) -> Local:
    if evidence.crashed:
        return Local.CRASHED
    if evidence.adopted:
        return Local.ADOPTED
    return Local.REFUSED if evidence.detected_by else Local.IGNORED
