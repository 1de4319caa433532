"""An S3 request, path style, read from method and target; what is not offered is refused by name."""

from __future__ import annotations

import re
from enum import StrEnum
from urllib.parse import unquote_to_bytes

import msgspec

from straybit_nodes.storage.errors import S3Error

__all__ = ["MAX_BODY", "MAX_KEY", "ByteRange", "Operation", "S3Request", "parse_range", "parse_request", "parse_target"]

MAX_KEY = 1024
"""Bytes of a key in UTF-8 (S3 User Guide, "Naming Amazon S3 objects")."""
MAX_BODY = 64 * 1024 * 1024
"""Bytes of one object: bodies are held in memory, verified, then written. By multipart as well."""

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)")
_NOT_OFFERED = frozenset(
    {
        "accelerate",
        "acl",
        "analytics",
        "attributes",
        "cors",
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
    VERSIONING = "GetBucketVersioning"
    LIST_OBJECTS = "ListObjects"
    LIST_OBJECTS_V2 = "ListObjectsV2"
    LIST_VERSIONS = "ListObjectVersions"
    LIST_UPLOADS = "ListMultipartUploads"
    DELETE_OBJECTS = "DeleteObjects"
    PUT_OBJECT = "PutObject"
    GET_OBJECT = "GetObject"
    HEAD_OBJECT = "HeadObject"
    DELETE_OBJECT = "DeleteObject"
    CREATE_UPLOAD = "CreateMultipartUpload"
    PUT_PART = "UploadPart"
    LIST_PARTS = "ListParts"
    COMPLETE_UPLOAD = "CompleteMultipartUpload"
    ABORT_UPLOAD = "AbortMultipartUpload"


_OPERATIONS = {
    ("GET", 0, ""): Operation.LIST_BUCKETS,
    ("PUT", 1, ""): Operation.PUT_BUCKET,
    ("HEAD", 1, ""): Operation.HEAD_BUCKET,
    ("DELETE", 1, ""): Operation.DELETE_BUCKET,
    ("GET", 1, ""): Operation.LIST_OBJECTS,
    ("GET", 1, "location"): Operation.LOCATION,
    ("GET", 1, "versioning"): Operation.VERSIONING,
    ("GET", 1, "versions"): Operation.LIST_VERSIONS,
    ("GET", 1, "uploads"): Operation.LIST_UPLOADS,
    ("POST", 1, "delete"): Operation.DELETE_OBJECTS,
    ("PUT", 2, ""): Operation.PUT_OBJECT,
    ("GET", 2, ""): Operation.GET_OBJECT,
    ("HEAD", 2, ""): Operation.HEAD_OBJECT,
    ("DELETE", 2, ""): Operation.DELETE_OBJECT,
    ("POST", 2, "uploads"): Operation.CREATE_UPLOAD,
    ("PUT", 2, "uploadId"): Operation.PUT_PART,
    ("GET", 2, "uploadId"): Operation.LIST_PARTS,
    ("POST", 2, "uploadId"): Operation.COMPLETE_UPLOAD,
    ("DELETE", 2, "uploadId"): Operation.ABORT_UPLOAD,
}
_SUB_RESOURCES = ("location", "versioning", "versions", "uploads", "delete", "uploadId", "partNumber")


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

    Raises S3Error InvalidURI, InvalidBucketName, KeyTooLongError, MethodNotAllowed, NotImplemented,
    InvalidArgument or NoSuchVersion.
    """
    bucket, key, query = parse_target(target)
    return S3Request(_operation(method, query, 2 if key else 1 if bucket else 0), bucket, key, query)


def parse_target(target: str) -> tuple[str, str, dict[str, str]]:
    """Bucket, key and query of a raw target, path style; bucket and key are empty where it names none.

    Raises S3Error InvalidURI, InvalidBucketName or KeyTooLongError.
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
    return bucket, key, _query(query_text)


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
    _check_version(query)
    sub = next((name for name in _SUB_RESOURCES if name in query), "")
    if sub == "partNumber":
        raise S3Error("NotImplemented", "This server does not offer ?partNumber without uploadId.")
    operation = _OPERATIONS.get((method, depth, sub))
    if operation is None:
        raise S3Error("MethodNotAllowed", f"The method {method} is not allowed here.")
    if operation is Operation.LIST_OBJECTS and "list-type" in query:
        if query["list-type"] != "2":
            raise S3Error("InvalidArgument", "list-type must be 2.")
        return Operation.LIST_OBJECTS_V2
    return operation


def _check_version(query: dict[str, str]) -> None:
    """No bucket is versioned here, so the one version there is has the id `null`."""
    if query.get("versionId", "null") != "null":
        raise S3Error("NoSuchVersion", "The specified version does not exist.")


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
