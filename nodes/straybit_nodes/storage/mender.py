"""Brings back to three holders what one of them missed, lost or found damaged.

Theory of operation.
Whoever notices says which key: a coordinator whose leg failed (a hint), a read whose holders differ,
a read or the scrubber that found damage. The keys wait here, once each, up to a limit.
To mend one is to ask its holders what they have, and to bring the newest version, delete marker or bucket
to each that lacks it. Two of them must answer soundly, as for any read:
so a version that was acknowledged is among the answers, and nothing older can take its place.
A node that comes back cannot know what it missed, and hints are forgotten when their keeper dies or has too many:
then a round compares every record with those of every other node of the region, in both directions.
What fails is tried again later, the wait doubling up to a limit; with nothing to mend, nothing is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

from straybit_nodes.storage.agreement import contents
from straybit_nodes.storage.coordinator import Coordinator
from straybit_nodes.storage.errors import S3Error
from straybit_nodes.storage.listing import Batch, Summary
from straybit_nodes.storage.parts import is_parts, part_key, parts_bucket, split_part_key
from straybit_nodes.storage.placement import REPLICAS, quorum
from straybit_nodes.storage.record import Damaged, Record
from straybit_nodes.storage.replica import Replica, ReplicaError
from straybit_nodes.storage.store import Store

__all__ = ["KEYS_MAX", "Mender"]

KEYS_MAX = 4096
"""Keys that wait to be mended; with more, a whole round is made instead."""
START_S = 8.0
"""Before the round of a node that has just started: when a whole cluster starts, it has other things to do."""
PEER_PAUSE_S = 0.5
KEY_PAUSE_S = 0.05
"""Behind each node compared and each key mended: mending must not take the places that requests need.

Without them the rounds of eight nodes that start together cost the first requests their time-outs (2026-11-22).
"""
FIRST_S = 0.5
"""Before the first try: most legs that failed, failed for a moment."""
LAST_S = 8.0
"""Between tries at most: how long a node that is back may wait for what it missed."""
_PAGE = 1000
_LEG_S = 2.0
_T = TypeVar("_T")


class Mender:
    """Mends what is noted while it runs. `on_mended` is told (bucket, key) of each key that was brought anywhere."""

    def __init__(
        self,
        node: str,
        coordinator: Coordinator,
        replicas: tuple[Replica, ...],
        store: Store,
        *,
        on_mended: Callable[[str, str], None],
    ) -> None:
        self._node = node
        self._coordinator = coordinator
        self._replicas = replicas
        self._store = store
        self._on_mended = on_mended
        self._keys: dict[tuple[str, str], None] = {}
        self._round_wanted = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Keys that are to be mended; one more where a round is to be made."""
        return len(self._keys) + self._round_wanted

    def note(self, bucket: str, key: str) -> None:
        """Mend this key, with an empty key this bucket."""
        if len(self._keys) >= KEYS_MAX:
            self._round_wanted = True
        else:
            self._keys[bucket, key] = None
        self._wake.set()

    def start(self) -> None:
        """Begin with a round: nobody knows what this node missed."""
        if self._task is None:
            self._round_wanted = True
            self._wake.set()
            self._task = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        """End; what was noted is kept."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def work(self, *, peer_pause_s: float = 0.0, key_pause_s: float = 0.0) -> bool:
        """Mend all that is noted, now, with a pause behind each; True when nothing is left over."""
        whole = False
        if self._round_wanted or self._store.unnamed:
            self._round_wanted = False
            complete, whole = await self._compare_all(peer_pause_s)
            self._round_wanted |= not complete
        for bucket, key in list(self._keys):
            if await self._mended(bucket, key):
                self._keys.pop((bucket, key), None)
            if key_pause_s:
                await asyncio.sleep(key_pause_s)
        if whole and not self._keys and len(self._replicas) >= REPLICAS:
            self._store.give_up()
        return not self.waiting

    async def _run(self) -> None:
        wait_s = START_S
        while True:
            await self._wake.wait()
            await asyncio.sleep(wait_s)
            self._wake.clear()
            if await self.work(peer_pause_s=PEER_PAUSE_S, key_pause_s=KEY_PAUSE_S):
                wait_s = FIRST_S
            else:
                wait_s = min(2 * wait_s, LAST_S)
                self._wake.set()

    async def _mended(self, bucket: str, key: str) -> bool:
        """Whether every holder has the newest version now."""
        try:
            return await self._mend(bucket, key)
        except (S3Error, ReplicaError, TimeoutError):
            return False

    async def _mend(self, bucket: str, key: str) -> bool:
        if self._is_over(bucket, key):
            return True
        holding = self._coordinator.holders(bucket, key)
        found = await self._coordinator.survey(bucket, key)
        if len(found) < (quorum(holding) if key else len(holding) // 2 + 1):
            return False
        newest = max(filter(None, found.values()), key=lambda record: record.stamp, default=None)
        if newest is None:
            return len(found) == len(holding)
        having = [name for name, record in found.items() if record is not None and record.stamp == newest.stamp]
        if len({contents(record) for record in found.values() if record and record.stamp == newest.stamp}) > 1:
            await self._coordinator.settle(newest)
            self._on_mended(bucket, key)
            return True
        if not self._store.is_sound(bucket, key):
            having = [name for name in having if name != self._node]
        lacking = [name for name in holding if name not in having]
        if lacking:
            await self._coordinator.copy(newest, having, lacking)
            self._on_mended(bucket, key)
        return True

    def _is_over(self, bucket: str, key: str) -> bool:
        """It is a part of an upload that is over: nobody needs it."""
        if not is_parts(bucket) or not key:
            return False
        name, upload, number = split_part_key(key)
        with contextlib.suppress(Damaged):
            begun = self._store.find(bucket, part_key(name, upload, 0))
            return number > 0 and begun is not None and begun.deleted
        return False

    async def _compare_all(self, pause_s: float) -> tuple[bool, bool]:
        """Note every key whose holders differ.

        Whether every node answered, and whether each of them could read all that it has.
        """
        for bucket, key in self._store.damaged():
            self.note(bucket, key)
        compared = []
        for other in self._replicas:
            if other.node != self._node:
                compared.append(await self._compared(other))
                await asyncio.sleep(pause_s)
        return all(whole is not None for whole in compared), all(compared)

    async def _compared(self, other: Replica) -> bool | None:
        """Whether another node could read all that it has; None when it did not answer."""
        whole = True
        try:
            theirs = {record.bucket: record for record in await _within(other.buckets())}
            for name in sorted(theirs.keys() | {record.bucket for record in self._store.buckets()}):
                if _stamp(theirs.get(name)) != self._own_stamp(name):
                    self.note(name, "")
                whole &= await self._compare_bucket(other, name)
                whole &= await self._compare_bucket(other, parts_bucket(name))
        except (ReplicaError, TimeoutError):
            return None
        return whole

    async def _compare_bucket(self, other: Replica, bucket: str) -> bool:
        after, more, whole = "", True, True
        while more:
            theirs = await _within(other.scan(bucket, "", after, _PAGE, partial=True))
            whole &= not theirs.partial
            last = theirs.items[-1].key if theirs.more and theirs.items else None
            for key in _differences(theirs.items, self._own(bucket, after, last)):
                holding = self._coordinator.holders(bucket, key)
                if self._node in holding and other.node in holding and not self._is_over(bucket, key):
                    self.note(bucket, key)
            more, after = last is not None, last or ""
        return whole

    def _own_stamp(self, bucket: str) -> str:
        try:
            return _stamp(self._store.find(bucket, ""))
        except Damaged:
            return ""

    def _own(self, bucket: str, after: str, last: str | None) -> list[Summary]:
        """The own records behind `after`, up to `last`; of what cannot be read nothing is known."""
        items: list[Summary] = []
        batch = Batch((), more=True)
        while batch.more:
            batch = self._store.list(bucket, "", items[-1].key if items else after, _PAGE, skip_unreadable=True)
            items += [item for item in batch.items if last is None or item.key <= last]
            if batch.items and last is not None and batch.items[-1].key > last:
                break
        return items


def _differences(theirs: tuple[Summary, ...], own: list[Summary]) -> list[str]:
    one, two = ({item.key: item.stamp for item in items} for items in (theirs, own))
    return sorted(key for key in one.keys() | two.keys() if one.get(key) != two.get(key))


def _stamp(record: Record | None) -> str:
    return record.stamp if record else ""


async def _within(call: Awaitable[_T]) -> _T:
    async with asyncio.timeout(_LEG_S):
        return await call
