"""Digests of a body: what a client announced, what the bytes have, and whether they agree.

Sources: the S3 API reference, "Checking object integrity" (2026) and RFC 1864 (Content-MD5).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import zlib
from collections.abc import Callable, Iterable, Mapping

import google_crc32c
import msgspec

from straybit_nodes.storage.errors import S3Error

__all__ = [
    "ALGORITHMS",
    "EMPTY_SHA256",
    "PREFIX",
    "Announced",
    "announced",
    "check",
    "checksum_header",
    "compute",
    "md5_hex",
]

PREFIX = "x-amz-checksum-"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NOT_DIGESTS = {f"{PREFIX}{name}" for name in ("mode", "type", "algorithm")}


def _crc32(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(4, "big")


def _crc32c(body: bytes) -> bytes:
    value: int = google_crc32c.value(body)
    return value.to_bytes(4, "big")


def _crc64nvme(body: bytes) -> bytes:
    from anycrc import Model  # noqa: PLC0415 - 3 MB that a node without such a client need not pay

    value: int = Model("CRC64-NVME").calc(body)
    return value.to_bytes(8, "big")


def _sha1(body: bytes) -> bytes:
    return hashlib.sha1(body, usedforsecurity=False).digest()


def _sha256(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


_COMPUTE: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "crc32": (4, _crc32),
    "crc32c": (4, _crc32c),
    "crc64nvme": (8, _crc64nvme),
    "sha1": (20, _sha1),
    "sha256": (32, _sha256),
}
"""Algorithm: bytes of its value, and how it is computed."""

ALGORITHMS = tuple(_COMPUTE)
"""Names of the checksums that S3 has, in lower case."""


class Announced(msgspec.Struct, frozen=True):
    """The digests a client announced. `checksum` is (algorithm, value); `payload` the hex of its signed sha256.

    `trailer` is the algorithm whose value follows in the trailer of an aws-chunked body.
    """

    md5: bytes | None = None
    checksum: tuple[str, bytes] | None = None
    trailer: str | None = None
    payload: str | None = None


def announced(headers: Mapping[str, str]) -> Announced:
    """Read the digest headers (any case).

    Raises S3Error InvalidDigest, InvalidRequest or InvalidArgument,
    before any byte of the body is read.
    """
    names = [name.lower() for name in headers if name.lower().startswith(PREFIX)]
    names = [name for name in names if name not in _NOT_DIGESTS]
    trailer = headers.get("x-amz-trailer", "").strip().lower()
    if len(names) + bool(trailer) > 1:
        raise S3Error(
            "InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum types are not allowed."
        )
    return Announced(
        _md5(headers.get("content-md5")),
        (_algorithm(names[0]), _value(names[0], headers[names[0]])) if names else None,
        _algorithm(trailer) if trailer else None,
        _payload(headers.get("x-amz-content-sha256", "")),
    )


def check(body: bytes, announced: Announced, trailers: Mapping[str, str]) -> dict[str, str]:
    """The checksum to store beside the body, `{algorithm: base64}`, empty when none was announced.

    Raises S3Error BadDigest or XAmzContentSHA256Mismatch when the body is not what was announced,
    MalformedTrailerError when the announced trailer is missing, InvalidRequest when its value is malformed.
    """
    if announced.md5 is not None and not hmac.compare_digest(announced.md5, _md5_of(body)):
        raise S3Error("BadDigest", "The Content-MD5 you specified did not match what we received.")
    checksum = announced.checksum
    if announced.trailer is not None:
        checksum = (announced.trailer, _trailer(announced.trailer, trailers))
    if checksum is not None and not hmac.compare_digest(checksum[1], _COMPUTE[checksum[0]][1](body)):
        raise S3Error("BadDigest", f"The {checksum[0].upper()} you specified did not match the calculated checksum.")
    if announced.payload is not None and announced.payload != hashlib.sha256(body).hexdigest():
        raise S3Error(
            "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed."
        )
    return {checksum[0]: base64.b64encode(checksum[1]).decode()} if checksum is not None else {}


def checksum_header(headers: Iterable[str], payload: str) -> str:
    """The name of the header that carries a digest of the body, "" where there is none.

    `payload` is the value of x-amz-content-sha256, which counts when it is a hash and nothing stronger is there.
    """
    names = {name.lower() for name in headers}
    if "content-md5" in names:
        return "content-md5"
    checksums = sorted(name for name in names if name.startswith(PREFIX) and name not in _NOT_DIGESTS)
    if checksums:
        return checksums[0]
    if "x-amz-trailer" in names:
        return "x-amz-trailer"
    return "x-amz-content-sha256" if _SHA256.fullmatch(payload) else ""


def compute(algorithm: str, body: bytes) -> str:
    """The checksum of a body in base64."""
    return base64.b64encode(_COMPUTE[algorithm][1](body)).decode()


def md5_hex(body: bytes) -> str:
    """The hex MD5 of a body: its ETag without quotes."""
    return _md5_of(body).hex()


def _md5_of(body: bytes) -> bytes:
    return hashlib.md5(body, usedforsecurity=False).digest()


def _md5(text: str | None) -> bytes | None:
    if text is None:
        return None
    value = _base64(text)
    if value is None or len(value) != 16:
        raise S3Error("InvalidDigest", "The Content-MD5 you specified is not valid.")
    return value


def _algorithm(header: str) -> str:
    name = header.removeprefix(PREFIX)
    if not header.startswith(PREFIX) or name not in _COMPUTE:
        known = ", ".join(_COMPUTE)
        raise S3Error("InvalidRequest", f"The checksum {header} is not supported here; use one of {known}.")
    return name


def _value(header: str, text: str) -> bytes:
    value = _base64(text)
    if value is None or len(value) != _COMPUTE[_algorithm(header)][0]:
        raise S3Error("InvalidRequest", f"Value for {header} header is invalid.")
    return value


def _trailer(algorithm: str, trailers: Mapping[str, str]) -> bytes:
    header = PREFIX + algorithm
    if header not in trailers:
        raise S3Error("MalformedTrailerError", f"The trailer {header} was announced but did not come.")
    return _value(header, trailers[header])


def _payload(text: str) -> str | None:
    if not text or text == "UNSIGNED-PAYLOAD" or text.startswith("STREAMING-"):
        return None
    if not _SHA256.fullmatch(text):
        raise S3Error(
            "InvalidArgument", "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-..., or a valid sha256 value."
        )
    return text


def _base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
