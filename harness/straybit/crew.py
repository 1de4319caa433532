"""Calls side by side on threads, that Ctrl-C can end at any time.

A KeyboardInterrupt may be raised between any two calls of Python code, also where a pool has just taken a lock of
its own and not yet arranged to give it back: a worker then waits for that lock for ever, and whoever waits for the
worker with it. So Ctrl-C is held back while work is handed out, which takes microseconds, and heard while waiting.
Taking a cluster down is held together in the same way, so that a second Ctrl-C leaves nothing behind.
A Condition has the same gap in `with condition:`, and none in `with lock:` where the lock is the interpreter's own.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from types import FrameType
from typing import Self, TypeVar

__all__ = ["Crew", "HeldBack"]

HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""By which somebody tells a run to end."""

T = TypeVar("T")
U = TypeVar("U")


class HeldBack:
    """While this is entered SIGINT, SIGTERM and SIGHUP are only noted; they have their usual effect at the exit.

    Those that the kernel answers itself, as it does SIGTERM unless somebody handles it, are left alone.
    Elsewhere than in the main thread it does nothing, since Python runs signal handlers in the main thread alone.
    """

    def __enter__(self) -> Self:
        self._came: list[int] = []
        self._usual: dict[int, Callable[[int, FrameType | None], object]] = {}
        if threading.current_thread() is threading.main_thread():
            try:
                self._hold()
            except BaseException:  # one came before it was held
                self._give_back()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._give_back()
        finally:
            self._tell()

    def _hold(self) -> None:
        for number in HELD:
            usual = signal.getsignal(number)
            if callable(usual):
                self._usual[number] = usual
                signal.signal(number, self._note)

    def _give_back(self) -> None:
        try:
            while self._usual:
                number, usual = next(iter(self._usual.items()))
                signal.signal(number, usual)
                del self._usual[number]
        finally:
            if self._usual:
                self._give_back()

    def _tell(self) -> None:
        """One that raises keeps none of the others from being heard, and has behind it what was raised before."""
        try:
            if self._came:
                signal.raise_signal(self._came.pop(0))
        finally:
            if self._came:
                self._tell()

    def _note(self, number: int, _: FrameType | None) -> None:
        if number not in self._came:
            self._came.append(number)


class Crew:
    """At most `size` threads, kept for the next call; `name` begins theirs."""

    def __init__(self, size: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(size, name)

    def each(self, work: Callable[[T], U], items: Iterable[T]) -> list[U]:
        """`work` for every item, several at a time; answers in the items' order.

        The first error in that order is raised, once all have ended.
        """
        ended: SimpleQueue[Future[U]] = SimpleQueue()
        with HeldBack():
            futures = [self._pool.submit(work, item) for item in items]
            for future in futures:
                future.add_done_callback(ended.put)
        for _ in futures:
            ended.get()
        return [future.result() for future in futures]

    def close(self) -> None:
        """Wait for what is under way, and end the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
