"""Calls side by side on threads, that Ctrl-C can end at any time.

A KeyboardInterrupt may be raised between any two calls of Python code, also where a pool has just taken a lock of
its own and not yet arranged to give it back: a worker then waits for that lock for ever, and whoever waits for the
worker with it. So Ctrl-C is held back while work is handed out, which takes microseconds, and heard while waiting.
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

T = TypeVar("T")
U = TypeVar("U")


class HeldBack:
    """While this is entered SIGINT is only noted; it has its usual effect at the exit.

    Elsewhere than in the main thread it does nothing, since Python runs signal handlers in the main thread alone.
    """

    def __enter__(self) -> Self:
        self._came = False
        self._usual = signal.getsignal(signal.SIGINT)
        self._ours = threading.current_thread() is threading.main_thread() and callable(self._usual)
        if self._ours:
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._ours:
            signal.signal(signal.SIGINT, self._usual)
            if self._came:
                signal.raise_signal(signal.SIGINT)

    def _note(self, _: int, __: FrameType | None) -> None:
        self._came = True


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
