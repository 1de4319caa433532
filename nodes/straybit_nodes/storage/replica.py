"""One holder of records, near or far: what the coordinator reads from and writes to."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Protocol

from straybit_nodes.storage.listing import Batch
from straybit_nodes.storage.parts import is_parts, part_key, split_part_key
from straybit_nodes.storage.record import Damaged, Quarantined, Record
from straybit_nodes.storage.store import Store

__all__ = ["LocalReplica", "Replica", "ReplicaError", "Stale"]


_INLINE = 64 * 1024
"""Bytes up to which a read is not worth a thread: it costs less than handing it over."""


class ReplicaError(Exception):
    """A replica did not do its part: no place, no connection, no sound answer, or damage; the message says which."""


class Stale(ReplicaError):
    """A replica has a newer version than it was to keep: one with the stamp `stamp`."""

    def __init__(self, stamp: str) -> None:
        super().__init__(f"a newer version is there, of {stamp}")
        self.stamp = stamp


class Replica(Protocol):
    """A node that holds records. Every method raises ReplicaError."""

    @property
    def node(self) -> str:
        """Its name."""

    async def put(self, record: Record, data: bytes) -> None:
        """Keep a version durably. Raises Stale when a newer one is there."""

    async def find(self, bucket: str, key: str) -> Record | None:
        """The newest record, delete markers among them; with an empty key the bucket's."""

    async def fetch(self, bucket: str, key: str) -> tuple[Record, bytes] | None:
        """The newest record with its data."""

    async def scan(self, bucket: str, prefix: str, after: str, limit: int, *, partial: bool = False) -> Batch:
        """Up to `limit` records after `after`, delete markers among them; a `partial` list where nothing else is."""

    async def buckets(self) -> tuple[Record, ...]:
        """Every bucket's record, delete markers among them."""


class LocalReplica:
    """The node's own store; writes and long reads run in a thread.

    `verify` compares stored bytes with their checksum on every read (`read-verify`);
    `on_damage` is told (bucket, key, why) when they differ, once; the file goes to quarantine and the read fails here.
    Parts of an upload go when the delete marker of the upload comes.
    """

    def __init__(self, node: str, store: Store, *, verify: bool, on_damage: DamageReport) -> None:
        self.node = node
        self.store = store
        self._verify = verify
        self._on_damage = on_damage

    async def put(self, record: Record, data: bytes) -> None:
        """See Replica."""
        try:
            await asyncio.to_thread(self._put, record, data)
        except OSError as error:
            raise ReplicaError(f"the disk refused: {error}") from error

    async def find(self, bucket: str, key: str) -> Record | None:
        """See Replica."""
        try:
            return self.store.find(bucket, key)
        except Damaged as error:
            raise ReplicaError(f"damaged: {error}") from error

    async def fetch(self, bucket: str, key: str) -> tuple[Record, bytes] | None:
        """See Replica."""
        record = await self.find(bucket, key)
        if record is None or record.deleted:
            return None if record is None else (record, b"")
        try:
            if record.size <= _INLINE and not self.store.disk.slow:
                return self.store.read(bucket, key, verify=self._verify)
            return await asyncio.to_thread(self.store.read, bucket, key, verify=self._verify)
        except Quarantined as error:
            raise ReplicaError(f"damaged: {error}") from error
        except Damaged as error:
            if await asyncio.to_thread(self.store.quarantine, bucket, key, record.stamp):
                self._on_damage(bucket, key, str(error))
            raise ReplicaError(f"damaged: {error}") from error
        except OSError as error:
            raise ReplicaError(f"the disk refused: {error}") from error

    async def scan(self, bucket: str, prefix: str, after: str, limit: int, *, partial: bool = False) -> Batch:
        """See Replica."""
        try:
            return self.store.list(bucket, prefix, after, limit, skip_unreadable=partial)
        except Damaged as error:
            raise ReplicaError(f"damaged: {error}") from error

    async def buckets(self) -> tuple[Record, ...]:
        """See Replica."""
        return self.store.buckets()

    def _put(self, record: Record, data: bytes) -> None:
        if is_parts(record.bucket):
            key, upload, number = split_part_key(record.key)
            begun = part_key(key, upload, 0)
            if number and self._is_over(record.bucket, begun):
                return
            self._keep(record, data)
            if record.deleted and not number:
                self.store.drop(record.bucket, begun[:-5], keep=begun)
            return
        self._keep(record, data)

    def _keep(self, record: Record, data: bytes) -> None:
        if self.store.put(record, data):
            return
        with contextlib.suppress(Damaged):
            known = self.store.find(record.bucket, record.key)
            if known is not None and known.stamp > record.stamp:
                raise Stale(known.stamp)

    def _is_over(self, bucket: str, begun: str) -> bool:
        try:
            known = self.store.find(bucket, begun)
        except Damaged:
            return False
        return known is not None and known.deleted


class DamageReport(Protocol):
    """Told of damage at rest."""

    def __call__(self, bucket: str, key: str, why: str) -> None:
        """`why` says what differs."""
