"""Threads that follow what the engine streams: each container's output into files, and events."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from straybit.backends._engine import Engine

__all__ = ["EventFollower", "LogFollower"]

END_S = 2.0
"""For the engine's events to come to their end."""
LAST_S = 10.0
"""For the output of a container's last start to arrive before that of the next is taken."""


class LogFollower:
    """Writes a container's output to `log` as it comes, and what is no JSON object to `errors`.

    After a restart the engine gives the whole log again; what was written already is skipped.
    """

    def __init__(self, engine: Engine, id: str, log: Path, errors: Path) -> None:
        self._engine = engine
        self._id = id
        self._log = log
        self._errors = errors
        self._errors.touch()
        self._log.touch()
        self._taken = 0
        self._left = b""
        self._thread: threading.Thread | None = None

    def follow(self, on_end: Callable[[str], None]) -> None:
        """Follow this start of the container, from when the last one's output has come to its end.

        `on_end(why)` is told when there is no more to come; whether that is as it should be, others know.
        """
        self._thread = threading.Thread(
            target=self._follow, args=(self._thread, on_end), name="straybit-container-log", daemon=True
        )
        self._thread.start()

    def close(self, within_s: float) -> None:
        """Return when the output has ended, or after `within_s`."""
        if self._thread is not None:
            self._thread.join(within_s)

    def _follow(self, last: threading.Thread | None, on_end: Callable[[str], None]) -> None:
        if last is not None:
            last.join(LAST_S)
        why = "it came to its end"
        try:
            if last is None or not last.is_alive():  # two at a time would write everything twice
                self._write(self._engine.api.logs(self._id, stream=True, follow=True))
        except Exception as error:
            why = str(error)
        on_end(why)

    def _write(self, chunks: Iterable[bytes]) -> None:
        skip = self._taken
        with self._log.open("ab", buffering=0) as log, self._errors.open("ab", buffering=0) as errors:
            for chunk in chunks:
                fresh = chunk[skip:]
                skip = max(0, skip - len(chunk))
                self._taken += len(fresh)
                *lines, self._left = (self._left + fresh).split(b"\n")
                structured = b"".join(line + b"\n" for line in lines if line.startswith(b"{"))
                other = b"".join(line + b"\n" for line in lines if not line.startswith(b"{"))
                if structured:
                    log.write(structured)
                if other:
                    errors.write(other)


class EventFollower:
    """Tells `on_event(kind, service, attributes, t)` of each event of containers with `label`, from now on.

    `t` is on the monotonic clock. `on_end(why)` is told when the engine ends the stream.
    """

    def __init__(
        self,
        engine: Engine,
        label: str,
        on_event: Callable[[str, str, Mapping[str, str], float], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._on_event = on_event
        self._on_end = on_end
        self._closing = False
        filters = {"label": label, "type": "container", "event": ["die", "oom"]}
        since = int(time.time()) - 1  # an engine answers first and listens to itself a moment later
        self._stream = engine.ask(
            lambda api: api.events(since=since, filters=filters, decode=True), "events cannot be followed"
        )
        self._thread = threading.Thread(target=self._follow, name="straybit-engine-events", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the stream."""
        self._closing = True
        self._stream.close()
        self._thread.join(END_S)

    def _follow(self) -> None:
        why = "it closed the connection"
        try:
            for event in self._stream:
                self._take(event)
        except Exception as error:
            why = str(error)
        if not self._closing:
            self._on_end(why)

    def _take(self, event: Mapping[str, Any]) -> None:
        attributes = event["Actor"]["Attributes"]
        ago_s = time.time() - event["timeNano"] / 1e9
        name = attributes.get("com.docker.compose.service", "")
        self._on_event(event["Action"], name, attributes, time.monotonic() - max(0.0, ago_s))
