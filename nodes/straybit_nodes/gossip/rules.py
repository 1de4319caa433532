"""The parameters and mechanisms of the gossip model; every value says which way to turn it."""

from __future__ import annotations

import msgspec

__all__ = ["Rules"]


class Rules(msgspec.Struct, frozen=True):
    """Why July 2008 collapses, as numbers and switches. The defaults reproduce it.

    Ranges are those over which a simulation of 8 to 1,000 servers collapsed on 20 of 20 seeds.
    Each switch removes one mechanism; a test removes each in turn and finds no collapse.
    """

    gossip_interval_s: float = 0.15
    """Between two exchanges a member starts by itself; lower spreads news sooner and costs CPU (0.1-0.2)."""
    heartbeat_interval_s: float = 0.5
    """Between two rises of a member's own version; lower reopens cases more often (0.25-2)."""
    slots: int | None = 6
    """Places for outbound work at a time; None lifts the bound, and nothing collapses (4-16)."""
    queue: int = 256
    """Outbound jobs that may wait for a slot; 32 is too few for a collapse (from 128)."""
    connect_timeout_s: float = 0.5
    """What an address nobody answers costs; at most half the client's deadline (0.25-1)."""
    tell_count: int = 2
    """Random peers that are told of a failure; 0 means no rumours (1-6).

    With 3 and two retries, lifting the bound on slots or refusing strangers at once makes some 2,000 connections
    a second, which two cores cannot carry: the cluster would fail for want of CPU, and the removal prove nothing.
    """
    deadline_s: float = 1.0
    """A client's, for one request; each within the cluster is a share of it, below those outside of it (0.5-2)."""
    verify_retries: int = 1
    """Further tries after a failed exchange; 0 together with `tell_count` 0 stops the storm (1-2)."""
    verify_after_s: float = 0.2
    """From a failure to its next verification."""
    silent_after: int = 10
    """Own heartbeats without a newer word of a member until it is asked directly; slow spells are shorter (5-40)."""
    gossip_before_request: bool = True
    """State is exchanged before each request leg, which needs a place as well; False decouples the two."""
    slow_failure: bool = True
    """An address outside the dial table is a black hole until the time-out; False refuses it at once."""
    reopen_on_news: bool = True
    """A newer entry for a marked peer unmarks and verifies it."""
    reopen_on_contact: bool = True
    """A word from a marked peer unmarks and verifies it."""
    owner_refutes: bool = False
    """True: an owner contradicts what others say of its own address and status, instead of believing it."""

    def patient(self, factor: float) -> Rules:
        """The same, with deadlines and time-outs so many times as long: what a host that stands still can bear."""
        return msgspec.structs.replace(
            self, connect_timeout_s=self.connect_timeout_s * factor, deadline_s=self.deadline_s * factor
        )

    def slowed(self, factor: float) -> Rules:
        """The same in slow motion: every interval and every time-out so many times as long, nothing else changed."""
        return msgspec.structs.replace(
            self.patient(factor),
            gossip_interval_s=self.gossip_interval_s * factor,
            heartbeat_interval_s=self.heartbeat_interval_s * factor,
            verify_after_s=self.verify_after_s * factor,
        )
