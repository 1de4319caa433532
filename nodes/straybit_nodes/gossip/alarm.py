"""`gossip-alarm`: July's action (c), an alarm on failing exchanges that names who fails."""

from __future__ import annotations

from collections import Counter, deque

import msgspec

__all__ = ["Alarm", "FailureAlarm"]

WINDOW = 20
SHARE = 0.2
"""Of the window that must have failed; higher is slower and more certain."""
OVER = 0.1
"""An episode ends when fewer than this share failed; the gap to `SHARE` keeps one storm one alarm."""


class Alarm(msgspec.Struct, frozen=True):
    """`failed` of the last `window` exchanges failed, most of them with `culprit`."""

    culprit: str
    failed: int
    window: int


class FailureAlarm:
    """Fires once when at least `SHARE` of the last `WINDOW` exchanges failed, again only after that was over.

    The rate of gossip hardly moves when the cluster collapses; the share of failures does.
    A peer that was never reached is not counted: it may not have started yet.
    """

    __slots__ = ("_last", "_reached", "raised")

    def __init__(self) -> None:
        self._last: deque[str | None] = deque(maxlen=WINDOW)
        self._reached: set[str] = set()
        self.raised = False

    def record(self, peer: str, *, ok: bool) -> Alarm | None:
        """Take one exchange's end; an alarm when this one makes the episode."""
        if ok:
            self._reached.add(peer)
        elif peer not in self._reached:
            return None
        self._last.append(None if ok else peer)
        failed = Counter(each for each in self._last if each is not None)
        total = failed.total()
        self.raised = self.raised and total >= OVER * WINDOW
        if self.raised or len(self._last) < WINDOW or total < SHARE * WINDOW:
            return None
        self.raised = True
        culprit = max(sorted(failed), key=failed.__getitem__)
        return Alarm(culprit, total, WINDOW)
