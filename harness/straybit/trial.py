"""One trial on a live cluster: steady, armed, felt, detected, reverted, recovered, and then exactly one outcome.

Every time is on one monotonic clock.
The trial trusts nothing but evidence: a receipt of the proxy that the message was sent and acknowledged,
the receiver's own count of frames, logs that name the message's checksum or the request,
and each node's view against what its owner originated.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any

import msgspec
import tenacity

from straybit import records
from straybit.budgets import budgets_with
from straybit.cluster import Cluster
from straybit.control import ControlError
from straybit.faults import toxic_of
from straybit.observe import Observation
from straybit.observe.felt import felt
from straybit.oracle import Wrong, wrong_values
from straybit.outcome import Evidence, Outcome, by_luck, judge
from straybit.records import Detection, Local, TrialKind, TrialPhases
from straybit.steady import NotSteadyError, wait_steady
from straybit.traffic import Answer, Traffic, quiet_step, traffic_for
from straybit_faults.flip import Flip
from straybit_faults.receipt import Receipt
from straybit_faults.wire import Direction

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

    `clock` gives seconds of the run (by default since the trial began).
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
        quiet_s: float = QUIET_S,
        title: str = "",
        replay: str = "",
    ) -> None:
        self.id = id
        self.flips = flips
        self.kind = TrialKind.CONTROL if flips and all(f.control for f in flips) else TrialKind.FAULT
        self.budgets = budgets_with(budgets or {})
        self.title = title
        self.replay = replay
        self._cluster = cluster
        self._start = time.monotonic() if start is None else start
        self._quiet_s = quiet_s
        self._drive = drive
        self._traffic = traffic
        self._steady = steady
        self._toxics = [toxic_of(flip, cluster.topology) for flip in flips]
        self._felt: dict[int, float] = {}
        self._wrong: set[Wrong] = set()
        self._receipts: tuple[Receipt, ...] = ()
        self._why_invalid = ""
        self._armed: list[tuple[str, str]] = []
        self._mark = 0
        self._exits_before = 0
        self._reverted: float | None = None
        self._recovered: float | None = None
        self._recovery_from: float | None = None
        self._recovery_budget = "recovered"
        self._sticky = False
        self._hung: list[str] = []
        self.record: records.Trial | None = None

    # -- the phases ----------------------------------------------------------------------------------------

    def __enter__(self) -> Trial:
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
            if self.finish().outcome is Outcome.INVALID:
                self._require_valid()

    def begin(self) -> None:
        """Prove the cluster clean and arm every flip. A cluster that is not clean makes the trial INVALID."""
        doubts = tuple(self._steady(self._cluster)) if self._steady else self._cluster.doubts()
        if doubts:
            self._why_invalid = f"the cluster was not steady before the flip: {doubts[0]}"
        self._mark = self._cluster.observers.mark()
        self._exits_before = len(self._cluster.exits())
        for number, toxic in enumerate(self._toxics):
            name = f"{self.id}-{number}"
            options: dict[str, Any] = {"stream": toxic.stream, "name": name}
            self._cluster.proxy.add_toxic(toxic.link, toxic.kind, toxic.attributes, **options)
            self._armed.append((toxic.link, name))

    def settle(self) -> None:
        """See the flips sent, delivered and felt, and give what they did the quiet time to show."""
        if self.wait_delivered(SENT_BUDGET_S):
            self.wait_felt(self.budgets["detected"])
            self.wait_detected(0)
            self.look_for(self._quiet_s)

    def revert(self) -> None:
        """Take every toxic away; safe to call twice."""
        while self._armed:
            self._cluster.proxy.remove_toxic(*self._armed.pop())
        if self._reverted is None:
            self._reverted = time.monotonic()

    def recover(self, *, since_s: float | None = None, budget: str = "recovered") -> None:
        """Wait until the cluster is steady again, at most for the budget and as long again.

        `since_s` is the run's second that recovery counts from: the revert, unless a restore began later.
        """
        self._recovery_budget = budget
        self._recovery_from = self._reverted if since_s is None else since_s + self._start
        try:
            steady = wait_steady(self._cluster, budget_s=2 * self.budgets[budget])
            self._recovered = steady.since
        except NotSteadyError as error:
            self._hung = [text for text in error.missing if "silent" in text]
            self.look()
            self._sticky = bool(self._wrong)

    # -- waiting for evidence ------------------------------------------------------------------------------

    @property
    def receipts(self) -> tuple[Receipt, ...]:
        """What the proxy says it did, oldest first."""
        names = {f"{self.id}-{number}" for number in range(len(self.flips))}
        found: list[Receipt] = []
        for link in sorted({toxic.link for toxic in self._toxics}):
            found += [r for r in self._cluster.proxy.receipts(link) if r.toxic in names]
        self._receipts = tuple(sorted(found, key=lambda r: r.seq))
        return self._receipts

    def wait_delivered(self, within_s: float) -> bool:
        """Whether every flip left the proxy and was acknowledged in time."""
        return self._wait(self._delivered, within_s, step=self._step if self._drive else None)

    def wait_felt(self, within_s: float) -> bool:
        """Whether every receiver shows that it took the flipped message in time."""
        return self._wait(self._all_felt, within_s)

    def wait_detected(self, within_s: float, by: str | None = None) -> bool:
        """Whether somebody (the defence `by`) noticed every flipped message in time."""
        return self._wait(lambda: self._all_detected(by), within_s)

    def look(self) -> tuple[Wrong, ...]:
        """Values that are wrong in some view now; remembered for the verdict."""
        views = self._cluster.views()
        originated = self._cluster.originated()
        known = {name: view.entries for name, view in views.items() if not isinstance(view, ControlError)}
        now = wrong_values(known, originated)
        self._wrong.update(now)
        return now

    def look_for(self, seconds: float) -> None:
        """Look at every view again and again for so long."""
        self._wait(lambda: bool(self.look()) and False, seconds, every_s=0.2)

    def detections(self) -> tuple[Detection, ...]:
        """Who noticed one of this trial's messages or requests, in order of time."""
        return tuple(sorted(self._detections(), key=lambda d: d.at_s or 0.0))

    # -- expectations, for tests ---------------------------------------------------------------------------

    def expect_detected(self, *, by: str, within_s: float) -> None:
        """The defence `by` noticed every flipped message within so many seconds of its being sent.

        Raises InvalidTrial when nothing was delivered, TrialFailed when nobody noticed, or somebody else, or late.
        """
        if self.record is None and self.wait_delivered(SENT_BUDGET_S):
            self.wait_detected(within_s, by)
        self._require_valid()
        found = [d for d in self.detections() if d.by == by]
        if not found or not self._all_detected(by):
            others = ", ".join(sorted({d.by for d in self.detections()})) or "nobody"
            raise TrialFailed(self._say(f"{by} did not notice within {within_s:g} s; {others} did"))
        took_s = (found[0].at_s or 0.0) - self._sent_s()
        if took_s > within_s:
            raise TrialFailed(self._say(f"{by} noticed after {took_s:.2f} s, later than {within_s:g} s"))

    def expect_contained(self) -> None:
        """No node but the receiver ever held a wrong value. Raises TrialFailed, naming those that did."""
        self._require_valid()
        if self.record is None:
            self.look()
        reached = self._reached()
        if reached:
            raise TrialFailed(self._say(f"the damage spread to {', '.join(reached)}: {self._example(reached[0])}"))

    def expect_recovered(self, *, within_s: float) -> None:
        """Steady again within so many seconds of the revert. Raises TrialFailed."""
        self._require_valid()
        took_s = self._recovered_s()
        if took_s is None or took_s > within_s:
            seen = "never steady again" if took_s is None else f"steady again after {took_s:.2f} s"
            raise TrialFailed(self._say(f"{seen}, expected within {within_s:g} s"))

    def expect_outcome(self, *outcomes: Outcome | str) -> None:
        """The trial, once it is over, ended in one of these outcomes. Raises TrialFailed."""
        wanted = {Outcome(outcome) for outcome in outcomes}
        if self.record is None:
            raise TrialFailed("an outcome is known when the trial is over: ask behind the `with` block")
        if Outcome.INVALID not in wanted:
            self._require_valid()
        if self.record.outcome not in wanted:
            raise TrialFailed(self._say(f"outcome {self.record.outcome} ({self.record.why})"))

    # -- the verdict ---------------------------------------------------------------------------------------

    def finish(self, *, sticky: bool | None = None) -> records.Trial:
        """Judge what was seen, once, and keep the record. Raises InvalidTrial for an INVALID trial that was driven."""
        self._answers = self._traffic.scan() if self._traffic is not None else ()
        if self._traffic is not None:
            self._traffic.close()
        if sticky is not None:
            self._sticky = sticky
        evidence = self._evidence()
        outcome = judge(evidence)
        self.record = self._recorded(evidence, outcome)
        return self.record

    def _evidence(self) -> Evidence:
        detected = tuple(sorted({d.by for d in self.detections()}))
        hit = self._receivers()
        served = any(a.verdict in {"wrong", "lost"} and not a.reply.noticed_by for a in self._seen_answers())
        late = self._recovered_s()
        over = late is not None and late > self.budgets[self._recovery_budget]
        crashed = tuple(e.service for e in self._cluster.exits()[self._exits_before :])
        return Evidence(
            delivered=self._delivered(),
            golden_ok=not self._why_invalid,
            spread=len(self._reached()),
            adopted=any(w.holder in hit for w in self._wrong),
            served=served,
            detected_by=detected,
            crashed=crashed,
            hung=bool(self._hung),
            degraded=(f"recovered after {late:.2f} s",) if over else (),
            recovered=self._recovered is not None,
        )

    def _recorded(self, evidence: Evidence, outcome: Outcome) -> records.Trial:
        reached = self._reached()
        local = Local.ADOPTED if evidence.adopted else Local.REFUSED if evidence.detected_by else Local.IGNORED
        return records.Trial(
            id=self.id,
            kind=self.kind,
            title=self.title,
            outcome=outcome,
            why=self._why(evidence, outcome),
            flips=tuple(str(flip) for flip in self.flips),
            at_s=self._sent_s() - self._start if self._receipts else None,
            receipts=tuple(self._receipt(r) for r in self._receipts),
            detected_by=evidence.detected_by,
            detections=tuple(
                msgspec.structs.replace(d, at_s=None if d.at_s is None else round(d.at_s - self._start, 6))
                for d in self.detections()
            ),
            by_luck=by_luck(evidence.detected_by),
            phases=self._phases(),
            budgets=self.budgets,
            local=Local.CRASHED if evidence.crashed else local,
            blast_radius=len(reached),
            reached=reached,
            depth=1 if reached else 0,
            sticky=self._sticky,
            replay=self.replay,
        )

    def _why(self, evidence: Evidence, outcome: Outcome) -> str:
        if outcome is Outcome.INVALID:
            return self._invalid() or "the flip was not delivered"
        if self._wrong:
            return self._example(sorted(w.holder for w in self._wrong)[0])
        if evidence.detected_by:
            return f"noticed by {', '.join(evidence.detected_by)}"
        return "nothing differs, and nobody noticed" if outcome is Outcome.MASKED else "; ".join(evidence.degraded)

    def _phases(self) -> TrialPhases:
        if not self._receipts:
            return TrialPhases()
        sent = self._sent_s()
        felt = max(self._felt.values(), default=None)
        seen = [d.at_s for d in self.detections() if d.at_s is not None]
        return TrialPhases(
            felt_s=None if felt is None else round(felt - sent, 6),
            detected_s=round(min(seen) - sent, 6) if seen else None,
            reverted_s=None if self._reverted is None else round(self._reverted - sent, 6),
            recovered_s=self._recovered_s(),
        )

    # -- evidence, piece by piece --------------------------------------------------------------------------

    def _step(self) -> None:
        if self._traffic is None:
            self._traffic = traffic_for(self._cluster, self.flips[0].link, name=self.id)
        quiet_step(self._traffic)

    def _delivered(self) -> bool:
        found = self.receipts
        return len(found) >= len(self.flips) and all(r.delivered is not None for r in found)

    def _all_felt(self) -> bool:
        for receipt in self._receipts:
            if receipt.seq not in self._felt and (moment := self._felt_at(receipt)) is not None:
                self._felt[receipt.seq] = moment
        return len(self._felt) == len(self._receipts)

    def _felt_at(self, receipt: Receipt) -> float | None:
        if receipt.crc is not None:
            frame = felt(self._cluster.control(self._receiver(receipt)), receipt.crc, 0)
            return frame.t if frame else None
        lines = self._cluster.observers.seen("request", since=self._mark)
        return next((o.t for o in lines if _identity(o) == receipt.identity and o.t >= (receipt.sent or 0)), None)

    def _all_detected(self, by: str | None) -> bool:
        found = {d.detail for d in self.detections() if by in (None, d.by)}
        return bool(self._receipts) and all(_key(r) in found for r in self._receipts)

    def _detections(self) -> Iterator[Detection]:
        keys = {_key(receipt) for receipt in self._receipts}
        for seen in self._cluster.observers.seen(since=self._mark):
            key = _noticed(seen)
            if key in keys:
                by = "parse" if seen.kind == "parse-error" else str(seen.fields["defence"])
                yield Detection(by=by, service=seen.source, at_s=seen.t, detail=key)
        for answer in self._seen_answers():
            if answer.identity in keys and answer.reply.noticed_by:
                yield Detection(by=answer.reply.noticed_by, service="client", detail=answer.identity)

    def _seen_answers(self) -> tuple[Answer, ...]:
        return self._traffic.answers() if self._traffic is not None else ()

    def _receivers(self) -> set[str]:
        """Members that took a flipped message, and the storage node that such a member speaks for."""
        return {name for receipt in self._receipts for name in self._server(self._receiver(receipt))}

    def _receiver(self, receipt: Receipt) -> str:
        caller, _, callee = receipt.proxy.partition(":")
        return callee if receipt.direction == Direction.UP else caller

    def _member(self, name: str) -> str:
        return next((s.member for s in self._cluster.topology.services() if s.name == name), name)

    def _server(self, name: str) -> set[str]:
        return {s.name for s in self._cluster.topology.services() if s.member == self._member(name)}

    def _reached(self) -> tuple[str, ...]:
        hit = self._receivers()
        return tuple(sorted({self._member(w.holder) for w in self._wrong if w.holder not in hit}))

    def _receipt(self, receipt: Receipt) -> records.Receipt:
        felt = msgspec.structs.replace(receipt, felt=self._felt.get(receipt.seq))
        return records.Receipt.from_proxy(msgspec.to_builtins(felt), self._start)

    def _sent_s(self) -> float:
        return min((r.sent for r in self._receipts if r.sent is not None), default=0.0)

    def _recovered_s(self) -> float | None:
        if self._recovered is None or self._recovery_from is None:
            return None
        return round(max(0.0, self._recovered - self._recovery_from), 6)

    # -- words ---------------------------------------------------------------------------------------------

    def _invalid(self) -> str:
        if self._why_invalid:
            return self._why_invalid
        if self._delivered():
            return ""
        missing = [
            str(f) for n, f in enumerate(self.flips) if f"{self.id}-{n}" not in {r.toxic for r in self._receipts}
        ]
        if missing:
            return f"no message came that matches {missing[0]}"
        return "a flip was sent, and the receiver never acknowledged it"

    def _require_valid(self) -> None:
        why = self._invalid()
        if why:
            raise InvalidTrial(self._say(f"INVALID: {why}"))

    def _example(self, holder: str) -> str:
        wrong = next(w for w in sorted(self._wrong) if self._member(w.holder) == self._member(holder))
        return f"{wrong.holder} believes {wrong.owner}.{wrong.field} = {wrong.value}, which {wrong.owner} never said"

    def _say(self, text: str) -> str:
        flips = ", ".join(map(str, self.flips))
        return f"{text} [{flips}]" + (f"\nreplay: {self.replay}" if self.replay else "")

    def _wait(
        self,
        done: Callable[[], bool],
        within_s: float,
        *,
        step: Callable[[], None] | None = None,
        every_s: float = LOOK_EVERY_S,
    ) -> bool:
        def attempt() -> bool:
            return done() or (step is not None and (step(), done())[1])

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda ok: not ok),
            wait=tenacity.wait_fixed(every_s),
            stop=tenacity.stop_after_delay(within_s),
            retry_error_callback=lambda _: False,
        )
        return bool(retrying(attempt))


def _identity(line: Observation) -> str:
    return f"{line.fields.get('method')} {line.fields.get('target')}"


def _noticed(line: Observation) -> str | None:
    """What a line of a log says was noticed: a frame's checksum or a request; None for any other line."""
    if line.kind not in {"refused", "parse-error"}:
        return None
    return f"crc {line.fields['crc']:08x}" if "crc" in line.fields else _identity(line)


def _key(receipt: Receipt) -> str:
    return f"crc {receipt.crc:08x}" if receipt.crc is not None else str(receipt.identity)
