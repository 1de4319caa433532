"""Outcomes: one closed list, worst first, and the pure judge that ends every trial in exactly one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum

import msgspec

__all__ = ["DANGEROUS", "LUCK", "TABLE", "Evidence", "Outcome", "Row", "by_luck", "judge", "outcomes_table"]


class Outcome(StrEnum):
    """How a trial ended; the order of definition is the order of precedence, worst first."""

    INVALID = "INVALID"
    SPREAD = "SPREAD"
    LATENT = "LATENT"
    SILENT = "SILENT"
    NOTICED = "NOTICED"
    CRASH = "CRASH"
    HANG = "HANG"
    DEGRADED = "DEGRADED"
    DETECTED = "DETECTED"
    MASKED = "MASKED"

    @property
    def rank(self) -> int:
        """Place in the order: 0 is INVALID, higher is better."""
        return _RANK[self]


_RANK = {outcome: rank for rank, outcome in enumerate(Outcome)}

DANGEROUS = frozenset({Outcome.SPREAD, Outcome.LATENT, Outcome.SILENT, Outcome.CRASH, Outcome.HANG})
"""What a campaign counts as a dangerous bit; NOTICED and DEGRADED are shown beside them."""

LUCK = frozenset({"parse", "client:parse"})
"""Detections that are no check's catch: the bytes could not be read, which another bit would not have caused."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of one trial; facts only, gathered by observers and the oracle.

    `spread` counts nodes that never received the flipped message and hold the wrong value,
    carried on by a peer protocol, at any time (the replicas of one client write count as its receiver).
    `adopted`: the receiver held or stored the wrong value. `served`: a client or a state read was given it.
    `latent`: nothing differed until the aftershock brought it out.
    `detected_by`: names of what noticed *this* trial's request, key, message or entry.
    An alarm that names only a balancer or a link belongs to the run and not here.
    `crashed`: services whose process exited by itself. `hung`: no progress past the budget.
    `degraded`: each budget that was exceeded, in words. `recovered`: steady again at all.
    """

    delivered: bool
    golden_ok: bool = True
    host_ok: bool = True
    spread: int = 0
    latent: bool = False
    adopted: bool = False
    served: bool = False
    detected_by: tuple[str, ...] = ()
    crashed: tuple[str, ...] = ()
    hung: bool = False
    degraded: tuple[str, ...] = ()
    recovered: bool = True

    @property
    def wrong(self) -> bool:
        """Something differs from the golden run, at the receiver or in what it served."""
        return self.adopted or self.served


class Row(msgspec.Struct, frozen=True):
    """One line of the table: the outcome, its meaning in words, and the rule that decides it."""

    outcome: Outcome
    meaning: str
    holds: Callable[[Evidence], bool]


TABLE: tuple[Row, ...] = (
    Row(
        Outcome.INVALID,
        "the flip was not delivered, the golden run was not steady, or the host ran out of something; "
        "in no rate, and never green",
        lambda e: not (e.delivered and e.golden_ok and e.host_ok),
    ),
    Row(
        Outcome.SPREAD,
        "a node that never received the flipped message holds the wrong value, carried on by a peer protocol",
        lambda e: e.spread > 0,
    ),
    Row(
        Outcome.LATENT,
        "nothing visible, until an ordinary later event (the aftershock) brought it out",
        lambda e: e.latent,
    ),
    Row(
        Outcome.SILENT,
        "a client or a state read differs from the golden run, and nobody noticed; confined to the receiver",
        lambda e: e.wrong and not e.detected_by,
    ),
    Row(
        Outcome.NOTICED,
        "a wrong value was adopted or served although somebody noticed; confined to the receiver",
        lambda e: e.wrong,
    ),
    Row(Outcome.CRASH, "a process exited", lambda e: bool(e.crashed)),
    Row(Outcome.HANG, "no progress past the budget", lambda e: e.hung),
    Row(
        Outcome.DEGRADED,
        "right, but not steady again within the recovery budget, or a healthy peer is held for failed",
        lambda e: bool(e.degraded) or not e.recovered,
    ),
    Row(
        Outcome.DETECTED,
        "somebody noticed, by name; nothing wrong was adopted; back to steady within budget",
        lambda e: bool(e.detected_by),
    ),
    Row(Outcome.MASKED, "nobody noticed and nothing differs", lambda _: True),
)
"""First match wins. The table in docs/outcomes.md is drawn from it."""


def judge(evidence: Evidence) -> Outcome:
    """The one outcome of this evidence, by the first row of `TABLE` that holds."""
    return next(row.outcome for row in TABLE if row.holds(evidence))


def by_luck(detected_by: Sequence[str]) -> bool:
    """Whether somebody noticed, and only by luck (see `LUCK`)."""
    return bool(detected_by) and LUCK.issuperset(detected_by)


def outcomes_table() -> str:
    """The table as Markdown, for docs/outcomes.md."""
    rows = [f"| {row.outcome} | {row.meaning} | {'yes' if row.outcome in DANGEROUS else ''} |" for row in TABLE]
    return "\n".join(["| outcome | meaning | dangerous |", "| --- | --- | --- |", *rows]) + "\n"
