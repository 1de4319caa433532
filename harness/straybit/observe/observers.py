"""Threads that watch a cluster and collect what they see into one list that can be waited on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from straybit.observe.follow import Follower

__all__ = ["Observation", "Observers"]

LOOK_EVERY_S = 0.02
"""Between two looks at the logs; a look at 20 files costs about 0.2 ms, and a wait is late by at most one."""
LIMIT = 1_000_000
"""Observations kept; the oldest tenth goes first, and `dropped` counts them."""


class Observation(msgspec.Struct, frozen=True):
    """Something seen of `source` at `t`, on the monotonic clock of the machine.

    `kind` is a log line's event (`refused`, `alarm`, `request`, ...), or `exit`.
    """

    t: float
    source: str
    kind: str
    fields: dict[str, Any]


class Observers:
    """Follows logs from the start, and takes what others put in."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._seen: list[Observation] = []
        self._mutex = threading.RLock()  # entered by itself: see straybit.crew on Ctrl-C
        self._changed = threading.Condition(self._mutex)
        self._looking = threading.Lock()
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self.dropped = 0

    def start(self) -> None:
        """Begin to follow the logs."""
        self._threads.append(self._thread("logs", self._follow))

    def close(self) -> None:
        """End every thread; what was seen stays."""
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def add(self, observation: Observation) -> None:
        """Put in what somebody else saw (an exit, an engine's event)."""
        self._extend([observation])

    def mark(self) -> int:
        """Where the list ends now: what to give as `since` later."""
        with self._mutex:
            return self.dropped + len(self._seen)

    def seen(self, kind: str | None = None, source: str | None = None, *, since: int = 0) -> list[Observation]:
        """Observations from `since` on, in the order they came in, of one kind and source where named."""
        with self._mutex:
            part = self._seen[max(0, since - self.dropped) :]
        return [o for o in part if kind in (None, o.kind) and source in (None, o.source)]

    def wait_for(
        self, predicate: Callable[[Observation], bool], timeout_s: float, *, since: int = 0
    ) -> Observation | None:
        """The first observation from `since` on that `predicate` accepts; None when none comes in `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        at = since
        with self._mutex:
            while True:
                at = max(at, self.dropped)
                for observation in self._seen[at - self.dropped :]:
                    if predicate(observation):
                        return observation
                at = self.dropped + len(self._seen)
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)

    def catch_up(self) -> None:
        """Return when every line that the logs hold now has been collected."""
        with self._looking:
            self._extend([Observation(line.t, line.service, line.event, line.fields) for line in self._follower.look()])

    def _extend(self, observations: list[Observation]) -> None:
        if not observations:
            return
        with self._mutex:
            self._seen.extend(observations)
            if len(self._seen) > LIMIT:
                del self._seen[: LIMIT // 10]
                self.dropped += LIMIT // 10
            self._changed.notify_all()

    def _thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=work, name=f"straybit-{name}", daemon=True)
        thread.start()
        return thread

    def _follow(self) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            self.catch_up()
        self.catch_up()
