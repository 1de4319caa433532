"""A client that keeps the ledger: each write is begun before it is sent, and settled by what was answered."""

from __future__ import annotations

import msgspec

from straybit.clients import Reply, S3Like
from straybit.ledger import Ledger

__all__ = ["BUCKET", "LedgerClient", "Stored"]

BUCKET = "straybit"
"""Where a scenario's workload writes."""


class Stored(msgspec.Struct, frozen=True):
    """One key as a read found it: the ledger's verdict, and what the client got."""

    key: str
    verdict: str
    reply: Reply


class LedgerClient:
    """Writes and reads objects of `bucket` by `s3`, and holds them against `ledger`; as thread-safe as both are."""

    def __init__(self, s3: S3Like, ledger: Ledger, *, bucket: str = BUCKET) -> None:
        self._s3 = s3
        self._ledger = ledger
        self._bucket = bucket

    def create_bucket(self) -> Reply:
        """PUT the bucket; one that is there already is fine."""
        return self._s3.create_bucket(self._bucket)

    def put(self, key: str, body: bytes) -> Reply:
        """Write an object: acknowledged, refused for certain (a 4xx), or left open (a 5xx, or no reply)."""
        write = self._ledger.begin(key, body)
        reply = self._s3.put(self._bucket, key, body)
        if reply.ok:
            self._ledger.ack(write)
        elif 400 <= reply.status < 500:
            self._ledger.refuse(write)
        return reply

    def get(self, key: str) -> Stored:
        """Read an object and say whether it is right, wrong, lost (absent for certain) or error (no value at all)."""
        reply = self._s3.get(self._bucket, key)
        absent = reply.status == 404
        outcome = reply.body if reply.ok else None if absent else OSError(reply.code or "no reply")
        return Stored(key, self._ledger.check(key, outcome), reply)

    def close(self) -> None:
        """Close the client's connections."""
        self._s3.close()
