"""What is seen of June 2008 while it is played, in the words of clients, proxy and services. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from straybit import records
from straybit.clients import Reply
from straybit.ledger_client import Stored
from straybit.load import Sample
from straybit.observe import Observation
from straybit.scenarios._june_plan import JunePlan
from straybit_faults.receipt import Receipt

__all__ = ["Answered", "Seen", "felt_at", "identity"]


class Answered(msgspec.Struct, frozen=True):
    """One write's reply; both times are seconds of the run."""

    began_s: float
    ended_s: float
    reply: Reply


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of one June; `plan` says what was injected.

    `answered` is by key. `reads` were made under the fault, `scan` after it; both are what clients got.
    `receipts` are the proxy's and `lines` the services' own (`refused` and `request`), on the monotonic clock,
    on which the run began at `started`. Every `_s` counts from there, but `recovered_s` from the revert.
    `stalled_s` is how long the machine stood still, where that is longer than its time-outs can bear, else 0.
    `blind` says why the alarm's monitor may have missed something.
    """

    plan: JunePlan
    answered: Mapping[str, Answered]
    reads: Sequence[Stored] = ()
    scan: Sequence[Stored] = ()
    receipts: Sequence[Receipt] = ()
    lines: Sequence[Observation] = ()
    alarms: Sequence[records.Alarm] = ()
    started: float = 0.0
    armed_s: float = 0.0
    reverted_s: float = 0.0
    recovered_s: float | None = None
    blind: Sequence[str] = ()
    stalled_s: float = 0.0
    budgets: Mapping[str, float]
    replay: str = ""

    @property
    def stalled(self) -> bool:
        """Whether the machine stood still and cost some request its answer; a stall that cost none spoils nothing."""
        unanswered = any(one.reply.status == 0 or one.reply.status >= 500 for one in self.answered.values())
        return self.stalled_s > 0 and unanswered

    def samples(self, regions: Mapping[str, str]) -> tuple[Sample, ...]:
        """Every write, when it began and whether it was acknowledged; `regions` are those of the balancers."""
        return tuple(
            Sample(regions[w.balancer], self.answered[w.key].began_s, self.answered[w.key].reply.ok)
            for w in self.plan.writes
        )


def felt_at(receipt: Receipt, lines: Iterable[Observation]) -> float | None:
    """When a log first shows that the receiver had taken the request, on the monotonic clock.

    Either the storage node at the link's end names the request, or the balancer names that node as who answered it.
    """
    caller, _, callee = receipt.proxy.partition(":")

    def shows(line: Observation) -> bool:
        if identity(line) != receipt.identity or receipt.sent is None or line.t < receipt.sent:
            return False
        answered = line.kind == "request" and line.source == caller and line.fields.get("coordinator") == callee
        return answered or (line.kind == "refused" and line.source == callee)

    return min((line.t for line in lines if shows(line)), default=None)


def identity(line: Observation) -> str:
    """The request that a line of a log is about, as receipts name it."""
    return f"{line.fields.get('method')} {line.fields.get('target')}"
