"""The XML bodies of answers that are not errors."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import formatdate
from urllib.parse import quote
from xml.sax.saxutils import escape

from straybit_nodes.storage.listing import ListQuery, Page, Summary
from straybit_nodes.storage.record import Record, stamp_time_s

__all__ = ["buckets_xml", "http_date", "list_xml", "location_xml"]

_NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def list_xml(bucket: str, query: ListQuery, page: Page) -> bytes:
    """The answer to ListObjectsV2."""

    def text(value: str) -> str:
        return quote(value, safe="/") if query.url_encoding else _text(value)

    parts = [
        f"<Name>{bucket}</Name><Prefix>{text(query.prefix)}</Prefix>",
        f"<KeyCount>{len(page.contents) + len(page.prefixes)}</KeyCount><MaxKeys>{query.max_keys}</MaxKeys>",
        f"<Delimiter>{text(query.delimiter)}</Delimiter>" if query.delimiter else "",
        "<EncodingType>url</EncodingType>" if query.url_encoding else "",
        f"<ContinuationToken>{_text(query.token)}</ContinuationToken>" if query.token else "",
        f"<StartAfter>{text(query.start_after)}</StartAfter>" if query.start_after else "",
        f"<IsTruncated>{'true' if page.next_token else 'false'}</IsTruncated>",
        f"<NextContinuationToken>{page.next_token}</NextContinuationToken>" if page.next_token else "",
        *(_contents(item, text(item.key)) for item in page.contents),
        *(f"<CommonPrefixes><Prefix>{text(prefix)}</Prefix></CommonPrefixes>" for prefix in page.prefixes),
    ]
    return f"{_HEAD}<ListBucketResult {_NAMESPACE}>{''.join(parts)}</ListBucketResult>".encode()


def buckets_xml(buckets: Iterable[Record]) -> bytes:
    """The answer to ListBuckets."""
    items = "".join(
        f"<Bucket><Name>{b.bucket}</Name><CreationDate>{_date(b.stamp)}</CreationDate></Bucket>" for b in buckets
    )
    owner = "<Owner><ID>straybit</ID><DisplayName>straybit</DisplayName></Owner>"
    return (
        f"{_HEAD}<ListAllMyBucketsResult {_NAMESPACE}>{owner}<Buckets>{items}</Buckets></ListAllMyBucketsResult>"
    ).encode()


def location_xml() -> bytes:
    """The answer to GetBucketLocation: the one place there is."""
    return f"{_HEAD}<LocationConstraint {_NAMESPACE}/>".encode()


def http_date(stamp: str) -> str:
    """When a version was made, as Last-Modified says it."""
    return formatdate(stamp_time_s(stamp), usegmt=True)


def _contents(item: Summary, key: str) -> str:
    return (
        f"<Contents><Key>{key}</Key><LastModified>{_date(item.stamp)}</LastModified>"
        f"<ETag>&quot;{item.etag}&quot;</ETag><Size>{item.size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )


def _date(stamp: str) -> str:
    return datetime.fromtimestamp(stamp_time_s(stamp), UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _text(value: str) -> str:
    """Escaped; what XML 1.0 cannot hold is written as a reference, as S3 does, which lenient parsers read."""
    return _NOT_XML.sub(lambda match: f"&#x{ord(match[0]):x};", escape(value, {"\r": "&#13;"}))
