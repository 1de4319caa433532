"""The XML bodies of answers about buckets, copies, deletions and uploads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import formatdate
from urllib.parse import quote

import msgspec

from straybit_nodes.storage.errors import S3Error
from straybit_nodes.storage.record import Record, stamp_time_s
from straybit_nodes.storage.xml import document, element, optional, text

__all__ = [
    "OWNER",
    "Deleted",
    "PartSummary",
    "UploadSummary",
    "buckets_xml",
    "complete_xml",
    "copy_xml",
    "delete_xml",
    "http_date",
    "iso_date",
    "location_xml",
    "parts_xml",
    "upload_xml",
    "uploads_xml",
    "versioning_xml",
]

OWNER = element("ID", "straybit") + element("DisplayName", "straybit")
"""Whoever asks owns everything."""


class Deleted(msgspec.Struct, frozen=True):
    """How one key of a DeleteObjects went; `error` is None where it is gone."""

    key: str
    version: str
    error: S3Error | None = None


class PartSummary(msgspec.Struct, frozen=True):
    """What a list says of one part."""

    number: int
    stamp: str
    etag: str
    size: int
    checksums: dict[str, str] = {}


class UploadSummary(msgspec.Struct, frozen=True):
    """What a list says of one upload that is under way."""

    key: str
    upload: str
    stamp: str


def buckets_xml(buckets: Iterable[Record]) -> bytes:
    """The answer to ListBuckets."""
    items = (element("Bucket", element("Name", b.bucket), element("CreationDate", iso_date(b.stamp))) for b in buckets)
    return document("ListAllMyBucketsResult", element("Owner", OWNER), element("Buckets", *items))


def location_xml() -> bytes:
    """The answer to GetBucketLocation: the one place there is."""
    return document("LocationConstraint")


def versioning_xml() -> bytes:
    """The answer to GetBucketVersioning: it was never switched on."""
    return document("VersioningConfiguration")


def copy_xml(name: str, record: Record) -> bytes:
    """The answer to CopyObject (`CopyObjectResult`) and UploadPartCopy (`CopyPartResult`)."""
    return document(
        name, element("LastModified", iso_date(record.stamp)), _etag(record.etag), *_checksums(record.checksums)
    )


def delete_xml(results: Iterable[Deleted], *, quiet: bool) -> bytes:
    """The answer to DeleteObjects."""
    return document("DeleteResult", *(_deleted(result) for result in results if result.error or not quiet))


def upload_xml(bucket: str, key: str, upload: str) -> bytes:
    """The answer to CreateMultipartUpload."""
    return document(
        "InitiateMultipartUploadResult",
        element("Bucket", bucket),
        element("Key", text(key)),
        element("UploadId", upload),
    )


def complete_xml(bucket: str, key: str, etag: str, record: Record | None) -> bytes:
    """The answer to CompleteMultipartUpload; `record` is None where only its etag is known any more."""
    return document(
        "CompleteMultipartUploadResult",
        element("Location", f"/{bucket}/{quote(key)}"),
        element("Bucket", bucket),
        element("Key", text(key)),
        _etag(etag),
        *(_checksums(record.checksums) if record else ()),
        *(
            [element("ChecksumType", "COMPOSITE" if record.composite else "FULL_OBJECT")]
            if record and record.checksums
            else []
        ),
    )


def parts_xml(bucket: str, key: str, upload: str, *, parts: Sequence[PartSummary], limit: int, marker: int) -> bytes:
    """The answer to ListParts: at most `limit` of `parts`, which come after the number `marker`."""
    shown = parts[:limit]
    last = shown[-1].number if shown else 0
    return document(
        "ListPartsResult",
        element("Bucket", bucket),
        element("Key", text(key)),
        element("UploadId", upload),
        element("Initiator", OWNER),
        element("Owner", OWNER),
        element("StorageClass", "STANDARD"),
        element("PartNumberMarker", marker),
        element("NextPartNumberMarker", last),
        element("MaxParts", limit),
        element("IsTruncated", "true" if len(parts) > limit else "false"),
        *(_part(part) for part in shown),
    )


def uploads_xml(bucket: str, query: Mapping[str, str], uploads: Sequence[UploadSummary], limit: int) -> bytes:
    """The answer to ListMultipartUploads: at most `limit` of `uploads`, which come after the markers of `query`."""
    url = query.get("encoding-type") == "url"

    def written(value: str) -> str:
        return quote(value, safe="/") if url else text(value)

    shown = uploads[:limit]
    more = len(uploads) > limit
    return document(
        "ListMultipartUploadsResult",
        element("Bucket", bucket),
        element("KeyMarker", written(query.get("key-marker", ""))),
        element("UploadIdMarker", text(query.get("upload-id-marker", ""))),
        element("NextKeyMarker", written(shown[-1].key)) if more and shown else "",
        element("NextUploadIdMarker", shown[-1].upload) if more and shown else "",
        element("Prefix", written(query.get("prefix", ""))),
        element("EncodingType", "url") if url else "",
        element("MaxUploads", limit),
        element("IsTruncated", "true" if more else "false"),
        *(_upload(upload, written(upload.key)) for upload in shown),
    )


def http_date(stamp: str) -> str:
    """When a version was made, as Last-Modified says it."""
    return formatdate(stamp_time_s(stamp), usegmt=True)


def iso_date(stamp: str) -> str:
    """When a version was made, as lists say it."""
    return datetime.fromtimestamp(stamp_time_s(stamp), UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _etag(etag: str) -> str:
    return element("ETag", text(f'"{etag}"'))


def _checksums(checksums: Mapping[str, str]) -> list[str]:
    return [element(f"Checksum{name.upper()}", value) for name, value in checksums.items()]


def _deleted(result: Deleted) -> str:
    key, version = element("Key", text(result.key)), optional("VersionId", text(result.version))
    if result.error is None:
        return element("Deleted", key, version)
    return element(
        "Error", key, version, element("Code", result.error.code), element("Message", text(str(result.error)))
    )


def _part(part: PartSummary) -> str:
    return element(
        "Part",
        element("PartNumber", part.number),
        element("LastModified", iso_date(part.stamp)),
        _etag(part.etag),
        element("Size", part.size),
        *_checksums(part.checksums),
    )


def _upload(upload: UploadSummary, key: str) -> str:
    return element(
        "Upload",
        element("Key", key),
        element("UploadId", upload.upload),
        element("Initiator", OWNER),
        element("Owner", OWNER),
        element("StorageClass", "STANDARD"),
        element("Initiated", iso_date(upload.stamp)),
    )
