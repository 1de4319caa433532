"""What a simulated storage node makes of a request, in the real nodes' own words: records, answers and refusals. Pure.

It offers what `clients.S3Like` needs: a bucket made, an object written and read whole.
"""

from __future__ import annotations

from straybit_nodes.balancer.relay import Request
from straybit_nodes.storage.calls import XML, Answer, Call
from straybit_nodes.storage.digests import Announced, announced, check, md5_hex
from straybit_nodes.storage.errors import S3Error, error_xml
from straybit_nodes.storage.metadata import asked_checksum, checksum_headers, object_headers, stored_headers
from straybit_nodes.storage.record import Record
from straybit_nodes.storage.request import Operation, S3Request

__all__ = ["READS", "Kept", "absent", "call_of", "found", "made", "record_of", "refusal", "unoffered"]

Kept = tuple[Record, bytes]
"""One version of an object: what is known about it, and its data."""

READS = {Operation.GET_OBJECT: True, Operation.PUT_OBJECT: False, Operation.PUT_BUCKET: False}
"""The operations that are offered, and whether each reads."""

UNOFFERED = ("x-amz-copy-source", "x-amz-trailer", "range", "if-match", "if-none-match", "if-modified-since")
"""Headers that make something else of an operation."""


def unoffered(parsed: S3Request, request: Request) -> str:
    """What a request asks for that is not offered, "" where there is nothing."""
    if parsed.operation not in READS:
        return str(parsed.operation)
    return next((name.lower() for name, _ in request.headers if name.lower() in UNOFFERED), "")


def call_of(parsed: S3Request, request: Request, *, checksums: bool) -> Call:
    """A request whose body was held against its digests, if `checksums`.

    Raises S3Error as `digests.announced` and `digests.check` do.
    """
    headers = {name.lower(): value for name, value in request.headers}
    expected = announced(headers) if checksums else Announced()
    return Call(parsed, headers, request.body, check(request.body, expected, {}), md5_hex(request.body))


def record_of(call: Call, stamp: str) -> Record:
    """What is kept beside the body of a write. Raises S3Error as `metadata.stored_headers` does."""
    if call.request.operation is Operation.PUT_BUCKET:
        return Record(bucket=call.bucket, key="", stamp=stamp)
    return Record(
        bucket=call.bucket,
        key=call.key,
        stamp=stamp,
        size=len(call.body),
        etag=call.md5,
        headers=stored_headers(call.headers),
        checksums=call.checksums,
    )


def made(record: Record) -> Answer:
    """A write was acknowledged."""
    if not record.key:
        return Answer(200, {"Location": f"/{record.bucket}"})
    return Answer(200, {"ETag": f'"{record.etag}"', **checksum_headers(record)})


def found(kept: Kept, call: Call) -> Answer:
    """A read found this."""
    record, body = kept
    return Answer(200, {**object_headers(record, call.query), **asked_checksum(record, call.headers)}, body)


def absent() -> S3Error:
    """A read found nothing."""
    return S3Error("NoSuchKey", "The specified key does not exist.")


def refusal(error: S3Error, target: str, request_id: str) -> Answer:
    """An error, as S3 says it."""
    return Answer(error.status, XML, error_xml(error, target, request_id))
