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
"""

from __future__ import annotations

from straybit_nodes.gossip.messages import Entry, Row

__all__ = ["ALLOWANCE_S", "Bounds"]

ALLOWANCE_S = 86_400.0
"""Lower refuses clusters whose members first started further apart; higher lets more bits through."""


class Bounds:
    """Bounds as seen by a member of `generation` that first started `age_s` seconds before `now`."""

    __slots__ = ("_began", "_generation", "_interval")

    def __init__(self, generation: int, age_s: float, now: float, heartbeat_interval_s: float) -> None:
        self._generation = generation
        self._began = now - max(age_s, 0.0)
        self._interval = heartbeat_interval_s

    def check(self, value: Entry | Row, now: float) -> str | None:
        """Why this generation or version cannot be; None when it can."""
        latest = self._generation + (now - self._began) + ALLOWANCE_S
        if value.generation > latest:
            return f"generation {value.generation} is {value.generation - latest:.0f} s past the bound"
        most = (latest - value.generation) / self._interval
        if value.version > most:
            return f"version {value.version} is past the {most:.0f} heartbeats that fit its generation"
        return None
