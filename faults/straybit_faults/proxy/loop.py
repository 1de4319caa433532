"""The data thread: descriptors, timers and commands of other threads, one after another.

Nothing that runs here may wait.
Other threads hand in commands through `submit`; an event descriptor wakes the loop.
"""

from __future__ import annotations

import heapq
import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from straybit_faults.proxy.poller import Poller, make_poller

__all__ = ["Loop", "LoopTimer"]

_MOST_PATIENCE_S = 3_600.0  # longer waits overflow epoll's milliseconds: look again each hour
_MOST_COMMANDS = 64  # in one turn: data gets its turn between bursts of API calls


class LoopTimer:
    """A callback that waits for its time."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], None] | None) -> None:
        self.when = when
        self.callback = callback

    def __lt__(self, other: LoopTimer) -> bool:
        return self.when < other.when

    def cancel(self) -> None:
        """Forget the callback; harmless when it has run."""
        self.callback = None


class Loop:
    """Calls `ready(bits)` of whoever watches a descriptor; see the module."""

    def __init__(self, poller: Poller | None = None) -> None:
        self.poller = poller if poller is not None else make_poller()
        self.handlers: dict[int, Callable[[int], None]] = {}
        self.timers: list[LoopTimer] = []
        self.soon: deque[Callable[[], None]] = deque()
        self.running = False
        self.failed: Callable[[Exception], None] = _raise
        """Told of a mistake of ours in a callback; all others go on."""
        self._commands: deque[Callable[[], None]] = deque()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self.add(self._wake_read, lambda _: self._drain())

    def add(self, fd: int, ready: Callable[[int], None]) -> None:
        """Watch `fd` for reading and writing; after an edge, read or write until it would block."""
        self.handlers[fd] = ready
        self.poller.add(fd)

    def remove(self, fd: int) -> None:
        """Stop watching `fd`; its owner closes it at once."""
        if self.handlers.pop(fd, None) is not None:
            self.poller.remove(fd)

    def at(self, when: float, callback: Callable[[], None]) -> LoopTimer:
        """Call back at `when` (CLOCK_MONOTONIC seconds)."""
        timer = LoopTimer(when, callback)
        heapq.heappush(self.timers, timer)
        return timer

    def submit(self, command: Callable[[], None]) -> None:
        """Have the data thread run `command`; for every thread, and for signal handlers."""
        self._commands.append(command)
        with suppress(BlockingIOError):  # the loop has plenty of wake-ups to see already
            os.write(self._wake_write, b"\0")

    def run(self) -> None:
        """Work until `stop`."""
        self.running = True
        handlers = self.handlers
        poll = self.poller.poll
        while self.running:
            for fd, bits in poll(self._patience()):
                ready = handlers.get(fd)
                if ready is not None:
                    try:
                        ready(bits)
                    except Exception as error:
                        self.failed(error)
            if self.timers:
                self._fire()
            for _ in range(min(len(self._commands), _MOST_COMMANDS)):
                self._try(self._commands.popleft())
            for _ in range(len(self.soon)):
                self._try(self.soon.popleft())

    def stop(self) -> None:
        """Let `run` return after this turn."""
        self.running = False

    def close(self) -> None:
        """Give the loop's own descriptors back."""
        self.poller.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _patience(self) -> float | None:
        if self.soon or self._commands:
            return 0.0
        while self.timers and self.timers[0].callback is None:
            heapq.heappop(self.timers)
        if not self.timers:
            return None
        return min(max(0.0, self.timers[0].when - time.monotonic()), _MOST_PATIENCE_S)

    def _fire(self) -> None:
        now = time.monotonic()
        while self.timers and self.timers[0].when <= now:
            timer = heapq.heappop(self.timers)
            callback, timer.callback = timer.callback, None
            if callback is not None:
                self._try(callback)

    def _try(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception as error:
            self.failed(error)

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._wake_read, 4096):
                pass


def _raise(error: Exception) -> None:
    raise error
