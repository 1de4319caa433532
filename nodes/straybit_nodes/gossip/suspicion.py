"""Which peers failed, what reopens their cases, and how much may be done about each."""

from __future__ import annotations

from collections import Counter

from straybit_nodes.gossip.alarm import Alarm, FailureAlarm
from straybit_nodes.gossip.damping import Damping
from straybit_nodes.gossip.messages import Entry
from straybit_nodes.gossip.rules import Rules

__all__ = ["Suspicion"]


class Suspicion:
    """`marks` are the failed peers, each at the (generation, version) it was known by when it failed.

    `talk` counts what was done about failed peers, or damped: by ("reopen" | "tell" | "verify", "done" | "damped").
    """

    __slots__ = ("_alarm", "_damping", "_rules", "marks", "talk")

    def __init__(self, rules: Rules, defences: frozenset[str]) -> None:
        self._rules = rules
        self._damping = Damping() if "failed-peer-damping" in defences else None
        self._alarm = FailureAlarm() if "gossip-alarm" in defences else None
        self.marks: dict[str, tuple[int, int]] = {}
        self.talk: Counter[tuple[str, str]] = Counter()

    def begin(self) -> None:
        """The member starts anew: exchanges of before are not counted against anybody."""
        if self._alarm is not None:
            self._alarm = FailureAlarm()

    def clear(self) -> None:
        """Forget every mark."""
        self.marks.clear()
        if self._damping is not None:
            self._damping.forget()

    def record(self, peer: str, *, ok: bool) -> Alarm | None:
        """An exchange with `peer` ended; an alarm where that makes one."""
        return self._alarm.record(peer, ok=ok) if self._alarm is not None else None

    def news(self, entry: Entry) -> bool:
        """Whether this entry, newer than the mark of its owner, reopens the case."""
        mark = self.marks.get(entry.owner)
        return mark is not None and self._rules.reopen_on_news and (entry.generation, entry.version) > mark

    def contact(self, peer: str) -> bool:
        """Whether a word from `peer` reopens its case."""
        return peer in self.marks and self._rules.reopen_on_contact

    def may(self, kind: str, peer: str, now: float) -> bool:
        """Whether to "reopen", "tell" or "verify" about `peer` now; the answer is counted."""
        allowed = self._damping is None or self._damping.allows(kind, peer, now)
        self.talk[kind, "done" if allowed else "damped"] += 1
        return allowed
