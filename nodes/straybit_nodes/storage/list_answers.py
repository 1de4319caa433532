"""The XML bodies of ListObjects, ListObjectsV2 and ListObjectVersions: one page in three forms."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from straybit_nodes.storage.answers import OWNER, iso_date
from straybit_nodes.storage.listing import ListQuery, Page, Summary
from straybit_nodes.storage.xml import document, element, optional, text

__all__ = ["list_v1_xml", "list_xml", "versions_xml"]

_Writer = Callable[[str], str]


def list_xml(bucket: str, query: ListQuery, page: Page) -> bytes:
    """The answer to ListObjectsV2."""
    write = _writer(query)
    return document(
        "ListBucketResult",
        *_head(bucket, query, write),
        element("KeyCount", len(page.contents) + len(page.prefixes)),
        optional("ContinuationToken", text(query.token)),
        optional("StartAfter", write(query.start_after)),
        *_truncated(page),
        optional("NextContinuationToken", page.next_token),
        *(_contents(item, write(item.key), owner=query.owner) for item in page.contents),
        *_prefixes(page, write),
    )


def list_v1_xml(bucket: str, query: ListQuery, page: Page) -> bytes:
    """The answer to ListObjects, as clients before 2016 ask. NextMarker is given whenever there is more."""
    write = _writer(query)
    return document(
        "ListBucketResult",
        *_head(bucket, query, write),
        element("Marker", write(query.start_after)),
        *_truncated(page),
        optional("NextMarker", write(page.next_marker)),
        *(_contents(item, write(item.key), owner=True) for item in page.contents),
        *_prefixes(page, write),
    )


def versions_xml(bucket: str, query: ListQuery, page: Page) -> bytes:
    """The answer to ListObjectVersions of a bucket without versions: what is there, under the version `null`."""
    write = _writer(query)
    more = page.next_token != ""
    return document(
        "ListVersionsResult",
        *_head(bucket, query, write),
        element("KeyMarker", write(query.start_after)),
        element("VersionIdMarker"),
        *_truncated(page),
        element("NextKeyMarker", write(page.next_marker)) if more else "",
        element("NextVersionIdMarker", "null") if more else "",
        *(_version(item, write(item.key)) for item in page.contents),
        *_prefixes(page, write),
    )


def _writer(query: ListQuery) -> _Writer:
    return (lambda value: quote(value, safe="/")) if query.url_encoding else text


def _head(bucket: str, query: ListQuery, write: _Writer) -> list[str]:
    return [
        element("Name", bucket),
        element("Prefix", write(query.prefix)),
        element("MaxKeys", query.max_keys),
        optional("Delimiter", write(query.delimiter)),
        element("EncodingType", "url") if query.url_encoding else "",
    ]


def _truncated(page: Page) -> list[str]:
    return [element("IsTruncated", "true" if page.next_token else "false")]


def _prefixes(page: Page, write: _Writer) -> list[str]:
    return [element("CommonPrefixes", element("Prefix", write(prefix))) for prefix in page.prefixes]


def _contents(item: Summary, key: str, *, owner: bool) -> str:
    return element("Contents", *_object(item, key), element("Owner", OWNER) if owner else "")


def _version(item: Summary, key: str) -> str:
    return element(
        "Version",
        *_object(item, key),
        element("VersionId", "null"),
        element("IsLatest", "true"),
        element("Owner", OWNER),
    )


def _object(item: Summary, key: str) -> list[str]:
    return [
        element("Key", key),
        element("LastModified", iso_date(item.stamp)),
        element("ETag", text(f'"{item.etag}"')),
        element("Size", item.size),
        element("StorageClass", "STANDARD"),
    ]
