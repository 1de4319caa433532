"""One holder of records, near or far: what the coordinator reads from and writes to."""

from __future__ import annotations

import asyncio
from typing import Protocol

from straybit_nodes.storage.listing import Batch
from straybit_nodes.storage.record import Damaged, Record
from straybit_nodes.storage.store import Store

__all__ = ["LocalReplica", "Replica", "ReplicaError"]


_INLINE = 64 * 1024
"""Bytes up to which a read is not worth a thread: it costs less than handing it over."""


class ReplicaError(Exception):
    """A replica did not do its part: no place, no connection, no sound answer, or damage; the message says which."""


class Replica(Protocol):
    """A node that holds records. Every method raises ReplicaError."""

    @property
    def node(self) -> str:
        """Its name."""

    async def put(self, record: Record, data: bytes) -> None:
        """Keep a version durably, unless a newer one is there."""

    async def find(self, bucket: str, key: str) -> Record | None:
        """The newest record, delete markers among them; with an empty key the bucket's."""

    async def fetch(self, bucket: str, key: str) -> tuple[Record, bytes] | None:
        """The newest record with its data."""

    async def scan(self, bucket: str, prefix: str, after: str, limit: int) -> Batch:
        """Up to `limit` records after `after`, delete markers among them."""

    async def buckets(self) -> tuple[Record, ...]:
        """Every bucket's record, delete markers among them."""


class LocalReplica:
    """The node's own store; writes and long reads run in a thread.

    `verify` compares stored bytes with their checksum on every read (`read-verify`);
    `on_damage` is told (bucket, key, why) when they differ, and the read fails here.
    """

    def __init__(self, node: str, store: Store, *, verify: bool, on_damage: DamageReport) -> None:
        self.node = node
        self.store = store
        self._verify = verify
        self._on_damage = on_damage

    async def put(self, record: Record, data: bytes) -> None:
        """See Replica."""
        try:
            await asyncio.to_thread(self.store.put, record, data)
        except OSError as error:
            raise ReplicaError(f"the disk refused: {error}") from error

    async def find(self, bucket: str, key: str) -> Record | None:
        """See Replica."""
        try:
            return self.store.find(bucket, key) if key else self.store.bucket(bucket)
        except Damaged as error:
            raise self._damaged(bucket, key, error) from error

    async def fetch(self, bucket: str, key: str) -> tuple[Record, bytes] | None:
        """See Replica."""
        record = await self.find(bucket, key)
        if record is None or record.deleted:
            return None if record is None else (record, b"")
        try:
            if record.size <= _INLINE:
                return self.store.read(bucket, key, verify=self._verify)
            return await asyncio.to_thread(self.store.read, bucket, key, verify=self._verify)
        except Damaged as error:
            raise self._damaged(bucket, key, error) from error
        except OSError as error:
            raise ReplicaError(f"the disk refused: {error}") from error

    async def scan(self, bucket: str, prefix: str, after: str, limit: int) -> Batch:
        """See Replica."""
        try:
            return self.store.list(bucket, prefix, after, limit)
        except Damaged as error:
            raise self._damaged(bucket, "", error) from error

    async def buckets(self) -> tuple[Record, ...]:
        """See Replica."""
        return self.store.buckets()

    def _damaged(self, bucket: str, key: str, error: Damaged) -> ReplicaError:
        self._on_damage(bucket, key, str(error))
        return ReplicaError(f"damaged: {error}")


class DamageReport(Protocol):
    """Told of damage at rest."""

    def __call__(self, bucket: str, key: str, why: str) -> None:
        """`why` says what differs."""
