"""Which containers run, and how the others ended: what the engine's events and our own looks add up to. Asks nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from straybit.services import Exit

__all__ = ["KILLED", "Ends"]

KILLED = 137
"""Exit status after SIGKILL, from whomever: 128 and the signal's number."""


class _Life:
    """One container, through all its starts."""

    def __init__(self) -> None:
        self.since = float("-inf")
        self.starts = 0
        self.exit: Exit | None = None
        self.asked = False
        self.paused = False
        self.short_of_memory = False


class Ends:
    """Told of events in any order and from any thread; hands each end that nobody asked for to `on_exit`, once.

    `harness` are containers that are not under test: their end is the host's doing, and proves nothing of a flip.
    """

    def __init__(self, names: Iterable[str] = (), harness: Iterable[str] = ()) -> None:
        self.on_exit: Callable[[Exit], None] = lambda _: None
        self._harness = frozenset(harness)
        self._mutex = threading.RLock()  # entered by itself: see straybit.crew on Ctrl-C
        self._changed = threading.Condition(self._mutex)
        self._lives = {name: _Life() for name in names}
        self._exits: list[Exit] = []
        self._lost = False
        self._closing = False

    # -- what is known -----------------------------------------------------------------------------------------------

    @property
    def lost(self) -> bool:
        """The engine went away: nothing that is said from then on can be believed."""
        return self._lost

    def running(self, name: str) -> bool:
        """It has not ended and is not paused, as far as anybody can know."""
        with self._mutex:
            life = self._lives.get(name)
            return not self._lost and life is not None and life.exit is None and not life.paused

    def ended(self, name: str) -> Exit | None:
        """The end of its last start, None while it lives."""
        with self._mutex:
            life = self._lives.get(name)
            return life.exit if life is not None else None

    def exits(self) -> tuple[Exit, ...]:
        """Ends that nobody asked for, in order."""
        with self._mutex:
            return tuple(self._exits)

    def starts(self, name: str) -> int:
        """How often it was started again."""
        return self._lives[name].starts

    def wait(self, names: Iterable[str], within_s: float) -> bool:
        """Whether all of them have ended in time, or nobody could tell."""
        wanted = list(names)
        with self._mutex:
            return self._changed.wait_for(lambda: self._lost or all(map(self.ended, wanted)), within_s)

    def wait_past(self, name: str, start: int, within_s: float) -> bool:
        """Whether that start of it is over in time, or nobody minds any more."""
        life = self._lives[name]
        with self._mutex:
            return self._changed.wait_for(
                lambda: self._lost or self._closing or life.exit is not None or life.starts != start, within_s
            )

    # -- what is done to them ----------------------------------------------------------------------------------------

    def asked(self, name: str) -> None:
        """It is about to be ended, and its end is no news."""
        with self._mutex:
            self._lives[name].asked = True

    def started(self, name: str) -> None:
        """It is about to be started again. What is still to come of its last start is no news."""
        with self._mutex:
            life = self._lives[name]
            life.since, life.starts = time.monotonic(), life.starts + 1
            life.exit, life.asked, life.paused, life.short_of_memory = None, False, False, False
            self._changed.notify_all()

    def paused(self, name: str, paused: bool) -> bool:
        """It is paused from now on, or not; answers with what it was."""
        with self._mutex:
            life = self._lives[name]
            life.paused, was = paused, life.paused
            return was

    def closing(self) -> None:
        """Everything is about to be ended."""
        with self._mutex:
            self._closing = True
            self._changed.notify_all()

    # -- what is heard of them ---------------------------------------------------------------------------------------

    def short_of_memory(self, name: str, t: float) -> None:
        """The kernel killed one of its processes for want of memory, at `t` on the monotonic clock."""
        with self._mutex:
            life = self._lives.get(name)
            if life is not None and t >= life.since:
                life.short_of_memory = True

    def news(self, name: str, t: float) -> bool:
        """Whether an end at `t` would be news: of its last start, not asked for, and not known yet."""
        with self._mutex:
            life = self._lives.get(name)
            return life is not None and t >= life.since and life.exit is None and not life.asked

    def died(self, name: str, code: int, t: float, *, oom: bool = False) -> None:
        """It ended with that exit code at `t`. One of a start that is over is not heard."""
        with self._mutex:
            life = self._lives.get(name)
            if life is None or t < life.since or life.exit is not None:
                return
            host = "the harness's own, and it ended by itself" if name in self._harness else ""
            if code == KILLED and (oom or life.short_of_memory):
                host = "killed for memory"
            life.exit = Exit(t, name, code if code <= 128 else 128 - code, host)
            if not life.asked:
                self._exits.append(life.exit)
            self._changed.notify_all()
        if not life.asked:
            self.on_exit(life.exit)

    def lose(self, name: str, why: str) -> None:
        """Something that verdicts rest on is gone, without `name` having ended."""
        with self._mutex:
            exit = Exit(time.monotonic(), name, -1, why)
            self._exits.append(exit)
        self.on_exit(exit)

    def lose_engine(self, why: str) -> None:
        """The engine is gone, once; not while everything is being ended."""
        with self._mutex:
            if self._closing or self._lost:
                return
            self._lost = True
            self._changed.notify_all()
        self.lose("docker", f"the Docker engine is gone ({why})")
