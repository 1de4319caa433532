"""What each S3 operation does: call in, answer out, over a coordinator; no sockets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from straybit_nodes.storage.answers import buckets_xml, location_xml, versioning_xml
from straybit_nodes.storage.calls import XML, Answer, Call
from straybit_nodes.storage.coordinator import Coordinator
from straybit_nodes.storage.documents import parse_create_bucket
from straybit_nodes.storage.errors import S3Error
from straybit_nodes.storage.list_answers import list_v1_xml, list_xml, versions_xml
from straybit_nodes.storage.listing import ListQuery, Page, parse_list, parse_marked
from straybit_nodes.storage.multipart import UploadService
from straybit_nodes.storage.objects import ObjectService
from straybit_nodes.storage.record import Record
from straybit_nodes.storage.request import Operation

__all__ = ["S3Service"]

_FIRST_PLACE = "us-east-1"
"""Where making a bucket again is no error, for old clients' sake (S3 API reference, CreateBucket)."""


class S3Service:
    """S3's operations. `checksums` is `content-checksum`. Every error is an S3Error."""

    def __init__(self, coordinator: Coordinator, *, checksums: bool = True) -> None:
        self._coordinator = coordinator
        objects = ObjectService(coordinator)
        uploads = UploadService(coordinator, checksums=checksums)
        self._operations: dict[Operation, Callable[[Call], Awaitable[Answer]]] = {
            Operation.LIST_BUCKETS: self._list_buckets,
            Operation.PUT_BUCKET: self._put_bucket,
            Operation.HEAD_BUCKET: self._head_bucket,
            Operation.DELETE_BUCKET: self._delete_bucket,
            Operation.LOCATION: self._location,
            Operation.VERSIONING: self._versioning,
            Operation.LIST_OBJECTS: self._list_v1,
            Operation.LIST_OBJECTS_V2: self._list_v2,
            Operation.LIST_VERSIONS: self._list_versions,
            Operation.LIST_UPLOADS: uploads.list_uploads,
            Operation.DELETE_OBJECTS: objects.delete_many,
            Operation.PUT_OBJECT: objects.put,
            Operation.GET_OBJECT: objects.get,
            Operation.HEAD_OBJECT: objects.head,
            Operation.DELETE_OBJECT: objects.delete,
            Operation.CREATE_UPLOAD: uploads.create,
            Operation.PUT_PART: uploads.put_part,
            Operation.LIST_PARTS: uploads.list_parts,
            Operation.COMPLETE_UPLOAD: uploads.complete,
            Operation.ABORT_UPLOAD: uploads.abort,
        }

    async def handle(self, call: Call) -> Answer:
        """Any operation."""
        return await self._operations[call.request.operation](call)

    async def _list_buckets(self, _call: Call) -> Answer:
        return Answer(200, XML, buckets_xml(await self._coordinator.buckets()))

    async def _put_bucket(self, call: Call) -> Answer:
        place = parse_create_bucket(call.body)
        there = await self._coordinator.bucket(call.bucket)
        if there is not None and place not in {"", _FIRST_PLACE}:
            raise S3Error("BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded.")
        if there is None:
            stamp = await self._coordinator.stamp(call.bucket, "")
            await self._coordinator.write_bucket(Record(bucket=call.bucket, key="", stamp=stamp))
        return Answer(200, {"Location": f"/{call.bucket}"})

    async def _head_bucket(self, call: Call) -> Answer:
        await self._coordinator.need_bucket(call.bucket)
        return Answer(200, XML)

    async def _location(self, call: Call) -> Answer:
        await self._coordinator.need_bucket(call.bucket)
        return Answer(200, XML, location_xml())

    async def _versioning(self, call: Call) -> Answer:
        await self._coordinator.need_bucket(call.bucket)
        return Answer(200, XML, versioning_xml())

    async def _delete_bucket(self, call: Call) -> Answer:
        await self._coordinator.need_bucket(call.bucket)
        page = await self._coordinator.page(call.bucket, parse_list({"max-keys": "1"}))
        while page.next_token and not page.contents:  # nothing but delete markers so far
            again = parse_list({"max-keys": "1", "continuation-token": page.next_token})
            page = await self._coordinator.page(call.bucket, again)
        if page.contents:
            raise S3Error("BucketNotEmpty", "The bucket you tried to delete is not empty")
        stamp = await self._coordinator.stamp(call.bucket, "")
        await self._coordinator.write_bucket(Record(bucket=call.bucket, key="", stamp=stamp, deleted=True))
        return Answer(204)

    async def _list_v1(self, call: Call) -> Answer:
        return await self._list(call, parse_marked(call.query, "marker"), list_v1_xml)

    async def _list_v2(self, call: Call) -> Answer:
        return await self._list(call, parse_list(call.query), list_xml)

    async def _list_versions(self, call: Call) -> Answer:
        return await self._list(call, parse_marked(call.query, "key-marker"), versions_xml)

    async def _list(self, call: Call, query: ListQuery, write: Callable[[str, ListQuery, Page], bytes]) -> Answer:
        await self._coordinator.need_bucket(call.bucket)
        return Answer(200, XML, write(call.bucket, query, await self._coordinator.page(call.bucket, query)))
