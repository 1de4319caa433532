"""What each S3 operation does: request in, answer out, over a coordinator; no sockets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from straybit_nodes.storage.answers import buckets_xml, http_date, list_xml, location_xml
from straybit_nodes.storage.coordinator import Coordinator
from straybit_nodes.storage.digests import PREFIX, md5_hex
from straybit_nodes.storage.errors import S3Error
from straybit_nodes.storage.listing import parse_list
from straybit_nodes.storage.record import Record
from straybit_nodes.storage.request import Operation, S3Request, parse_range

__all__ = ["Answer", "S3Service", "stored_headers"]

_STORED = frozenset(
    {"cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires"}
)
_META = "x-amz-meta-"
_META_LIMIT = 2048
_STORED_LIMIT = 6144
_XML = {"Content-Type": "application/xml"}
_REFUSED = ("x-amz-copy-source", "if-match", "if-none-match")


class Answer(msgspec.Struct, frozen=True):
    """A reply. `length` is the Content-Length where it is not the body's (HEAD)."""

    status: int
    headers: dict[str, str] = {}
    body: bytes = b""
    length: int | None = None


class S3Service:
    """S3's operations. Every error is an S3Error."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._operations: dict[Operation, Callable[[S3Request, Mapping[str, str]], Awaitable[Answer]]] = {
            Operation.LIST_BUCKETS: self._list_buckets,
            Operation.PUT_BUCKET: self._put_bucket,
            Operation.HEAD_BUCKET: self._head_bucket,
            Operation.DELETE_BUCKET: self._delete_bucket,
            Operation.LOCATION: self._location,
            Operation.LIST_OBJECTS: self._list_objects,
            Operation.GET_OBJECT: self._get,
            Operation.HEAD_OBJECT: self._head,
            Operation.DELETE_OBJECT: self._delete,
        }

    async def put(
        self, request: S3Request, headers: Mapping[str, str], body: bytes, checksums: dict[str, str]
    ) -> Answer:
        """PutObject: store a body that was verified, with the checksums its client announced."""
        kept = stored_headers(headers)
        await self._need_bucket(request.bucket)
        etag = md5_hex(body)
        stamp = await self._coordinator.stamp(request.bucket, request.key)
        record = Record(
            bucket=request.bucket,
            key=request.key,
            stamp=stamp,
            size=len(body),
            etag=etag,
            headers=kept,
            checksums=checksums,
        )
        await self._coordinator.write(record, body)
        return Answer(200, {"ETag": f'"{etag}"', **_checksum_headers(record)})

    async def handle(self, request: S3Request, headers: Mapping[str, str]) -> Answer:
        """Any other operation. `headers` are looked up by names in lower case."""
        return await self._operations[request.operation](request, headers)

    async def _list_buckets(self, _request: S3Request, _headers: Mapping[str, str]) -> Answer:
        return Answer(200, _XML, buckets_xml(await self._coordinator.buckets()))

    async def _put_bucket(self, request: S3Request, _headers: Mapping[str, str]) -> Answer:
        if await self._coordinator.bucket(request.bucket) is None:
            stamp = await self._coordinator.stamp(request.bucket, "")
            await self._coordinator.write_bucket(Record(bucket=request.bucket, key="", stamp=stamp))
        return Answer(200, {"Location": f"/{request.bucket}"})

    async def _head_bucket(self, request: S3Request, _headers: Mapping[str, str]) -> Answer:
        await self._need_bucket(request.bucket)
        return Answer(200, _XML)

    async def _location(self, request: S3Request, _headers: Mapping[str, str]) -> Answer:
        await self._need_bucket(request.bucket)
        return Answer(200, _XML, location_xml())

    async def _delete_bucket(self, request: S3Request, _headers: Mapping[str, str]) -> Answer:
        await self._need_bucket(request.bucket)
        page = await self._coordinator.page(request.bucket, parse_list({"max-keys": "1"}))
        while page.next_token and not page.contents:  # nothing but delete markers so far
            again = parse_list({"max-keys": "1", "continuation-token": page.next_token})
            page = await self._coordinator.page(request.bucket, again)
        if page.contents:
            raise S3Error("BucketNotEmpty", "The bucket you tried to delete is not empty")
        stamp = await self._coordinator.stamp(request.bucket, "")
        await self._coordinator.write_bucket(Record(bucket=request.bucket, key="", stamp=stamp, deleted=True))
        return Answer(204)

    async def _list_objects(self, request: S3Request, _headers: Mapping[str, str]) -> Answer:
        query = parse_list(request.query)
        await self._need_bucket(request.bucket)
        return Answer(200, _XML, list_xml(request.bucket, query, await self._coordinator.page(request.bucket, query)))

    async def _get(self, request: S3Request, headers: Mapping[str, str]) -> Answer:
        got = await self._coordinator.fetch(request.bucket, request.key)
        if got is None:
            raise await self._absent(request.bucket)
        record, data = got
        ranged = parse_range(headers.get("range"), len(data))
        if ranged is None:
            return Answer(200, {**_object_headers(record), **_asked_checksum(record, headers)}, data)
        content_range = f"bytes {ranged.first}-{ranged.last}/{len(data)}"
        part = data[ranged.first : ranged.last + 1]
        return Answer(206, {**_object_headers(record), "Content-Range": content_range}, part)

    async def _head(self, request: S3Request, headers: Mapping[str, str]) -> Answer:
        record = await self._coordinator.find(request.bucket, request.key)
        if record is None:
            raise await self._absent(request.bucket)
        return Answer(200, {**_object_headers(record), **_asked_checksum(record, headers)}, length=record.size)

    async def _delete(self, request: S3Request, _headers: Mapping[str, str]) -> Answer:
        await self._need_bucket(request.bucket)
        stamp = await self._coordinator.stamp(request.bucket, request.key)
        await self._coordinator.write(Record(bucket=request.bucket, key=request.key, stamp=stamp, deleted=True))
        return Answer(204)

    async def _need_bucket(self, name: str) -> None:
        if await self._coordinator.bucket(name) is None:
            raise S3Error("NoSuchBucket", "The specified bucket does not exist")

    async def _absent(self, bucket: str) -> S3Error:
        await self._need_bucket(bucket)
        return S3Error("NoSuchKey", "The specified key does not exist.")


def stored_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """What of a PutObject's headers is kept with the object, names in lower case.

    Raises S3Error MetadataTooLarge, InvalidArgument (not UTF-8), NotImplemented (a copy, a condition).
    """
    for name in _REFUSED:
        if name in headers:
            raise S3Error("NotImplemented", f"This server does not offer {name} on a PUT.")
    kept = {name.lower(): value for name, value in headers.items() if _is_stored(name.lower())}
    encodings = [part.strip() for part in kept.pop("content-encoding", "").split(",")]
    if encoding := ",".join(part for part in encodings if part and part != "aws-chunked"):
        kept["content-encoding"] = encoding
    try:
        meta = sum(len((name + value).encode()) for name, value in kept.items() if name.startswith(_META))
        total = sum(len((name + value).encode()) for name, value in kept.items())
    except UnicodeEncodeError:
        raise S3Error("InvalidArgument", "A header is not UTF-8.") from None
    if meta > _META_LIMIT or total > _STORED_LIMIT:
        raise S3Error("MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size.")
    return kept


def _is_stored(name: str) -> bool:
    return name in _STORED or name.startswith(_META)


def _object_headers(record: Record) -> dict[str, str]:
    return {
        "Content-Type": "binary/octet-stream",
        **{name.title() if name == "content-type" else name: value for name, value in record.headers.items()},
        "ETag": f'"{record.etag}"',
        "Last-Modified": http_date(record.stamp),
        "Accept-Ranges": "bytes",
    }


def _asked_checksum(record: Record, headers: Mapping[str, str]) -> dict[str, str]:
    if headers.get("x-amz-checksum-mode", "").upper() != "ENABLED":
        return {}
    return _checksum_headers(record)


def _checksum_headers(record: Record) -> dict[str, str]:
    if not record.checksums:
        return {}
    return {
        **{PREFIX + name: value for name, value in record.checksums.items()},
        "x-amz-checksum-type": "FULL_OBJECT",
    }
