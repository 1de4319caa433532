"""One trial on a live cluster: steady, armed, felt, detected, reverted, recovered, and then exactly one outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from straybit import records
from straybit.budgets import budgets_with
from straybit.cluster import Cluster
from straybit.faults import check_flip, toxic_of
from straybit.observe.host import stalled_for
from straybit.oracle import Wrong
from straybit.outcome import Outcome
from straybit.steady import NotSteadyError, wait_steady
from straybit.traffic import Answer, Traffic, quiet_step, traffic_for
from straybit.verdict import Course, recorded
from straybit.witness import Witness
from straybit_faults.client import ProxyError
from straybit_faults.flip import Flip

__all__ = ["InvalidTrial", "Trial", "TrialFailed"]

QUIET_S = 1.0
"""After the flip was felt: six rounds of gossip, in which what was adopted would spread."""
LOOK_EVERY_S = 0.02
SENT_BUDGET_S = 5.0
"""For the message that a flip is aimed at to come by; beyond it the trial is INVALID."""


class TrialFailed(AssertionError):
    """An expectation of a trial was not met; the message says what was seen instead, `replay` how to see it again."""

    def __init__(self, message: str, replay: str = "") -> None:
        super().__init__(message)
        self.replay = replay


class InvalidTrial(TrialFailed):
    """The trial proves nothing: the flip was not delivered, or the cluster was not steady before it."""


class Trial:
    """Arms `flips` on entering, drives traffic over their links, reverts on leaving, and judges.

    Every time is on one monotonic clock; `start` is the second that the record's times count from.
    `traffic` replaces what suits the first flip's link, `steady` what is asked of the cluster before and afterwards.
    `drive` False leaves traffic to whoever runs the load.
    Raises ValueError for no flip, FlipIdError for one that cannot be.
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
        if not flips:
            raise ValueError("a trial needs a flip, such as BitFlip('gossip-1:gossip-2', message='state', ...)")
        for flip in flips:
            check_flip(flip, cluster.topology)
        self.id = id
        self.flips = flips
        self.budgets = budgets_with(budgets or {})
        self.record: records.Trial | None = None
        self._cluster = cluster
        self._clock = cluster.driver
        self._drive = drive
        self._given = traffic
        self._traffic = traffic
        self._steady = steady
        serial = next(cluster.serials)
        self._toxics = {f"t{serial}-{number}": toxic_of(flip, cluster.topology) for number, flip in enumerate(flips)}
        self._armed: list[tuple[str, str]] = []
        self._watching = ExitStack()
        self._witness = Witness(cluster, self._toxics)
        self._host = cluster.watch_host()
        self._course = Course(
            start=self._clock.now() if start is None else start, budgets=self.budgets, title=title, replay=replay
        )

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
            if kind is not None:
                self._close()
        if kind is None:
            self.recover()
            self.finish()
            self._require_valid()

    def begin(self) -> None:
        """Prove the cluster clean and arm every flip. A cluster that is not clean makes the trial INVALID.

        Raises ProxyError with nothing left armed.
        """
        if self._drive and self._traffic is None:
            self._traffic = traffic_for(self._cluster, self.flips[0].link, name=self.id)
        doubts = tuple(self._steady(self._cluster)) if self._steady else self._cluster.doubts()
        self._watching.enter_context(self._host)
        if doubts:
            self.doubt(f"the cluster was not steady before the flip: {doubts[0]}")
        try:
            for name, toxic in self._toxics.items():
                options: dict[str, Any] = {"stream": toxic.stream, "name": name}
                self._cluster.proxy.add_toxic(toxic.link, toxic.kind, toxic.attributes, **options)
                self._armed.append((toxic.link, name))
        except ProxyError:
            self.revert()
            self._close()
            raise

    def doubt(self, why: str) -> None:
        """Make the trial INVALID, for a reason that its witness cannot see."""
        self._course.doubt = self._course.doubt or why

    def settle(self) -> None:
        """See the flips delivered and felt, and give what they did the quiet time to show."""
        if self.wait_delivered(SENT_BUDGET_S):
            self.wait_felt(self.budgets["detected"])
            self._clock.wait_until(lambda: bool(self.look()) and False, QUIET_S, every_s=QUIET_S / 5)

    def revert(self) -> None:
        """Take every toxic away; safe to call twice. Raises the last ProxyError when one would not go."""
        failed: ProxyError | None = None
        for link, name in self._armed:
            try:
                self._cluster.proxy.remove_toxic(link, name)
            except ProxyError as error:
                failed = error
        self._armed.clear()
        self._course.reverted = self._course.reverted or self._clock.now()
        if failed is not None:
            raise failed

    def recover(self, *, since_s: float | None = None, budget: str = "recovered") -> None:
        """Wait until the cluster is steady again, at most for the budget and as long again; what is wrong then sticks.

        `since_s` is the second of the run that recovery counts from: the revert, unless a restore began later.
        """
        course = self._course
        course.recovery = budget
        began = course.reverted if since_s is None else since_s + course.start
        probe = self._steady
        try:
            steady = wait_steady(
                self._cluster,
                budget_s=2 * self.budgets[budget],
                probe=None if probe is None else lambda: tuple(probe(self._cluster)),
            )
            course.recovered_s = round(max(0.0, steady.since - (began or steady.since)), 6)
        except NotSteadyError:
            course.hung = self._witness.hung()
        course.sticky = bool(self.look())

    def finish(self, *, sticky: bool | None = None) -> records.Trial:
        """Judge what was seen and keep the record; `sticky` says so where somebody else watched for it."""
        if self._traffic is not None:
            self._traffic.scan()
        if sticky is not None:
            self._course.sticky = sticky
        self._witness.refresh()
        if why := self._invalid():
            self.doubt(why)
        self.record = recorded(self.id, self.flips, self._course, self._witness, self._answers())
        self._close()
        return self.record

    def _close(self) -> None:
        self._watching.close()
        if self._traffic is not None and self._given is None:
            self._traffic.close()

    def _answers(self) -> tuple[Answer, ...]:
        return self._traffic.answers() if self._traffic is not None else ()

    # -- waiting for evidence ------------------------------------------------------------------------------

    def wait_delivered(self, within_s: float) -> bool:
        """Whether every flip left the proxy and was acknowledged in time; drives traffic until then."""

        def done() -> bool:
            self._witness.refresh()
            if self._drive and self._traffic is not None and self._witness.unsent:
                quiet_step(self._traffic)
                self._witness.refresh()
            return self._witness.delivered

        return self._clock.wait_until(done, within_s, every_s=LOOK_EVERY_S)

    def unsent(self) -> tuple[Flip, ...]:
        """Flips that have found no message yet; asks the proxy."""
        self._witness.refresh()
        left = self._witness.unsent
        return tuple(flip for name, flip in zip(self._toxics, self.flips, strict=True) if name in left)

    def wait_felt(self, within_s: float) -> bool:
        """Whether every receiver shows that it took the flipped message in time."""
        return self._clock.wait_until(self._witness.all_felt, within_s, every_s=LOOK_EVERY_S)

    def wait_detected(self, within_s: float, by: str | None = None) -> bool:
        """Whether somebody (the defence `by`) noticed every flipped message in time."""
        return self._clock.wait_until(lambda: None not in self.noticed_after(by), within_s, every_s=LOOK_EVERY_S)

    def noticed_after(self, by: str | None = None) -> tuple[float | None, ...]:
        """For each flip that was sent, seconds to its first detection (by the defence `by`); None: nobody noticed."""
        return self._witness.noticed_after(by) or (None,)

    def look(self) -> tuple[Wrong, ...]:
        """Values that are wrong in some view now; remembered for the verdict."""
        return self._witness.look()

    # -- expectations, for tests ---------------------------------------------------------------------------

    def expect_detected(self, *, by: str, within_s: float) -> None:
        """The defence `by` noticed every flipped message within so many seconds of its being sent.

        Raises InvalidTrial when one was not delivered; TrialFailed when nobody noticed one, or somebody else, or late.
        """
        if self.record is None and self.wait_delivered(SENT_BUDGET_S):
            self.wait_detected(within_s, by)
        self._require_valid()
        took = self.noticed_after(by)
        if None in took:
            others = ", ".join(sorted({d.by for d in self._witness.detections(self._answers())})) or "nobody"
            self._late(f"{by} did not notice within {within_s:g} s; {others} did")
        worst_s = max(seconds for seconds in took if seconds is not None)
        if worst_s > within_s:
            self._late(f"{by} noticed after {worst_s:.2f} s, later than {within_s:g} s")

    def expect_contained(self) -> None:
        """No node but the receiver ever held a wrong value. Raises TrialFailed, naming those that did."""
        self._ended()
        if reached := self._witness.reached():
            self._fail(f"the damage spread to {', '.join(reached)}: {self._witness.example()}")

    def expect_recovered(self, *, within_s: float) -> None:
        """Steady again within so many seconds of the revert. Raises TrialFailed."""
        self._ended()
        took_s = self._course.recovered_s
        if took_s is None or took_s > within_s:
            seen = "never steady again" if took_s is None else f"steady again after {took_s:.2f} s"
            self._late(f"{seen}, expected within {within_s:g} s")

    def expect_outcome(self, *outcomes: Outcome | str) -> None:
        """The trial, once it is over, ended in one of these outcomes. Raises TrialFailed."""
        record = self._ended()
        if record.outcome not in {Outcome(outcome) for outcome in outcomes}:
            self._fail(f"outcome {record.outcome}: {record.why}")

    def _ended(self) -> records.Trial:
        if self.record is None:
            self._fail("this is known when the trial is over: ask behind the `with` block")
        assert self.record is not None
        self._require_valid()
        return self.record

    def _require_valid(self) -> None:
        if why := self._invalid():
            raise InvalidTrial(self._say(f"INVALID: {why}"), self._course.replay)

    def _invalid(self) -> str:
        if troubles := self._witness.host_troubles():
            return "; ".join(troubles)
        if self._course.doubt or self._witness.delivered:
            return self._course.doubt
        unsent = sorted(self._witness.unsent)
        if unsent:
            return f"no message came that matches {self.flips[list(self._toxics).index(unsent[0])]}"
        return "a flip was sent, and its receiver never acknowledged it"

    def _late(self, text: str) -> None:
        """A failure, unless the host stood still meanwhile: then nobody knows whose delay it was."""
        if self._host.stalled:
            raise InvalidTrial(self._say(f"INVALID: {stalled_for(self._host.late_s)}; {text}"), self._course.replay)
        self._fail(text)

    def _fail(self, text: str) -> None:
        raise TrialFailed(self._say(text), self._course.replay)

    def _say(self, text: str) -> str:
        flips = [f"flip: {flip}" for flip in self.flips]
        return "\n".join([text, *flips, *([f"replay: {self._course.replay}"] if self._course.replay else [])])
