"""Code that waits, on virtual time: many tasks, one of which runs, and the net while all of them wait.

A scenario is plain synchronous code. On threads it would run in whatever order a machine's scheduler likes;
as a greenlet it runs until it waits, and what runs next is decided by the net's one heap alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import get_ident
from typing import TypeVar

from greenlet import getcurrent, greenlet

from straybit.sim.net import SimNet

__all__ = ["DeadlockError", "Tasks"]

T = TypeVar("T")


class DeadlockError(RuntimeError):
    """Every task waits, and nothing will ever happen."""


class Tasks:
    """The tasks of one net. Whoever makes it is the first task."""

    def __init__(self, net: SimNet) -> None:
        self._net = net
        self._thread = get_ident()
        self._hub = greenlet(self._run)

    def pause(self, seconds: float) -> None:
        """Let time pass for the running task."""
        self._own_thread()
        self._net.after(max(0.0, seconds), getcurrent().switch)
        self._wait()

    def wait_for(self, begin: Callable[[Callable[[T], None]], None]) -> T:
        """Call `begin` with a callback, and wait until it was called; its first argument is the answer."""
        self._own_thread()
        me = getcurrent()
        answers: list[T] = []

        def answered(answer: T) -> None:
            if not answers:
                answers.append(answer)
                self._net.after(0.0, me.switch)

        begin(answered)
        self._wait()
        return answers[0]

    def _own_thread(self) -> None:
        if get_ident() != self._thread:
            raise RuntimeError("virtual time has one thread; say run.together(...) where this one was started")

    def spawn(self, work: Callable[[], None]) -> None:
        """Run `work` as a task of its own, from now on."""
        self._net.after(0.0, greenlet(work, self._hub).switch)

    def together(self, calls: Sequence[Callable[[], T]], *, at_once: int | None = None) -> tuple[T, ...]:
        """Make all calls as tasks, or `at_once` of them at a time; the first error is raised when all have ended."""
        if not calls:
            return ()
        answers: dict[int, T] = {}
        errors: dict[int, Exception] = {}
        left = deque(enumerate(calls))
        workers = min(at_once or len(calls), len(calls))

        def begin(over: Callable[[None], None]) -> None:
            running = workers

            def work() -> None:
                nonlocal running
                while left:
                    number, call = left.popleft()
                    try:
                        answers[number] = call()
                    except Exception as error:
                        errors[number] = error
                running -= 1
                if not running:
                    over(None)

            for _ in range(workers):
                self.spawn(work)

        self.wait_for(begin)
        if errors:
            raise errors[min(errors)]
        return tuple(answers[number] for number in range(len(calls)))

    def _wait(self) -> None:
        """Let the net go on; whatever it raised ended the last hub."""
        if self._hub.dead:
            self._hub = greenlet(self._run)
        self._hub.switch()

    def _run(self) -> None:
        while self._net.step():
            pass
        raise DeadlockError("every task waits for something, and nothing is left to happen")
