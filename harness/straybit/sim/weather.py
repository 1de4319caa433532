"""What a network does to messages by itself, drawn from its seed: it is late, it is uneven, it loses connections."""

from __future__ import annotations

import msgspec

__all__ = ["CALM", "FAIR", "Weather"]


class Weather(msgspec.Struct, frozen=True, kw_only=True):
    """One network's habits.

    Within one direction of one connection messages keep their order, as TCP keeps it;
    between connections `jitter_s` lets later ones overtake.
    A message that is lost takes its connection with it: nothing more arrives on it, and time-outs find that out.
    """

    latency_s: float = 0.001
    """One way; 1 ms is what a proxy on one machine costs."""
    jitter_s: float = 0.0
    """Up to so much more, drawn for each message; higher reorders more."""
    loss: float = 0.0
    """Share of the messages that are lost."""

    def __post_init__(self) -> None:
        """Raises ValueError for times below 0 and for a share that is none."""
        if self.latency_s < 0 or self.jitter_s < 0 or not 0 <= self.loss <= 1:
            raise ValueError(f"{self} cannot be: times are 0 or more, and the loss is a share in 0..1")


CALM = Weather()
"""What stepped trials have: nothing is drawn."""

FAIR = Weather(jitter_s=0.002)
"""What one machine is like. Without any jitter, two that ask a third at the same moment do so for ever,
and neither ever has news for the other."""
