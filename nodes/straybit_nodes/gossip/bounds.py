"""`value-bounds`: generations and versions that no honest owner can have reached.

Theory of operation.
A generation is the time at which its owner first started, in seconds; a version counts the owner's heartbeats.
So a generation cannot lie in the future,
and a version cannot exceed the heartbeats that fit between its generation and now.
Both bounds are absolute.
A bound on the jump from what was known before would be tighter and wrong:
after a long partition, or on a member that has just learnt an old entry from another who was cut off as well,
every honest entry is a jump.
Cassandra's guard (CASSANDRA-8113) compared generations with the previous one plus a year
and then refused healthy nodes that restarted after more than a year (CASSANDRA-10969);
it was repaired by comparing with the clock instead.

"Now" is the cluster's own calendar: the member's generation, plus the time since it first started.
With generations taken from a clock that is the time of day;
with the fixed generations of a reference cluster it is a calendar that began there.
That time is the largest of what the wall clock, the uptime and the own count of heartbeats say,
so a clock that is set back makes no honest entry impossible, and one that is set forward only loosens the bound.
One day of allowance covers members that first started at different times under one fixed generation;
thirty days would let through bits of a generation that one day stops.

A member may still take itself for too young: its disk is new, or its clock was set back and it was down for days.
Then everybody's honest entries are past its bound, and not one entry as after a flip.
So where a majority of all members claims to be older, it is as old as a majority claims at least.
What clocks that were set back and heartbeats say is too little by as much as a member was down,
so the cluster may be twice as old as this member takes it for: that lets one more bit through, and refuses nobody
who, clock wrong, was down for less than half of the time.
A claim that was refused counts until its owner says something possible again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from straybit_nodes.gossip.messages import Entry, Row

__all__ = ["ALLOWANCE_S", "Bounds"]

ALLOWANCE_S = 86_400.0
"""Lower refuses clusters whose members first started further apart; higher lets more bits through."""
OLDER = 2.0
"""How many times as old as this member takes the cluster for it may be; lower refuses members that were down less."""

V = TypeVar("V", Entry, Row)


class Bounds:
    """Bounds as seen by one of `members`, of `generation`, that first started `age_s` seconds before `now`."""

    __slots__ = ("_began", "_beyond", "_generation", "_interval", "_members")

    def __init__(
        self, generation: int, age_s: float, now: float, heartbeat_interval_s: float, *, members: int = 2
    ) -> None:
        self._generation = generation
        self._began = now - max(age_s, 0.0)
        self._interval = heartbeat_interval_s
        self._members = members
        self._beyond: dict[str, float] = {}

    def sift(self, values: Iterable[V], now: float) -> Iterator[tuple[V, str]]:
        """The values of one message that cannot be, each with the reason."""
        suspects = [value for value in values if self._past(value, now)]
        if suspects:
            self._heed(suspects, now)
        for value in suspects:
            if self._past(value, now):
                yield value, self._why(value, now)

    def _past(self, value: V, now: float) -> bool:
        past = value.generation + value.version * self._interval > self._latest(now)
        if not past and self._beyond:
            self._beyond.pop(value.owner, None)
        return past

    def _latest(self, now: float) -> float:
        return self._generation + OLDER * (now - self._began) + ALLOWANCE_S

    def _heed(self, suspects: Iterable[V], now: float) -> None:
        """Be as old as a majority says, if one says so."""
        for value in suspects:
            if value.owner in self._beyond or len(self._beyond) < self._members:
                self._beyond[value.owner] = value.generation + value.version * self._interval
        quorum = self._members // 2 + 1
        if len(self._beyond) >= quorum:
            claimed_s = sorted(self._beyond.values(), reverse=True)[quorum - 1] - self._generation
            self._began = min(self._began, now - claimed_s)

    def _why(self, value: V, now: float) -> str:
        latest = self._latest(now)
        if value.generation > latest:
            return f"generation {value.generation} is {value.generation - latest:.0f} s past the bound"
        most = (latest - value.generation) / self._interval
        return f"version {value.version} is past the {most:.0f} heartbeats that fit its generation"
