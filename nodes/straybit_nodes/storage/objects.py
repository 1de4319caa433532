"""What the operations on objects do: put, copy, get, head, delete, and delete of many."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import unquote

import msgspec

from straybit_nodes.storage.answers import Deleted, copy_xml, delete_xml
from straybit_nodes.storage.calls import XML, Answer, Call
from straybit_nodes.storage.conditions import COPY_SOURCE, check_copy, check_write, not_modified
from straybit_nodes.storage.coordinator import Coordinator
from straybit_nodes.storage.digests import ALGORITHMS, compute, md5_hex
from straybit_nodes.storage.documents import parse_delete
from straybit_nodes.storage.errors import S3Error
from straybit_nodes.storage.metadata import asked_checksum, checksum_headers, object_headers, stored_headers
from straybit_nodes.storage.record import Record
from straybit_nodes.storage.request import MAX_BODY, MAX_KEY, parse_range, parse_target

__all__ = ["ObjectService", "asked_algorithm", "fetch_source"]

_DELETES_AT_ONCE = 8
"""Of one DeleteObjects; each has two legs, and a node's places for talking are few."""


class ObjectService:
    """Operations on objects. Every error is an S3Error."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator

    async def put(self, call: Call) -> Answer:
        """PutObject, or CopyObject where the headers name a source."""
        if COPY_SOURCE in call.headers:
            return await self._copy(call)
        kept = stored_headers(call.headers)
        await self._coordinator.need_bucket(call.bucket)
        await self._check_write(call)
        record = await self._write(call, call.body, call.md5, kept, call.checksums)
        return Answer(200, {"ETag": f'"{record.etag}"', **checksum_headers(record)})

    async def get(self, call: Call) -> Answer:
        """GetObject."""
        got = await self._coordinator.fetch(call.bucket, call.key)
        if got is None:
            raise await self._absent(call.bucket)
        record, data = got
        answer = self._head_of(record, call)
        ranged = parse_range(call.headers.get("range"), len(data)) if answer.status == 200 else None
        if answer.status != 200 or ranged is None:
            return answer if answer.status != 200 else msgspec.structs.replace(answer, body=data, length=None)
        content_range = f"bytes {ranged.first}-{ranged.last}/{len(data)}"
        headers = {**object_headers(record, call.query), "Content-Range": content_range}
        return Answer(206, headers, data[ranged.first : ranged.last + 1])

    async def head(self, call: Call) -> Answer:
        """HeadObject."""
        record = await self._coordinator.find(call.bucket, call.key)
        if record is None:
            raise await self._absent(call.bucket)
        answer = self._head_of(record, call)
        ranged = parse_range(call.headers.get("range"), record.size) if answer.status == 200 else None
        if ranged is None:
            return answer
        content_range = f"bytes {ranged.first}-{ranged.last}/{record.size}"
        headers = {**object_headers(record, call.query), "Content-Range": content_range}
        return Answer(206, headers, length=ranged.last - ranged.first + 1)

    async def delete(self, call: Call) -> Answer:
        """DeleteObject: what is not there is deleted as well as anything."""
        await self._coordinator.need_bucket(call.bucket)
        await self._delete(call.bucket, call.key)
        return Answer(204)

    async def delete_many(self, call: Call) -> Answer:
        """DeleteObjects: each key for itself, in order; a key that could not be deleted is named."""
        wanted = parse_delete(call.body)
        await self._coordinator.need_bucket(call.bucket)
        slots = asyncio.Semaphore(_DELETES_AT_ONCE)
        results = await asyncio.gather(*(self._deleted(slots, call.bucket, *item) for item in wanted.keys))
        return Answer(200, XML, delete_xml(results, quiet=wanted.quiet))

    async def _copy(self, call: Call) -> Answer:
        directive = call.headers.get("x-amz-metadata-directive", "COPY").upper()
        if directive not in {"COPY", "REPLACE"}:
            raise S3Error("InvalidArgument", "Unknown metadata directive.")
        await self._coordinator.need_bucket(call.bucket)
        source, data = await fetch_source(self._coordinator, call.headers)
        if directive == "COPY" and (source.bucket, source.key) == (call.bucket, call.key):
            raise S3Error(
                "InvalidRequest",
                "This copy request is illegal because it is trying to copy an object to itself without changing "
                "the object's metadata, storage class, website redirect location or encryption attributes.",
            )
        await self._check_write(call)
        kept = stored_headers(call.headers)
        asked = asked_algorithm(call.headers)
        algorithms = [asked] if asked else list(source.checksums)
        checksums = {name: compute(name, data) for name in algorithms}
        headers = source.headers if directive == "COPY" else kept
        record = await self._write(call, data, md5_hex(data), headers, checksums)
        return Answer(200, XML, copy_xml("CopyObjectResult", record))

    async def _write(
        self, call: Call, data: bytes, etag: str, headers: dict[str, str], checksums: dict[str, str]
    ) -> Record:
        record = Record(
            bucket=call.bucket,
            key=call.key,
            stamp=await self._coordinator.stamp(call.bucket, call.key),
            size=len(data),
            etag=etag,
            headers=headers,
            checksums=checksums,
        )
        await self._coordinator.write(record, data)
        return record

    async def _check_write(self, call: Call) -> None:
        if "if-match" in call.headers or "if-none-match" in call.headers:
            check_write(await self._coordinator.find(call.bucket, call.key), call.headers)

    def _head_of(self, record: Record, call: Call) -> Answer:
        headers = object_headers(record, call.query)
        if not_modified(record, call.headers):
            return Answer(304, {name: value for name, value in headers.items() if name != "Content-Type"})
        return Answer(200, {**headers, **asked_checksum(record, call.headers)}, length=record.size)

    async def _deleted(self, slots: asyncio.Semaphore, bucket: str, key: str, version: str) -> Deleted:
        try:
            _check_deleted(key, version)
            async with slots:
                await self._delete(bucket, key)
        except S3Error as error:
            return Deleted(key, version, error)
        return Deleted(key, version)

    async def _delete(self, bucket: str, key: str) -> None:
        stamp = await self._coordinator.stamp(bucket, key)
        await self._coordinator.write(Record(bucket=bucket, key=key, stamp=stamp, deleted=True))

    async def _absent(self, bucket: str) -> S3Error:
        await self._coordinator.need_bucket(bucket)
        return S3Error("NoSuchKey", "The specified key does not exist.")


def _check_deleted(key: str, version: str) -> None:
    if len(key.encode(errors="replace")) > MAX_KEY:
        raise S3Error("KeyTooLongError", f"Your key is longer than {MAX_KEY} bytes.")
    if version not in {"", "null"}:
        raise S3Error("NoSuchVersion", "The specified version does not exist.")


async def fetch_source(coordinator: Coordinator, headers: Mapping[str, str]) -> tuple[Record, bytes]:
    """The object that a copy's headers name, held against their conditions.

    Raises S3Error InvalidArgument, NoSuchBucket, NoSuchKey, NoSuchVersion, PreconditionFailed.
    """
    source = headers[COPY_SOURCE]
    bucket, key, query = parse_target("/" + source.removeprefix("/"))
    if not bucket or not key:
        raise S3Error("InvalidArgument", "Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
    if unquote(query.get("versionId", "null")) != "null":
        raise S3Error("NoSuchVersion", "The specified version does not exist.")
    got = await coordinator.fetch(bucket, key)
    if got is None:
        await coordinator.need_bucket(bucket)
        raise S3Error("NoSuchKey", "The specified key does not exist.")
    check_copy(got[0], headers)
    if got[0].size > MAX_BODY:
        raise S3Error("InvalidRequest", f"The source of a copy has at most {MAX_BODY} bytes.")
    return got


def asked_algorithm(headers: Mapping[str, str]) -> str:
    """The checksum that `x-amz-checksum-algorithm` asks for, "" for none. Raises S3Error InvalidRequest."""
    name = headers.get("x-amz-checksum-algorithm", "").lower()
    if name and name not in ALGORITHMS:
        raise S3Error(
            "InvalidRequest", f"Checksum algorithm provided is unsupported; use one of {', '.join(ALGORITHMS)}."
        )
    return name
