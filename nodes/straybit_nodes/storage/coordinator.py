"""The coordinator: one client's request carried out on the holders of its key.

Theory of operation.
A write goes to all three holders and is acknowledged when two have it on disk;
the third may finish later.
A read asks two holders, and another one for each that fails or is slow: the newest stamp wins,
and a key is absent only if two holders say so.
Any two holders share one with the two that acknowledged a write, so a read sees it.
An unanswered write may be there or not.

Buckets are held by every node of the region. A change to one, and a look at one that is not known here,
want a majority; a bucket known here is taken at its word,
so that a write costs no further leg (a node that missed a deletion still takes writes).
A list of objects asks every node of the region and may miss one of them:
whatever was acknowledged is on two holders, so at least one of those answered.

Not tolerated, and answered with ServiceUnavailable: two holders out of reach, for a list two nodes of the region.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

from straybit_nodes.storage.errors import S3Error
from straybit_nodes.storage.listing import MAX_KEYS, ListQuery, Page, Summary, cut, merge
from straybit_nodes.storage.placement import holders, quorum
from straybit_nodes.storage.record import Record, make_stamp
from straybit_nodes.storage.replica import Replica, ReplicaError

__all__ = ["DEADLINE_S", "HEDGE_S", "Coordinator"]

T = TypeVar("T")

DEADLINE_S = 0.85
"""For all legs of one request without its data: below the balancer's 0.95 s, itself below the client's 1 s."""
HEDGE_S = 0.3
"""A holder that has not answered a read after this is no longer waited for alone: another one is asked as well."""
RATE = 8 * 1024 * 1024
"""Bytes per second that a deadline allows for besides."""
_PULLS = 8
"""Times a list asks for more records to fill one page; a shorter page is sound, and a longer wait is not."""


class Coordinator:
    """Carries out requests at `replicas`, all of this region, the own one (`node`) among them.

    `order` sorts replicas for reading: those that are likely to answer first.
    Every method raises S3Error ServiceUnavailable when too few replicas did their part in time.
    """

    def __init__(
        self,
        node: str,
        replicas: Iterable[Replica],
        *,
        order: Callable[[Sequence[str]], Sequence[str]] = tuple,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._node = node
        self._replicas = {replica.node: replica for replica in replicas}
        self._order = order
        self._now_ns = now_ns
        self._tasks: set[asyncio.Task[object]] = set()

    @property
    def busy(self) -> int:
        """Legs that are under way."""
        return len(self._tasks)

    async def idle(self) -> None:
        """Wait until no leg is under way; each has a deadline of its own."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def stamp(self, bucket: str, key: str) -> str:
        """A stamp for a new version of `key`, newer than any this node knows of."""
        try:
            known = await self._own.find(bucket, key)
        except ReplicaError:
            known = None
        return make_stamp(self._now_ns(), self._node, known.stamp if known else "")

    async def write(self, record: Record, data: bytes = b"") -> None:
        """Keep a version of an object, or its delete marker, at a quorum of its holders."""
        holding = self._holders(record.bucket, record.key)
        await self._write(record, data, holding, quorum(holding))

    async def find(self, bucket: str, key: str) -> Record | None:
        """The newest record of an object; None when absent or deleted."""
        holding = self._holders(bucket, key)
        found = await self._gather(
            [partial(self._replicas[name].find, bucket, key) for name in holding], quorum(holding)
        )
        newest = _newest(found)
        return None if newest is None or newest.deleted else newest

    async def fetch(self, bucket: str, key: str) -> tuple[Record, bytes] | None:
        """The newest version of an object and its data; None when absent or deleted.

        The first holder is asked for the data, the others for their records:
        data comes from another only when that one's is newer.
        """
        holding = self._holders(bucket, key)
        fetched: dict[str, tuple[Record, bytes]] = {}

        async def first() -> tuple[str, Record | None]:
            got = await self._replicas[holding[0]].fetch(bucket, key)
            if got is not None:
                fetched[holding[0]] = got
            return holding[0], got[0] if got else None

        calls: list[Callable[[], Awaitable[tuple[str, Record | None]]]] = [first]
        calls += [partial(self._look, name, bucket, key) for name in holding[1:]]
        answers = await self._gather(calls, quorum(holding))
        newest = _newest(record for _, record in answers)
        if newest is None or newest.deleted:
            return None
        having = [name for name, record in answers if record is not None and record.stamp == newest.stamp]
        for name in having:
            if name in fetched:
                return fetched[name]
        return await self._fetch_from([*having, *(n for n in holding if n not in having)], newest)

    async def bucket(self, name: str) -> Record | None:
        """The bucket's record, None when there is none."""
        own = await self._own.find(name, "")
        if own is not None and not own.deleted:
            return own
        everyone = self._everyone()
        found = await self._gather(
            [partial(self._replicas[node].find, name, "") for node in everyone], _majority(everyone)
        )
        newest = _newest(found)
        if newest is None or newest.deleted:
            return None
        await self._own.put(newest, b"")
        return newest

    async def write_bucket(self, record: Record) -> None:
        """Keep a bucket's record, or its delete marker, at a majority of the region."""
        everyone = self._everyone()
        await self._write(record, b"", everyone, _majority(everyone))

    async def buckets(self) -> tuple[Record, ...]:
        """Every bucket there is, by name."""
        everyone = self._everyone()
        lists = await self._gather([self._replicas[node].buckets for node in everyone], _majority(everyone))
        newest: dict[str, Record] = {}
        for record in (record for found in lists for record in found):
            known = newest.get(record.bucket)
            if known is None or record.stamp > known.stamp:
                newest[record.bucket] = record
        return tuple(record for _, record in sorted(newest.items()) if not record.deleted)

    async def page(self, bucket: str, query: ListQuery) -> Page:
        """One page of objects."""
        everyone = self._everyone()
        items: list[Summary] = []
        after, more = query.after, True
        for _ in range(_PULLS):
            calls = [partial(self._replicas[node].scan, bucket, query.prefix, after, MAX_KEYS) for node in everyone]
            batches = await self._gather(calls, max(1, len(everyone) - 1), all_at_once=True)
            merged = merge(batches)
            items += merged
            more = any(batch.more for batch in batches)
            page = cut(items, query, more=more)
            if not more or not merged or len(page.contents) + len(page.prefixes) >= query.max_keys:
                break
            after = merged[-1].key
        return page

    @property
    def _own(self) -> Replica:
        return self._replicas[self._node]

    def _holders(self, bucket: str, key: str) -> tuple[str, ...]:
        return self._sorted(holders(self._replicas, bucket, key))

    def _everyone(self) -> tuple[str, ...]:
        return self._sorted(tuple(sorted(self._replicas)))

    def _sorted(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Own first: it costs no leg; then those that are likely to answer."""
        return tuple(sorted(self._order(names), key=lambda name: name != self._node))

    async def _look(self, node: str, bucket: str, key: str) -> tuple[str, Record | None]:
        return node, await self._replicas[node].find(bucket, key)

    async def _fetch_from(self, names: Sequence[str], newest: Record) -> tuple[Record, bytes]:
        """The data of `newest` or of something newer still, from the first of `names` that has it."""
        for name in names:
            try:
                got = await self._bounded(self._replicas[name].fetch(newest.bucket, newest.key), newest.size)
            except (ReplicaError, TimeoutError):
                continue
            if got is not None and got[0].stamp >= newest.stamp and not got[0].deleted:
                return got
        raise S3Error("ServiceUnavailable", "No replica could give the data.")

    async def _write(self, record: Record, data: bytes, nodes: Sequence[str], need: int) -> None:
        calls = [partial(self._replicas[name].put, record, data) for name in nodes]
        await self._gather(calls, need, all_at_once=True, size=len(data))

    async def _gather(
        self, calls: Sequence[Callable[[], Awaitable[T]]], need: int, *, all_at_once: bool = False, size: int = 0
    ) -> list[T]:
        """The first `need` answers to `calls`; another call is begun for each that fails or is slow.

        Calls that are not needed any more run on to their own end.
        """
        deadline = asyncio.timeout(DEADLINE_S + size / RATE)
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
                        pending, timeout=HEDGE_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
                    )
                    answers += [task.result() for task in done if not _failed(task)]
                    wanted += 0 if done else 1
        except TimeoutError:
            raise S3Error("ServiceUnavailable", "Too few replicas answered in time; please try again.") from None
        return answers

    def _begin(self, call: Callable[[], Awaitable[T]], size: int) -> asyncio.Task[T]:
        task = asyncio.ensure_future(self._bounded(call(), size))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[T]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that a leg nobody waits for any more is not reported as lost

    async def _bounded(self, call: Awaitable[T], size: int) -> T:
        async with asyncio.timeout(DEADLINE_S + size / RATE):
            return await call


def _failed(task: asyncio.Task[T]) -> bool:
    """Whether a replica failed. Raises what is nobody's fault but ours."""
    error = task.exception()
    if error is not None and not isinstance(error, ReplicaError | TimeoutError):
        raise error
    return error is not None


def _newest(records: Iterable[Record | None]) -> Record | None:
    return max(filter(None, records), key=lambda record: record.stamp, default=None)


def _majority(nodes: Sequence[str]) -> int:
    return len(nodes) // 2 + 1
