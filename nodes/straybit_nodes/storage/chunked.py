"""The aws-chunked framing of a body, taken off. Bytes in, body and trailers out.

    HEXSIZE[;chunk-signature=HEX64] CRLF  bytes CRLF  ...  0[;chunk-signature=...] CRLF  trailers  CRLF

Source: Amazon S3 API reference, "Signature calculations for the Authorization header: transferring payload in
multiple chunks" and "... including trailing headers". Where the request is signed and says so,
each chunk and the trailers carry a signature that goes on from the one before.
"""

from __future__ import annotations

import hmac
import re
from typing import Protocol

from straybit_nodes.storage.errors import S3Error

__all__ = ["Signatures", "decode"]

_HEAD = re.compile(rb"([0-9a-fA-F]{1,8})(?:;chunk-signature=([0-9a-fA-F]{64}))?")
_HEAD_LIMIT = 256
_TRAILER_LIMIT = 4096
_TRAILERS_MAX = 8
_SIGNATURE = "x-amz-trailer-signature"


class Signatures(Protocol):
    """Makes the signatures that chunks and trailers ought to have."""

    @property
    def signature(self) -> str:
        """The request's own, which the first chunk goes on from."""

    def chunk(self, before: str, body: bytes) -> str:
        """The signature of a chunk that follows one with the signature `before`."""

    def trailer(self, before: str, lines: bytes) -> str:
        """The signature of the trailers, each line ended by a line feed alone."""


def decode(framed: bytes, decoded_length: int, signed: Signatures | None = None) -> tuple[bytes, dict[str, str]]:
    """The body and its trailers (names in lower case); with `signed` every signature must be there and right.

    Raises S3Error IncompleteBody when framing or length are not what they say,
    MalformedTrailerError when a trailer cannot be read, SignatureDoesNotMatch.
    """
    parts: list[bytes] = []
    before = signed.signature if signed else ""
    at = 0
    while True:
        size, signature, at = _chunk_head(framed, at)
        if size and framed[at + size : at + size + 2] != b"\r\n":
            raise _broken(f"the chunk before byte {at + size} does not end where it says")
        if signed:
            before = _verified(signature, signed.chunk(before, framed[at : at + size]))
        if size == 0:
            break
        parts.append(framed[at : at + size])
        at += size + 2
    body = b"".join(parts)
    if len(body) != decoded_length:
        raise _broken(f"the chunks hold {len(body)} bytes, x-amz-decoded-content-length says {decoded_length}")
    trailers = _trailers(framed[at:])
    told = trailers.pop(_SIGNATURE, "")
    if signed and trailers:
        lines = "".join(f"{name}:{value}\n" for name, value in trailers.items())
        _verified(told.encode(), signed.trailer(before, lines.encode()))
    return body, trailers


def _verified(signature: bytes, right: str) -> str:
    if not hmac.compare_digest(signature, right.encode()):
        raise S3Error("SignatureDoesNotMatch", "A signature inside the aws-chunked body does not match.")
    return right


def _chunk_head(framed: bytes, at: int) -> tuple[int, bytes, int]:
    end = framed.find(b"\r\n", at, at + _HEAD_LIMIT)
    match = _HEAD.fullmatch(framed, at, end) if end >= 0 else None
    if match is None:
        raise _broken(f"no chunk begins at byte {at}")
    return int(match[1], 16), match[2] or b"", end + 2


def _trailers(rest: bytes) -> dict[str, str]:
    if len(rest) > _TRAILER_LIMIT:
        raise S3Error("MalformedTrailerError", f"The trailers are longer than {_TRAILER_LIMIT} bytes.")
    *lines, last, behind = rest.split(b"\r\n") if rest.endswith(b"\r\n") else (rest, b"", b"x")
    if last or behind or b"" in lines or len(lines) > _TRAILERS_MAX:
        raise S3Error("MalformedTrailerError", "The trailers do not end with one empty line.")
    trailers = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not value.isascii():
            raise S3Error("MalformedTrailerError", "A trailer is not NAME:VALUE.")
        trailers[name.strip().lower().decode("latin-1")] = value.strip().decode()
    return trailers


def _broken(why: str) -> S3Error:
    return S3Error("IncompleteBody", f"The aws-chunked body cannot be read: {why}.")
