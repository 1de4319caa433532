"""Threads that watch a cluster and collect what they see into one list that can be waited on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from straybit.control import Control, ControlError, View
from straybit.observe.follow import Follower

__all__ = ["Observation", "Observers"]

LOOK_EVERY_S = 0.02
"""Between two looks at the logs; a look at 20 files costs about 0.2 ms, and a wait is late by at most one."""
LIMIT = 1_000_000
"""Observations kept; the oldest tenth goes first, and `dropped` counts them."""


class Observation(msgspec.Struct, frozen=True):
    """Something seen of `source` at `t`, on the monotonic clock of the machine.

    `kind` is a log line's event (`refused`, `alarm`, `request`, ...), or `metrics`, `view`, `exit`.
    """

    t: float
    source: str
    kind: str
    fields: dict[str, Any]


class Observers:
    """Follows logs from the start; polls metrics and views only when asked, since that costs the nodes time.

    `trouble` names what could not be read, for the report: an observer never fails a run.
    """

    def __init__(self, follower: Follower, controls: Mapping[str, Control]) -> None:
        self._follower = follower
        self._controls = dict(controls)
        self._seen: list[Observation] = []
        self._changed = threading.Condition()
        self._looking = threading.Lock()
        self._ended = threading.Event()
        self._polling = threading.Event()
        self._threads: list[threading.Thread] = []
        self._pollers: list[threading.Thread] = []
        self.dropped = 0
        self.trouble: dict[str, str] = {}

    def start(self) -> None:
        """Begin to follow the logs."""
        self._threads.append(self._thread("logs", self._follow))

    def close(self) -> None:
        """End every thread; what was seen stays."""
        self.stop_polling()
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def poll_metrics(self, interval_s: float = 1.0) -> None:
        """Take every node's metrics each `interval_s`: kind `metrics`, fields `name{label=value,...}` to value."""
        self._pollers.append(self._thread("metrics", lambda: self._poll(interval_s, _metrics)))

    def poll_views(self, interval_s: float = 0.5) -> None:
        """Take every node's view each `interval_s`: kind `view`, fields {"view": View}, only when state changed."""
        last: dict[str, object] = {}
        self._pollers.append(self._thread("views", lambda: self._poll(interval_s, lambda c: _view_if_new(c, last))))

    def stop_polling(self) -> None:
        """End the pollers; the logs are followed on."""
        self._polling.set()
        for thread in self._pollers:
            thread.join()
        self._pollers.clear()
        self._polling.clear()

    def add(self, observation: Observation) -> None:
        """Put in what somebody else saw (an exit, an engine's event)."""
        self._extend([observation])

    def mark(self) -> int:
        """Where the list ends now: what to give as `since` later."""
        with self._changed:
            return self.dropped + len(self._seen)

    def seen(self, kind: str | None = None, source: str | None = None, *, since: int = 0) -> list[Observation]:
        """Observations from `since` on, in the order they came in, of one kind and source where named."""
        with self._changed:
            part = self._seen[max(0, since - self.dropped) :]
        return [o for o in part if kind in (None, o.kind) and source in (None, o.source)]

    def wait_for(
        self, predicate: Callable[[Observation], bool], timeout_s: float, *, since: int = 0
    ) -> Observation | None:
        """The first observation from `since` on that `predicate` accepts; None when none comes in `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        at = since
        with self._changed:
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
        with self._changed:
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

    def _poll(self, interval_s: float, look: Callable[[Control], Observation | None]) -> None:
        while not self._polling.wait(interval_s):
            for control in self._controls.values():
                try:
                    seen = look(control)
                except ControlError as error:
                    self.trouble[control.name] = str(error)
                else:
                    if seen is not None:
                        self._extend([seen])


def _metrics(control: Control) -> Observation:
    samples = control.metrics()
    fields = {
        s.name + ("{" + ",".join(f"{k}={v}" for k, v in sorted(s.labels.items())) + "}" if s.labels else ""): s.value
        for s in samples
    }
    return Observation(time.monotonic(), control.name, "metrics", fields)


def _view_if_new(control: Control, last: dict[str, object]) -> Observation | None:
    """The node's view, unless all that differs from the last look is load and versions."""
    view = control.view()
    state = _state(view)
    if last.get(control.name) == state:
        return None
    last[control.name] = state
    return Observation(view.now, control.name, "view", {"view": view})


def _state(view: View) -> object:
    entries = {name: (e.address, e.status, e.generation) for name, e in view.entries.items()}
    return view.state, entries, view.marked
