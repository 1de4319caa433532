"""S3's error answers: one table, and the XML they are written in."""

from __future__ import annotations

from xml.sax.saxutils import escape

__all__ = ["INTEGRITY_CODES", "S3Error", "error_code", "error_xml"]

_STATUS = {
    "AccessDenied": 403,
    "AuthorizationHeaderMalformed": 400,
    "AuthorizationQueryParametersError": 400,
    "BadDigest": 400,
    "BadGateway": 502,
    "BucketAlreadyOwnedByYou": 409,
    "BucketNotEmpty": 409,
    "EntityTooLarge": 400,
    "EntityTooSmall": 400,
    "IncompleteBody": 400,
    "InternalError": 500,
    "InvalidAccessKeyId": 403,
    "InvalidArgument": 400,
    "InvalidBucketName": 400,
    "InvalidDigest": 400,
    "InvalidPart": 400,
    "InvalidPartOrder": 400,
    "InvalidRange": 416,
    "InvalidRequest": 400,
    "InvalidURI": 400,
    "KeyTooLongError": 400,
    "MalformedTrailerError": 400,
    "MalformedXML": 400,
    "MetadataTooLarge": 400,
    "MethodNotAllowed": 405,
    "MissingContentLength": 411,
    "NoSuchBucket": 404,
    "NoSuchKey": 404,
    "NoSuchUpload": 404,
    "NoSuchVersion": 404,
    "NotImplemented": 501,
    "PreconditionFailed": 412,
    "RequestTimeTooSkewed": 403,
    "RequestTimeout": 400,
    "ServiceUnavailable": 503,
    "SignatureDoesNotMatch": 403,
    "SlowDown": 503,
    "XAmzContentSHA256Mismatch": 400,
}

INTEGRITY_CODES = frozenset({"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"})
"""Codes of a 400 that say the body is not what the client sent; the last is another server's word for it."""


class S3Error(Exception):
    """An answer that is an error: `code` as S3 names it, and one line for the reader."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = _STATUS[code]


def error_xml(error: S3Error, resource: str, request_id: str) -> bytes:
    """The body that S3 sends with an error."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{error.code}</Code><Message>{escape(str(error))}</Message>"
        f"<Resource>{escape(resource)}</Resource><RequestId>{request_id}</RequestId>"
        "<HostId>straybit</HostId></Error>"
    ).encode("utf-8", "replace")


def error_code(body: bytes) -> str:
    """The code inside an error's body, "" where there is none; for those who only relay it."""
    at = body.find(b"<Code>", 0, 2048)
    end = body.find(b"</Code>", at, at + 128) if at >= 0 else -1
    return body[at + 6 : end].decode("ascii", "replace") if end >= 0 else ""
