"""The coordinator: one client's request carried out on the holders of its key.

Theory of operation.
A write goes to all three holders and is acknowledged when two have it on disk;
the third may finish later.
A read asks two holders, and another one for each that fails or is slow: the newest stamp wins,
and a key is absent only if two holders say so.
Any two holders share one with the two that acknowledged a write, so a read sees it.
An unanswered write may be there or not.
With `replica-compare` a read also wants two holders to agree on the version they both have:
where they do not, it is what two of three have, or an error.
What a holder missed, lost or has otherwise is told to `on_divergence`, and mended by `mend` (see mender).

Buckets are held by every node of the region. A change to one, and a look at one that is not known here,
want a majority; a bucket known here is taken at its word,
so that a write costs no further leg (a node that missed a deletion still takes writes).
A list of objects asks every node of the region and may miss one of them:
whatever was acknowledged is on two holders, so at least one of those answered.

Not tolerated, and answered with ServiceUnavailable: two holders out of reach, for a list two nodes of the region.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

import msgspec

from straybit_nodes.gossip.rules import Rules
from straybit_nodes.storage.agreement import conflict, contents, unlike
from straybit_nodes.storage.errors import S3Error
from straybit_nodes.storage.gathering import Gathering
from straybit_nodes.storage.listing import MAX_KEYS, ListQuery, Page, Summary, cut, merge
from straybit_nodes.storage.parts import home
from straybit_nodes.storage.placement import holders, quorum
from straybit_nodes.storage.record import Record, make_stamp
from straybit_nodes.storage.replica import Replica, ReplicaError, Stale

__all__ = ["Coordinator"]

_STAMPS = 3
"""Stamps that a write is given at most: one more than a clock that is behind needs."""
_PULLS = 8
"""Times a list asks for more records to fill one page; a shorter page is sound, and a longer wait is not."""


class Coordinator:
    """Carries out requests at `replicas`, all of this region, the own one (`node`) among them.

    `order` sorts replicas for reading: those that are likely to answer first. `compare` is `replica-compare`.
    `on_divergence` is told (bucket, key) of what holders do not all have alike,
    `on_conflict` (bucket, key, why) of holders that have the same version with other bytes.
    Every method raises S3Error ServiceUnavailable when too few replicas did their part in time.
    """

    def __init__(
        self,
        node: str,
        replicas: Iterable[Replica],
        *,
        compare: bool = False,
        deadline_s: float = Rules().deadline_s,
        order: Callable[[Sequence[str]], Sequence[str]] = tuple,
        now_ns: Callable[[], int] = time.time_ns,
        on_divergence: Callable[[str, str], None] = lambda _bucket, _key: None,
        on_conflict: Callable[[str, str, str], None] = lambda _bucket, _key, _why: None,
    ) -> None:
        self._node = node
        self._replicas = {replica.node: replica for replica in replicas}
        self._order = order
        self._now_ns = now_ns
        self._compare = compare
        self._on_divergence = on_divergence
        self._on_conflict = on_conflict
        self._legs = Gathering(deadline_s)

    @property
    def busy(self) -> int:
        """Legs that are under way."""
        return self._legs.busy

    async def idle(self) -> None:
        """Wait until no leg is under way; each has a deadline of its own."""
        await self._legs.idle()

    async def stamp(self, bucket: str, key: str) -> str:
        """A stamp for a new version of `key`, newer than any this node knows of."""
        try:
            known = await self._own.find(bucket, key)
        except ReplicaError:
            known = None
        return make_stamp(self._now_ns(), self._node, known.stamp if known else "")

    async def write(self, record: Record, data: bytes = b"") -> None:
        """Keep a version of an object, or its delete marker, at a quorum of its holders.

        A stamp that holders find too old, because this clock is behind another one, is made anew.
        """
        holding = self._holders(record.bucket, record.key)
        await self._write(record, data, holding, quorum(holding))

    async def find(self, bucket: str, key: str) -> Record | None:
        """The newest record of an object; None when absent or deleted."""
        holding = self._holders(bucket, key)
        answers = await self._legs.first([partial(self._look, name, bucket, key) for name in holding], quorum(holding))
        newest = self._newest_of(answers)
        if newest is None or newest.deleted:
            return None
        if self._compare and (why := conflict(newest, answers)):
            newest, _ = await self._agreed(newest, why)
        return newest

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
        answers = await self._legs.first(calls, quorum(holding))
        newest = self._newest_of(answers)
        if newest is None or newest.deleted:
            return None
        having = [name for name, record in answers if record is not None and record.stamp == newest.stamp]
        got = next((fetched[name] for name in having if name in fetched), None)
        if got is None:
            got = await self._fetch_from([*having, *(n for n in holding if n not in having)], newest)
        if self._compare and (why := conflict(got[0], answers) or unlike(got[0], got[1])):
            got = await self._agreed(got[0], why)
        return got

    async def survey(self, bucket: str, key: str) -> dict[str, Record | None]:
        """What each holder that answers has of an object, part or bucket: delete markers among them."""
        holding = self._holders(bucket, key) if key else self._everyone()
        return dict(await self._legs.all([partial(self._look, name, bucket, key) for name in holding]))

    def holders(self, bucket: str, key: str) -> tuple[str, ...]:
        """The names of those that hold an object or part, with an empty key a bucket."""
        return self._holders(bucket, key) if key else self._everyone()

    async def copy(self, record: Record, sources: Sequence[str], targets: Sequence[str]) -> None:
        """Bring a version as it is from the first of `sources` that has it sound to each of `targets`.

        Raises S3Error ServiceUnavailable, ReplicaError, TimeoutError.
        """
        data = b""
        if record.key and not record.deleted:
            record, data = await self._fetch_from(sources, record)
        for name in targets:
            with contextlib.suppress(Stale):
                await self._legs.bounded(self._replicas[name].put(record, data), len(data))

    async def settle(self, record: Record) -> None:
        """Write what most holders have of a version that they have differently, as a version just after it.

        Raises S3Error ServiceUnavailable when no two agree.
        """
        right, data = await self._agreed(record, "")
        stamp = make_stamp(0, self._node, right.stamp)
        await self.write(msgspec.structs.replace(right, stamp=stamp), data)

    async def bucket(self, name: str) -> Record | None:
        """The bucket's record, None when there is none."""
        try:
            own = await self._own.find(name, "")
        except ReplicaError:
            own = None
        if own is not None and not own.deleted:
            return own
        everyone = self._everyone()
        found = await self._legs.first(
            [partial(self._replicas[node].find, name, "") for node in everyone], _majority(everyone)
        )
        newest = _newest(found)
        if newest is None or newest.deleted:
            return None
        with contextlib.suppress(ReplicaError):  # it only spares the next request the question
            await self._own.put(newest, b"")
        return newest

    async def need_bucket(self, name: str) -> None:
        """Raise S3Error NoSuchBucket unless there is one of that name."""
        if await self.bucket(name) is None:
            raise S3Error("NoSuchBucket", "The specified bucket does not exist")

    async def write_bucket(self, record: Record) -> None:
        """Keep a bucket's record, or its delete marker, at a majority of the region."""
        everyone = self._everyone()
        await self._write(record, b"", everyone, _majority(everyone))

    async def buckets(self) -> tuple[Record, ...]:
        """Every bucket there is, by name."""
        everyone = self._everyone()
        lists = await self._legs.first([self._replicas[node].buckets for node in everyone], _majority(everyone))
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
            batches = await self._legs.first(calls, max(1, len(everyone) - 1), all_at_once=True)
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
        return self._sorted(holders(self._replicas, *home(bucket, key)))

    def _everyone(self) -> tuple[str, ...]:
        return self._sorted(tuple(sorted(self._replicas)))

    def _sorted(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Own first: it costs no leg; then those that are likely to answer."""
        return tuple(sorted(self._order(names), key=lambda name: name != self._node))

    def _newest_of(self, answers: Sequence[tuple[str, Record | None]]) -> Record | None:
        """The newest record; that some holder has it not is told."""
        newest = _newest(record for _, record in answers)
        if newest is not None and any(record is None or record.stamp != newest.stamp for _, record in answers):
            self._on_divergence(newest.bucket, newest.key)
        return newest

    async def _agreed(self, record: Record, why: str) -> tuple[Record, bytes]:
        """The bytes that two holders have of one version, whatever another one has.

        Raises S3Error ServiceUnavailable when no two agree.
        """
        if why:
            self._on_conflict(record.bucket, record.key, why)
            self._on_divergence(record.bucket, record.key)
        holding = self._holders(record.bucket, record.key)
        found = await self._legs.all(
            [partial(self._replicas[name].fetch, record.bucket, record.key) for name in holding], record.size
        )
        same = [got for got in found if got is not None and got[0].stamp == record.stamp and not unlike(*got)]
        for got in same:
            if sum(contents(other[0]) == contents(got[0]) for other in same) >= quorum(holding):
                return got
        raise S3Error("ServiceUnavailable", "The replicas do not agree; please try again.")

    async def _look(self, node: str, bucket: str, key: str) -> tuple[str, Record | None]:
        return node, await self._replicas[node].find(bucket, key)

    async def _fetch_from(self, names: Sequence[str], newest: Record) -> tuple[Record, bytes]:
        """The data of `newest` or of something newer still, from the first of `names` that has it."""
        for name in names:
            try:
                got = await self._legs.bounded(self._replicas[name].fetch(newest.bucket, newest.key), newest.size)
            except (ReplicaError, TimeoutError):
                continue
            if got is not None and got[0].stamp >= newest.stamp and not got[0].deleted:
                return got
        raise S3Error("ServiceUnavailable", "No replica could give the data.")

    async def _write(self, record: Record, data: bytes, nodes: Sequence[str], need: int) -> None:
        for _ in range(_STAMPS):
            newer: list[str] = []
            calls = [partial(self._put, name, record, data, newer) for name in nodes]
            try:
                await self._legs.first(calls, need, all_at_once=True, size=len(data))
            except S3Error:
                if not newer:
                    raise
            else:
                return
            record = msgspec.structs.replace(record, stamp=make_stamp(0, self._node, max(newer)))
        raise S3Error("ServiceUnavailable", "Newer versions keep coming; please try again.")

    async def _put(self, node: str, record: Record, data: bytes, newer: list[str]) -> None:
        """One holder's part of a write; what it misses is told, also when nobody waits for it any more."""
        try:
            await self._replicas[node].put(record, data)
        except Stale as error:
            newer.append(error.stamp)
            raise
        except (ReplicaError, asyncio.CancelledError):
            self._on_divergence(record.bucket, record.key)
            raise


def _newest(records: Iterable[Record | None]) -> Record | None:
    return max(filter(None, records), key=lambda record: record.stamp, default=None)


def _majority(nodes: Sequence[str]) -> int:
    return len(nodes) // 2 + 1
