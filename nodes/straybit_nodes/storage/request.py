"""An S3 request, path style, read from method and target; what is not offered is refused by name."""

from __future__ import annotations

import re
from enum import StrEnum
from urllib.parse import unquote_to_bytes

import msgspec

from straybit_nodes.storage.errors import S3Error

__all__ = ["MAX_BODY", "MAX_KEY", "ByteRange", "Operation", "S3Request", "parse_range", "parse_request"]

MAX_KEY = 1024
"""Bytes of a key in UTF-8 (S3 User Guide, "Naming Amazon S3 objects")."""
MAX_BODY = 64 * 1024 * 1024
"""Bytes of one object: bodies are held in memory, verified, then written. Larger ones want multipart."""

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)")
_NOT_OFFERED = frozenset(
    {
        "accelerate",
        "acl",
        "analytics",
        "attributes",
        "cors",
        "delete",
        "encryption",
        "intelligent-tiering",
        "inventory",
        "legal-hold",
        "lifecycle",
        "logging",
        "metrics",
        "notification",
        "object-lock",
        "ownershipControls",
        "partNumber",
        "policy",
        "policyStatus",
        "publicAccessBlock",
        "replication",
        "requestPayment",
        "restore",
        "retention",
        "select",
        "tagging",
        "torrent",
        "uploadId",
        "uploads",
        "versionId",
        "versioning",
        "versions",
        "website",
    }
)
"""Sub-resources that S3 has and this server has not: refused by name, never taken for something else."""


class Operation(StrEnum):
    """What a request asks for."""

    LIST_BUCKETS = "ListBuckets"
    PUT_BUCKET = "CreateBucket"
    HEAD_BUCKET = "HeadBucket"
    DELETE_BUCKET = "DeleteBucket"
    LOCATION = "GetBucketLocation"
    LIST_OBJECTS = "ListObjectsV2"
    PUT_OBJECT = "PutObject"
    GET_OBJECT = "GetObject"
    HEAD_OBJECT = "HeadObject"
    DELETE_OBJECT = "DeleteObject"


_OPERATIONS = {
    ("GET", 0): Operation.LIST_BUCKETS,
    ("PUT", 1): Operation.PUT_BUCKET,
    ("HEAD", 1): Operation.HEAD_BUCKET,
    ("DELETE", 1): Operation.DELETE_BUCKET,
    ("GET", 1): Operation.LIST_OBJECTS,
    ("PUT", 2): Operation.PUT_OBJECT,
    ("GET", 2): Operation.GET_OBJECT,
    ("HEAD", 2): Operation.HEAD_OBJECT,
    ("DELETE", 2): Operation.DELETE_OBJECT,
}


class S3Request(msgspec.Struct, frozen=True):
    """`bucket` and `key` are empty where the request names none."""

    operation: Operation
    bucket: str
    key: str
    query: dict[str, str]


class ByteRange(msgspec.Struct, frozen=True):
    """Bytes `first` to `last`, both included."""

    first: int
    last: int


def parse_request(method: str, target: str) -> S3Request:
    """Read a request line's method and raw target.

    Raises S3Error InvalidURI, InvalidBucketName, KeyTooLongError, MethodNotAllowed or NotImplemented.
    """
    path, _, query_text = _origin(target).partition("?")
    bucket, _, quoted = path[1:].partition("/")
    bucket, key = _unquote(bucket), _unquote(quoted)
    if bucket and (not _BUCKET.fullmatch(bucket) or ".." in bucket):
        raise S3Error("InvalidBucketName", "The specified bucket is not valid.")
    if key and not bucket:
        raise S3Error("InvalidBucketName", "The specified bucket is empty.")
    if len(key.encode()) > MAX_KEY:
        raise S3Error("KeyTooLongError", f"Your key is longer than {MAX_KEY} bytes.")
    query = _query(query_text)
    return S3Request(_operation(method, query, 2 if key else 1 if bucket else 0), bucket, key, query)


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """The range of a GET; None for the whole object, also where the header is not one range of bytes (RFC 9110, 14.2).

    Raises S3Error InvalidRange when it lies outside.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match[0] == "bytes=-":
        return None
    if not match[1]:
        first, last = max(size - int(match[2]), 0), size - 1
        satisfiable = int(match[2]) > 0 and size > 0
    else:
        first = int(match[1])
        last = min(int(match[2]), size - 1) if match[2] else size - 1
        if match[2] and int(match[2]) < first:
            return None
        satisfiable = first < size
    if not satisfiable:
        raise S3Error("InvalidRange", "The requested range is not satisfiable.")
    return ByteRange(first, last)


def _operation(method: str, query: dict[str, str], depth: int) -> Operation:
    if unknown := sorted(_NOT_OFFERED & query.keys()):
        raise S3Error("NotImplemented", f"This server does not offer ?{unknown[0]}.")
    operation = _OPERATIONS.get((method, depth))
    if operation is None:
        raise S3Error("MethodNotAllowed", f"The method {method} is not allowed here.")
    if operation is Operation.LIST_OBJECTS and "location" in query:
        return Operation.LOCATION
    if operation is Operation.LIST_OBJECTS and query.get("list-type", "2") != "2":
        raise S3Error("InvalidArgument", "list-type must be 2.")
    return operation


def _origin(target: str) -> str:
    """The target in origin form; absolute form is what proxies are sent (RFC 9112, 3.2)."""
    if target.lower().startswith(("http://", "https://")):
        slash = target.find("/", target.index("//") + 2)
        target = target[slash:] if slash >= 0 else "/"
    if not target.startswith("/"):
        raise S3Error("InvalidURI", "Couldn't parse the specified URI.")
    return target


def _query(text: str) -> dict[str, str]:
    query = {}
    for part in filter(None, text.split("&")):
        name, _, value = part.partition("=")
        query[_unquote(name)] = _unquote(value.replace("+", " "))
    return query


def _unquote(text: str) -> str:
    try:
        return unquote_to_bytes(text.encode("utf-8", "surrogateescape")).decode("utf-8")
    except UnicodeDecodeError:
        raise S3Error("InvalidURI", "Couldn't parse the specified URI: it is not UTF-8.") from None
