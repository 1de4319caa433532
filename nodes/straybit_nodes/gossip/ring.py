"""The last gossip frames that a node received, by which a harness proves that one was felt."""

from __future__ import annotations

from collections import deque
from typing import Any

from straybit_nodes.gossip.codec import Bad, Frame

__all__ = ["FRAMES_KEPT", "FrameRing"]

FRAMES_KEPT = 4096


class FrameRing:
    """Frames received, refused ones too; the oldest of more than `FRAMES_KEPT` are forgotten."""

    def __init__(self) -> None:
        self._frames: deque[dict[str, Any]] = deque(maxlen=FRAMES_KEPT)
        self._next = 0

    def add(self, frame: Frame | Bad, now: float) -> None:
        """Keep one; `now` is on the monotonic clock."""
        seen = {"seq": self._next, "t": now, "from": frame.sender, "kind": frame.kind, "crc": frame.crc}
        self._next += 1
        self._frames.append(seen)

    def since(self, number: int) -> dict[str, Any]:
        """`{"next", "frames"}`: those from sequence number `number` on."""
        return {"next": self._next, "frames": [frame for frame in self._frames if frame["seq"] >= number]}
