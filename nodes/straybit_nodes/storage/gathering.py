"""Several replicas asked at a time: deadlines, another one for each that fails or is slow, and no more than needed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from straybit_nodes.storage.errors import S3Error
from straybit_nodes.storage.replica import ReplicaError

__all__ = ["HEDGE", "LEGS", "Gathering"]

T = TypeVar("T")

LEGS = 0.85
"""Of the client's deadline, for all legs of one request without its data: below the balancer's 0.95."""
HEDGE = 0.3
"""Of it: a holder that has not answered a read so long is no longer waited for alone, another one is asked as well."""
RATE = 8 * 1024 * 1024
"""Bytes per second that a deadline allows for besides."""


class Gathering:
    """The calls of one coordinator that are under way, each within its share of the client's `deadline_s`."""

    def __init__(self, deadline_s: float) -> None:
        self._legs_s = LEGS * deadline_s
        self._hedge_s = HEDGE * deadline_s
        self._tasks: set[asyncio.Task[object]] = set()

    @property
    def busy(self) -> int:
        """Calls that are under way."""
        return len(self._tasks)

    async def idle(self) -> None:
        """Wait until no call is under way."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def first(
        self, calls: Sequence[Callable[[], Awaitable[T]]], need: int, *, all_at_once: bool = False, size: int = 0
    ) -> list[T]:
        """The first `need` answers to `calls`; another call is begun for each that fails or is slow.

        Calls that are not needed any more run on to their own end.
        """
        deadline = asyncio.timeout(self._legs_s + size / RATE)
        waiting = list(calls)
        pending: set[asyncio.Task[T]] = set()
        answers: list[T] = []
        wanted = len(calls) if all_at_once else need
        try:
            async with deadline:
                while len(answers) < need:
                    while waiting and len(pending) + len(answers) < wanted:
                        pending.add(self._begin(waiting.pop(0), size))
                    if len(pending) + len(answers) < need:
                        raise S3Error("ServiceUnavailable", "Too few replicas answered; please try again.")
                    done, pending = await asyncio.wait(
                        pending, timeout=self._hedge_s if waiting else None, return_when=asyncio.FIRST_COMPLETED
                    )
                    answers += [task.result() for task in done if not _failed(task)]
                    wanted += 0 if done else 1
        except TimeoutError:
            raise S3Error("ServiceUnavailable", "Too few replicas answered in time; please try again.") from None
        return answers

    async def all(self, calls: Sequence[Callable[[], Awaitable[T]]], size: int = 0) -> list[T]:
        """Every answer that comes in time."""
        tasks = [self._begin(call, size) for call in calls]
        await asyncio.wait(tasks)
        return [task.result() for task in tasks if not _failed(task)]

    def _begin(self, call: Callable[[], Awaitable[T]], size: int) -> asyncio.Task[T]:
        task = asyncio.ensure_future(self.bounded(call(), size))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[T]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that a leg nobody waits for any more is not reported as lost

    async def bounded(self, call: Awaitable[T], size: int) -> T:
        """The answer to one call about `size` bytes. Raises TimeoutError."""
        async with asyncio.timeout(self._legs_s + size / RATE):
            return await call


def _failed(task: asyncio.Task[T]) -> bool:
    """Whether a replica failed. Raises what is nobody's fault but ours."""
    error = task.exception()
    if error is not None and not isinstance(error, ReplicaError | TimeoutError):
        raise error
    return error is not None
