"""What each toxic really did: a bounded, numbered log that can be read on from any number."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable

import msgspec

__all__ = ["Event", "EventLog"]

MAX_EVENTS = 65_536
"""Kept at most; a reader that falls further behind sees a gap in the numbers."""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`t` is CLOCK_MONOTONIC seconds; `event` a past participle or what is the matter."""

    seq: int
    t: float
    event: str
    proxy: str | None = None
    toxic: str | None = None
    direction: str | None = None
    connection: int | None = None
    receipt: int | None = None
    reason: str | None = None


class EventLog:
    """Events in order."""

    def __init__(self) -> None:
        self.events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self.next = 0
        self._waiting: list[Callable[[], None]] = []

    def add(
        self,
        event: str,
        *,
        proxy: str | None = None,
        toxic: str | None = None,
        direction: str | None = None,
        connection: int | None = None,
        receipt: int | None = None,
        reason: str | None = None,
    ) -> None:
        """Append an event."""
        self.events.append(
            Event(
                seq=self.next,
                t=time.monotonic(),
                event=event,
                proxy=proxy,
                toxic=toxic,
                direction=direction,
                connection=connection,
                receipt=receipt,
                reason=reason,
            )
        )
        self.next += 1
        waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()

    def notify(self, seq: int, wake: Callable[[], None]) -> bool:
        """True when there is an event numbered `seq`; otherwise `wake` is called once there is."""
        if self.next > seq:
            return True
        self._waiting.append(wake)
        return False

    def forget(self, wake: Callable[[], None]) -> None:
        """Whoever waited has left, or was woken."""
        if wake in self._waiting:
            self._waiting.remove(wake)

    def since(self, seq: int, limit: int = 1024) -> list[Event]:
        """Events numbered `seq` and later, at most `limit`."""
        first = self.next - len(self.events)
        start = max(0, seq - first)
        return list(itertools.islice(self.events, start, start + limit))
