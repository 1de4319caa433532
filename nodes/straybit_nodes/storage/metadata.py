"""The headers of an object: which are kept when it is written, and which are sent with it."""

from __future__ import annotations

from collections.abc import Mapping

from straybit_nodes.storage.answers import http_date
from straybit_nodes.storage.digests import PREFIX
from straybit_nodes.storage.errors import S3Error
from straybit_nodes.storage.record import Record

__all__ = ["asked_checksum", "checksum_headers", "object_headers", "stored_headers"]

_STORED = frozenset(
    {"cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires"}
)
_META = "x-amz-meta-"
_META_LIMIT = 2048
_STORED_LIMIT = 6144
_REFUSED = ("x-amz-object-lock-", "x-amz-server-side-encryption", "x-amz-tagging", "x-amz-website-redirect-location")
"""What a client would wrongly believe done, were it left out in silence."""


def stored_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """What of a write's headers is kept with the object, names in lower case.

    Raises S3Error MetadataTooLarge, InvalidArgument (not UTF-8), NotImplemented (encryption, tags, locks).
    """
    for name in map(str.lower, headers):
        if name.startswith(_REFUSED):
            raise S3Error("NotImplemented", f"This server does not offer {name}.")
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


def object_headers(record: Record, query: Mapping[str, str] | None = None) -> dict[str, str]:
    """What is sent with an object; `response-*` of a query outdoes what is kept."""
    kept = {name: value for name, value in record.headers.items() if _is_stored(name)}
    for name in _STORED:
        if query and f"response-{name}" in query:
            kept[name] = _one_line(query[f"response-{name}"])
    return {
        "Content-Type": kept.pop("content-type", "binary/octet-stream"),
        **kept,
        "ETag": f'"{record.etag}"',
        "Last-Modified": http_date(record.stamp),
        "Accept-Ranges": "bytes",
    }


def asked_checksum(record: Record, headers: Mapping[str, str]) -> dict[str, str]:
    """The stored checksum, for a client that asks for it."""
    return checksum_headers(record) if headers.get("x-amz-checksum-mode", "").upper() == "ENABLED" else {}


def checksum_headers(record: Record) -> dict[str, str]:
    """The stored checksum and its kind; nothing where there is none."""
    if not record.checksums:
        return {}
    return {
        **{PREFIX + name: value for name, value in record.checksums.items()},
        f"{PREFIX}type": "COMPOSITE" if record.composite else "FULL_OBJECT",
    }


def _is_stored(name: str) -> bool:
    return name in _STORED or name.startswith(_META)


def _one_line(value: str) -> str:
    if not value.isprintable():
        raise S3Error("InvalidArgument", "A response-* parameter is not one line of text.")
    return value
