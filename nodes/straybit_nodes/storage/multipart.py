"""What the operations on uploads do: create, put or copy a part, list, complete, abort.

Theory of operation.
An upload is a record beside the objects (`parts`), its parts are records of the same name with numbers.
A completion holds every part against what its client names, joins them, and writes one object as a PUT would:
the object is whole or absent, and bit N of it is bit N of its file.
Then a delete marker takes the place of the upload's record; a holder that gets it drops the parts.
A completion asked for again, because its answer was lost, finds its object by the ETag, which the parts' ETags make.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping, Sequence

from straybit_nodes.storage.answers import (
    PartSummary,
    UploadSummary,
    complete_xml,
    copy_xml,
    parts_xml,
    upload_xml,
    uploads_xml,
)
from straybit_nodes.storage.calls import XML, Answer, Call
from straybit_nodes.storage.conditions import COPY_SOURCE, check_write
from straybit_nodes.storage.coordinator import Coordinator
from straybit_nodes.storage.digests import PREFIX, compute, md5_hex
from straybit_nodes.storage.documents import NamedPart, parse_complete
from straybit_nodes.storage.errors import S3Error
from straybit_nodes.storage.listing import Summary, parse_list
from straybit_nodes.storage.metadata import checksum_headers, stored_headers
from straybit_nodes.storage.objects import asked_algorithm, fetch_source
from straybit_nodes.storage.parts import MAX_PARTS, part_key, parts_bucket, split_part_key, stored_name
from straybit_nodes.storage.record import Record
from straybit_nodes.storage.request import MAX_BODY, parse_range

__all__ = ["MIN_PART", "UploadService"]

MIN_PART = 5 * 1024 * 1024
"""Bytes of any part but the last (S3 User Guide, "Amazon S3 multipart upload limits")."""
_LIST_MAX = 1000
_PAGES = 11
"""Pages of 1,000 records that a list of parts or uploads looks at: all the parts of one upload."""
_ALGORITHM = f"{PREFIX}algorithm"
_TYPE = f"{PREFIX}type"


class UploadService:
    """Operations on uploads. `checksums` is `content-checksum`. Every error is an S3Error."""

    def __init__(self, coordinator: Coordinator, *, checksums: bool) -> None:
        self._coordinator = coordinator
        self._checksums = checksums

    async def create(self, call: Call) -> Answer:
        """CreateMultipartUpload."""
        kept = stored_headers(call.headers) | _checksum_kind(call.headers)
        await self._coordinator.need_bucket(call.bucket)
        upload = secrets.token_hex(16)
        await self._put(call, upload, 0, Record(bucket="", key="", stamp="", headers=kept))
        told = {name: kept[name] for name in (_ALGORITHM, _TYPE) if name in kept}
        return Answer(200, {**XML, **told}, upload_xml(call.bucket, call.key, upload))

    async def put_part(self, call: Call) -> Answer:
        """UploadPart, or UploadPartCopy where the headers name a source."""
        upload, number = call.query["uploadId"], _part_number(call.query)
        begun = await self._need(call)
        if COPY_SOURCE in call.headers:
            return await self._copy_part(call, begun, number)
        record = Record(bucket="", key="", stamp="", size=len(call.body), etag=call.md5, checksums=call.checksums)
        await self._put(call, upload, number, record, call.body)
        return Answer(200, {"ETag": f'"{record.etag}"', **_plain_checksums(record)})

    async def list_parts(self, call: Call) -> Answer:
        """ListParts."""
        await self._need(call)
        marker = _number(call.query, "part-number-marker", 0, MAX_PARTS)
        limit = min(_number(call.query, "max-parts", _LIST_MAX, 2**31), _LIST_MAX)
        parts = [part for part in await self._parts(call) if part.number > marker]
        upload = call.query["uploadId"]
        return Answer(200, XML, parts_xml(call.bucket, call.key, upload, parts=parts, limit=limit, marker=marker))

    async def list_uploads(self, call: Call) -> Answer:
        """ListMultipartUploads, by key and upload; those beyond some ten thousand parts are not seen."""
        if call.query.get("delimiter"):
            raise S3Error("NotImplemented", "This server does not offer a delimiter on a list of uploads.")
        await self._coordinator.need_bucket(call.bucket)
        limit = min(_number(call.query, "max-uploads", _LIST_MAX, 2**31), _LIST_MAX)
        found = await self._scan(parts_bucket(call.bucket), call.query.get("prefix", ""))
        named = ((split_part_key(item.key), item.stamp) for item in found)
        uploads = sorted(
            (UploadSummary(key, upload, stamp) for (key, upload, number), stamp in named if number == 0),
            key=lambda upload: (upload.key, upload.upload),
        )
        after = (call.query.get("key-marker", ""), call.query.get("upload-id-marker", "") or "~")
        behind = [upload for upload in uploads if not after[0] or (upload.key, upload.upload) > after]
        return Answer(200, XML, uploads_xml(call.bucket, call.query, behind, limit))

    async def complete(self, call: Call) -> Answer:
        """CompleteMultipartUpload."""
        named = parse_complete(call.body)
        begun = await self._find(call)
        if begun is None:
            return await self._completed_before(call, named)
        if "if-match" in call.headers or "if-none-match" in call.headers:
            check_write(await self._coordinator.find(call.bucket, call.key), call.headers)
        self._check_named(named, {part.number: part for part in await self._parts(call)}, call.headers)
        parts = [await self._fetch(call, part) for part in named]
        data = b"".join(body for _, body in parts)
        checksums, composite = self._object_checksums(call, begun, data, [record for record, _ in parts])
        record = Record(
            bucket=call.bucket,
            key=call.key,
            stamp=await self._coordinator.stamp(call.bucket, call.key),
            size=len(data),
            etag=_joint_etag([part.etag for part in named]),
            headers={name: value for name, value in begun.headers.items() if name not in {_ALGORITHM, _TYPE}},
            checksums=checksums,
            composite=composite,
        )
        await self._coordinator.write(record, data)
        await self._end(call)
        return Answer(
            200, {**XML, **checksum_headers(record)}, complete_xml(call.bucket, call.key, record.etag, record)
        )

    async def abort(self, call: Call) -> Answer:
        """AbortMultipartUpload."""
        await self._need(call)
        await self._end(call)
        return Answer(204)

    async def _copy_part(self, call: Call, begun: Record, number: int) -> Answer:
        source, data = await fetch_source(self._coordinator, call.headers)
        if text := call.headers.get("x-amz-copy-source-range"):
            ranged = parse_range(text, source.size)
            if ranged is None or text != f"bytes={ranged.first}-{ranged.last}":
                raise S3Error(
                    "InvalidArgument", "The x-amz-copy-source-range value must be of the form bytes=first-last"
                )
            data = data[ranged.first : ranged.last + 1]
        algorithm = begun.headers.get(_ALGORITHM, "").lower()
        checksums = {algorithm: compute(algorithm, data)} if algorithm and self._checksums else {}
        record = Record(bucket="", key="", stamp="", size=len(data), etag=md5_hex(data), checksums=checksums)
        kept = await self._put(call, call.query["uploadId"], number, record, data)
        return Answer(200, XML, copy_xml("CopyPartResult", kept))

    async def _put(self, call: Call, upload: str, number: int, record: Record, data: bytes = b"") -> Record:
        bucket, key = parts_bucket(call.bucket), part_key(call.key, upload, number)
        kept = Record(
            bucket=bucket,
            key=key,
            stamp=await self._coordinator.stamp(bucket, key),
            deleted=record.deleted,
            size=record.size,
            etag=record.etag,
            headers=record.headers,
            checksums=record.checksums,
        )
        await self._coordinator.write(kept, data)
        return kept

    async def _end(self, call: Call) -> None:
        await self._put(call, call.query["uploadId"], 0, Record(bucket="", key="", stamp="", deleted=True))

    async def _find(self, call: Call) -> Record | None:
        bucket, key = stored_name(call.bucket, call.key, {"uploadId": call.query["uploadId"]})
        return await self._coordinator.find(bucket, key)

    async def _need(self, call: Call) -> Record:
        record = await self._find(call)
        if record is None:
            await self._coordinator.need_bucket(call.bucket)
            raise S3Error("NoSuchUpload", "The specified multipart upload does not exist.")
        return record

    async def _parts(self, call: Call) -> list[PartSummary]:
        prefix = part_key(call.key, call.query["uploadId"], 0)[:-5]
        found = await self._scan(parts_bucket(call.bucket), prefix)
        numbered = ((split_part_key(item.key)[2], item) for item in found)
        return [PartSummary(number, item.stamp, item.etag, item.size) for number, item in numbered if number]

    async def _scan(self, bucket: str, prefix: str) -> list[Summary]:
        found: list[Summary] = []
        token = ""
        for _ in range(_PAGES):
            page = await self._coordinator.page(bucket, parse_list({"prefix": prefix, "continuation-token": token}))
            found += page.contents
            token = page.next_token
            if not token:
                break
        return found

    async def _fetch(self, call: Call, named: NamedPart) -> tuple[Record, bytes]:
        name = part_key(call.key, call.query["uploadId"], named.number)
        got = await self._coordinator.fetch(parts_bucket(call.bucket), name)
        if got is None or got[0].etag != named.etag:
            raise _invalid_part(named)
        for algorithm, value in named.checksums.items() if self._checksums else ():
            if got[0].checksums.get(algorithm, value) != value:
                raise _invalid_part(named)
        return got

    def _check_named(
        self, named: Sequence[NamedPart], there: Mapping[int, PartSummary], headers: Mapping[str, str]
    ) -> None:
        for part in named:
            if part.number not in there or there[part.number].etag != part.etag:
                raise _invalid_part(part)
        sizes = [there[part.number].size for part in named]
        if any(size < MIN_PART for size in sizes[:-1]):
            raise S3Error("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
        if sum(sizes) > MAX_BODY:
            raise S3Error("EntityTooLarge", f"Your upload exceeds {MAX_BODY} bytes.")
        if headers.get("x-amz-mp-object-size", str(sum(sizes))) != str(sum(sizes)):
            raise S3Error(
                "InvalidRequest", "The provided 'x-amz-mp-object-size' header does not match the upload's size."
            )

    def _object_checksums(
        self, call: Call, begun: Record, data: bytes, parts: Sequence[Record]
    ) -> tuple[dict[str, str], bool]:
        """The object's checksum, and whether it is composite. Raises S3Error BadDigest."""
        algorithm = begun.headers.get(_ALGORITHM, "").lower()
        if not self._checksums or not algorithm:
            return {}, False
        composite = begun.headers.get(_TYPE) == "COMPOSITE"
        if composite and not all(algorithm in part.checksums for part in parts):
            return {}, False
        value = _composite(algorithm, parts) if composite else compute(algorithm, data)
        told = call.headers.get(PREFIX + algorithm, value)
        if told != value and told != value.partition("-")[0]:
            raise S3Error("BadDigest", f"The {algorithm.upper()} you specified did not match the calculated checksum.")
        return {algorithm: value}, composite

    async def _completed_before(self, call: Call, named: Sequence[NamedPart]) -> Answer:
        etag = _joint_etag([part.etag for part in named])
        record = await self._coordinator.find(call.bucket, call.key)
        if record is None or record.etag != etag:
            await self._coordinator.need_bucket(call.bucket)
            raise S3Error("NoSuchUpload", "The specified multipart upload does not exist.")
        return Answer(200, {**XML, **checksum_headers(record)}, complete_xml(call.bucket, call.key, etag, record))


def _checksum_kind(headers: Mapping[str, str]) -> dict[str, str]:
    """The checksum an upload is to have, as its headers say. Raises S3Error InvalidRequest."""
    algorithm = asked_algorithm(headers)
    kind = headers.get(_TYPE, "").upper()
    if not algorithm:
        if kind:
            raise S3Error("InvalidRequest", "The x-amz-checksum-type header wants the x-amz-checksum-algorithm header.")
        return {}
    kind = kind or ("FULL_OBJECT" if algorithm == "crc64nvme" else "COMPOSITE")
    allowed = {"crc64nvme": {"FULL_OBJECT"}, "sha1": {"COMPOSITE"}, "sha256": {"COMPOSITE"}}
    if kind not in allowed.get(algorithm, {"COMPOSITE", "FULL_OBJECT"}):
        raise S3Error("InvalidRequest", f"The {kind} checksum type cannot be used with the {algorithm} algorithm.")
    return {_ALGORITHM: algorithm.upper(), _TYPE: kind}


def _plain_checksums(record: Record) -> dict[str, str]:
    return {PREFIX + name: value for name, value in record.checksums.items()}


def _joint_etag(etags: Sequence[str]) -> str:
    """The MD5 of the parts' MD5s, and their number; of ETags that are none, nothing that any object has."""
    try:
        joined = b"".join(map(bytes.fromhex, etags))
    except ValueError:
        return ""
    return f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(etags)}"


def _composite(algorithm: str, parts: Sequence[Record]) -> str:
    joined = b"".join(base64.b64decode(part.checksums[algorithm]) for part in parts)
    return f"{compute(algorithm, joined)}-{len(parts)}"


def _part_number(query: Mapping[str, str]) -> int:
    text = query.get("partNumber", "")
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= MAX_PARTS):
        raise S3Error("InvalidArgument", f"Part number must be an integer between 1 and {MAX_PARTS}, inclusive.")
    return int(text)


def _number(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = query.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= most):
        raise S3Error("InvalidArgument", f"{name} must be a number from 0 up to {most}.")
    return int(text)


def _invalid_part(named: NamedPart) -> S3Error:
    return S3Error(
        "InvalidPart",
        f"Part {named.number} could not be found. It may not have been uploaded, or its ETag or checksum differs.",
    )
