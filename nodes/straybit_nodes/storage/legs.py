"""Legs between storage nodes: a place, a new connection, one request, the place given back.

A leg is an S3 request of the same method and target as the client's, so that a fault on a link finds it by name,
with three headers of its own:

    x-straybit-replica: the run's token; whoever lacks it is a client
    x-straybit-record:  the record in base64, on what is written and on what is read
    x-straybit-crc32c:  over what is asked (in a reply also its status), record and body, in both directions,
                        when `content-checksum` is on

With `content-checksum` on, a leg without the last or with a wrong one is refused.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar
from urllib.parse import quote

import google_crc32c
import msgspec

from straybit_nodes.dial import DialTable
from straybit_nodes.http1 import HttpError, Reply, talk
from straybit_nodes.storage.listing import Batch
from straybit_nodes.storage.parts import home, is_parts, split_part_key
from straybit_nodes.storage.record import Record, RecordError
from straybit_nodes.storage.replica import ReplicaError, Stale
from straybit_nodes.storage.request import MAX_BODY
from straybit_nodes.topology import Role

__all__ = [
    "CRC_HEADER",
    "RECORD_HEADER",
    "TOKEN_HEADER",
    "Places",
    "RemoteReplica",
    "leg_crc",
    "pack_record",
    "target_of",
    "unpack_record",
]

T = TypeVar("T")

_BATCH = msgspec.json.Decoder(Batch)
_RECORDS = msgspec.json.Decoder(tuple[Record, ...])

TOKEN_HEADER = "x-straybit-replica"
RECORD_HEADER = "x-straybit-record"
CRC_HEADER = "x-straybit-crc32c"


class Places(Protocol):
    """Gives places for talking to peers, as the rules of gossip want it."""

    def place(self, peer: str) -> AbstractAsyncContextManager[int]:
        """Hold a place for talking to the gossip member `peer`; gives the address gossip has for it.

        Raises ConnectionError when it is denied.
        """


class RemoteReplica:
    """Another storage node, reached by a leg. `node` is its name, `member` the gossip member that speaks for it.

    `on_failure` is told (node, why) of each leg that failed, `on_damage` (method, target, why) of a reply
    whose checksum is wrong. `checksums` is `content-checksum`.
    """

    def __init__(
        self,
        node: str,
        member: str,
        *,
        places: Places,
        dials: DialTable,
        token: str,
        checksums: bool,
        on_failure: Callable[[str, str], None],
        on_damage: Callable[[str, str, str], None],
    ) -> None:
        self.node = node
        self._member = member
        self._places = places
        self._dials = dials
        self._token = token
        self._checksums = checksums
        self._on_failure = on_failure
        self._on_damage = on_damage

    async def put(self, record: Record, data: bytes) -> None:
        """See Replica."""
        method = "DELETE" if record.deleted else "PUT"
        reply = await self._call(method, target_of(record.bucket, record.key), record=record, body=data)
        if reply.status == 409:
            raise Stale(self._record(reply, record.bucket, record.key).stamp)

    async def find(self, bucket: str, key: str) -> Record | None:
        """See Replica."""
        reply = await self._call("HEAD", target_of(bucket, key))
        return None if reply.status == 404 else self._record(reply, bucket, key)

    async def fetch(self, bucket: str, key: str) -> tuple[Record, bytes] | None:
        """See Replica."""
        reply = await self._call("GET", target_of(bucket, key))
        return None if reply.status == 404 else (self._record(reply, bucket, key), reply.body)

    async def scan(self, bucket: str, prefix: str, after: str, limit: int, *, partial: bool = False) -> Batch:
        """See Replica."""
        kind = "uploads" if is_parts(bucket) else "list-type=2"
        query = f"?{kind}&prefix={quote(prefix, safe='')}&start-after={quote(after, safe='')}&max-keys={limit}"
        query += "&partial" if partial else ""
        return self._json(await self._call("GET", target_of(home(bucket, "")[0], "") + query), _BATCH)

    async def buckets(self) -> tuple[Record, ...]:
        """See Replica."""
        return self._json(await self._call("GET", "/"), _RECORDS)

    async def _call(self, method: str, target: str, *, record: Record | None = None, body: bytes = b"") -> Reply:
        """One leg. Raises ReplicaError unless it was answered 2xx, 404 or 409."""
        try:
            async with self._places.place(self._member) as address:
                stream = await self._dials.connect(address, Role.STORAGE)
                headers = self._headers(f"{method} {target}", pack_record(record) if record else "", body)
                reply = await talk(stream, method, target, headers=headers, body=body, limit=2 * MAX_BODY)
        except (OSError, HttpError) as error:
            raise self._failed(str(error) or type(error).__name__) from error
        except asyncio.CancelledError:
            self._failed("no answer in time")
            raise
        if reply.status in {404, 409} or 200 <= reply.status < 300:
            self._check(method, target, reply)
            return reply
        raise self._failed(f"{method} was answered {reply.status}")

    def _headers(self, subject: str, record: str, body: bytes) -> list[tuple[str, str]]:
        headers = [("Host", self.node), (TOKEN_HEADER, self._token)]
        if record:
            headers.append((RECORD_HEADER, record))
        if self._checksums:
            headers.append((CRC_HEADER, leg_crc(subject, record, body)))
        return headers

    def _check(self, method: str, target: str, reply: Reply) -> None:
        right = leg_crc(f"{reply.status} {method} {target}", reply.header(RECORD_HEADER), reply.body)
        if self._checksums and reply.header(CRC_HEADER) != right:
            why = f"the reply of {self.node} does not have its checksum"
            self._on_damage(method, target, why)
            raise self._failed(why)

    def _record(self, reply: Reply, bucket: str, key: str) -> Record:
        try:
            return unpack_record(reply.header(RECORD_HEADER), bucket, key)
        except RecordError as error:
            raise self._failed(str(error)) from error

    def _json(self, reply: Reply, answer: msgspec.json.Decoder[T]) -> T:
        try:
            return answer.decode(reply.body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._failed(f"the reply cannot be read: {error}") from error

    def _failed(self, why: str) -> ReplicaError:
        self._on_failure(self.node, why)
        return ReplicaError(f"{self.node}: {why}")


def target_of(bucket: str, key: str) -> str:
    """The request target of an object, part or bucket; each byte outside A-Z a-z 0-9 - . _ ~ / quoted."""
    if is_parts(bucket):
        name, upload, number = split_part_key(key)
        return f"{target_of(home(bucket, key)[0], name)}?partNumber={number}&uploadId={upload}"
    return f"/{bucket}/{quote(key, safe='/')}" if key else f"/{bucket}"


def pack_record(record: Record) -> str:
    """A record as a header's value."""
    return base64.b64encode(record.encode()).decode()


def unpack_record(text: str, bucket: str, key: str) -> Record:
    """A header's value as the record of that object. Raises RecordError, also when it is another's."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RecordError("not base64") from None
    record = Record.decode(data)
    if (record.bucket, record.key) != (bucket, key):
        raise RecordError("it names another object than the request")
    if len(record.stamp) < 21 or not record.stamp[:20].isdigit():
        raise RecordError("it has no stamp")
    return record


def leg_crc(subject: str, record: str, body: bytes) -> str:
    """The checksum of a leg: CRC32C over what it is about, the record as sent and the body, 8 hex digits.

    `subject` is `METHOD TARGET` of a request and `STATUS METHOD TARGET` of its reply:
    a damaged target or status would have an object answered as absent that is there.
    """
    head = f"{subject}\n{record}\n".encode("utf-8", "surrogateescape")
    value: int = google_crc32c.extend(google_crc32c.value(head), body)
    return f"{value:08x}"
