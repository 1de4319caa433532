"""Signature version 4 of S3, verified: from the bytes of a request and the secret, no clock and no socket of its own.

Source: Amazon S3 API reference, "Authenticating Requests (AWS Signature Version 4)": the header, the query string,
and the signatures of the chunks and of the trailer of an aws-chunked body.

    canonical request = METHOD, path, query, headers, names of headers, payload, one a line
    string to sign    = AWS4-HMAC-SHA256, time, scope, sha256(canonical request), one a line
    signature         = HMAC(key of day, region and service, string to sign)
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, unquote_to_bytes

import msgspec

from straybit_nodes.storage.digests import EMPTY_SHA256
from straybit_nodes.storage.errors import S3Error

__all__ = ["SKEW_S", "Credentials", "Signed", "verify"]

SKEW_S = 900
"""How far a request's time may be from ours (S3: 15 minutes)."""
EXPIRES_MAX_S = 604_800
"""How long a presigned URL may be good (S3: seven days)."""

_ALGORITHM = "AWS4-HMAC-SHA256"
_UNSIGNED = "UNSIGNED-PAYLOAD"
_CREDENTIAL = re.compile(r"([^/]+(?:/[^/]+)*)/([0-9]{8})/([^/]+)/s3/aws4_request")
_TIME = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_HEX = re.compile(r"[0-9a-f]{64}")
_MALFORMED = "AuthorizationHeaderMalformed"
_QUERY_ERROR = "AuthorizationQueryParametersError"


class Credentials(msgspec.Struct, frozen=True):
    """The one access key that is known, and its secret."""

    access_key: str
    secret_key: str


class Claim(msgspec.Struct, frozen=True):
    """What a request says of its own signature; `expires_s` is None where it is in a header."""

    access_key: str
    day: str
    region: str
    time: str
    names: tuple[str, ...]
    signature: str
    expires_s: int | None

    @property
    def scope(self) -> str:
        """Day, region and service that the key is made for."""
        return f"{self.day}/{self.region}/s3/aws4_request"


class Signed(msgspec.Struct, frozen=True):
    """A request whose signature is right: what verifies the chunks of its body, each after the one before."""

    key: bytes
    time: str
    scope: str
    signature: str

    def chunk(self, before: str, body: bytes) -> str:
        """The signature of a chunk that follows one with the signature `before`."""
        return self._sign("AWS4-HMAC-SHA256-PAYLOAD", before, EMPTY_SHA256, hashlib.sha256(body).hexdigest())

    def trailer(self, before: str, lines: bytes) -> str:
        """The signature of the trailers, each line ended by a line feed alone."""
        return self._sign("AWS4-HMAC-SHA256-TRAILER", before, hashlib.sha256(lines).hexdigest())

    def _sign(self, kind: str, *parts: str) -> str:
        return _hmac(self.key, "\n".join((kind, self.time, self.scope, *parts))).hex()


def verify(method: str, target: str, headers: Mapping[str, str], *, credentials: Credentials, now_s: float) -> Signed:
    """Verify the signature of a request: its method, its raw target, and its headers, by names in lower case.

    Raises S3Error AccessDenied (no signature, or one that is over), InvalidAccessKeyId, RequestTimeTooSkewed,
    SignatureDoesNotMatch, AuthorizationHeaderMalformed, AuthorizationQueryParametersError.
    """
    path, _, query_text = target.partition("?")
    query = _query(query_text)
    presigned = "X-Amz-Algorithm" in dict(query)
    claim = _presigned(dict(query)) if presigned else _in_header(headers)
    if claim.access_key != credentials.access_key:
        raise S3Error("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
    _check_time(claim, now_s)
    _check_names(claim, headers)
    payload = headers.get("x-amz-content-sha256", _UNSIGNED if presigned else "")
    if not payload:
        raise S3Error("InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
    canonical = "\n".join(
        (
            method,
            quote(unquote_to_bytes(path), safe="/~"),
            "&".join(sorted(f"{_quote(k)}={_quote(v)}" for k, v in query if k != "X-Amz-Signature")),
            "".join(f"{name}:{_trimmed(headers[name])}\n" for name in claim.names),
            ";".join(claim.names),
            payload,
        )
    )
    key = _key(credentials.secret_key, claim)
    digest = hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()
    right = _hmac(key, "\n".join((_ALGORITHM, claim.time, claim.scope, digest))).hex()
    if not hmac.compare_digest(right, claim.signature):
        raise S3Error(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. "
            "Check your key and signing method.",
        )
    return Signed(key, claim.time, claim.scope, claim.signature)


def _in_header(headers: Mapping[str, str]) -> Claim:
    text = headers.get("authorization", "")
    if not text:
        raise S3Error("AccessDenied", "Access Denied")
    kind, _, rest = text.partition(" ")
    if kind != _ALGORITHM:
        raise S3Error("InvalidRequest", f"This authorization mechanism is not supported; use {_ALGORITHM}.")
    parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    time = headers.get("x-amz-date", "")
    if not time:
        raise S3Error("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
    return _claim(parts, time, None, _MALFORMED)


def _presigned(query: Mapping[str, str]) -> Claim:
    if query["X-Amz-Algorithm"] != _ALGORITHM:
        raise S3Error(_QUERY_ERROR, f'X-Amz-Algorithm only supports "{_ALGORITHM}"')
    text = query.get("X-Amz-Expires", "")
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 0 < int(text) <= EXPIRES_MAX_S):
        raise S3Error(_QUERY_ERROR, f"X-Amz-Expires must be a number from 1 to {EXPIRES_MAX_S} seconds")
    names = ("Credential", "SignedHeaders", "Signature")
    parts = {name: query.get(f"X-Amz-{name}", "") for name in names}
    return _claim(parts, query.get("X-Amz-Date", ""), int(text), _QUERY_ERROR)


def _claim(parts: Mapping[str, str], time: str, expires_s: int | None, code: str) -> Claim:
    credential = _CREDENTIAL.fullmatch(parts.get("Credential", ""))
    names = tuple(filter(None, parts.get("SignedHeaders", "").split(";")))
    signature = parts.get("Signature", "")
    if credential is None or not names or not _HEX.fullmatch(signature) or not _TIME.fullmatch(time):
        raise S3Error(code, "The authorization wants a Credential, SignedHeaders, a Signature and a time.")
    if not time.startswith(credential[2]):
        raise S3Error(code, "The date of the Credential is not that of the request.")
    return Claim(credential[1], credential[2], credential[3], time, names, signature, expires_s)


def _check_time(claim: Claim, now_s: float) -> None:
    try:
        made = datetime.strptime(claim.time, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise S3Error("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header") from None
    if claim.expires_s is None and abs(now_s - made) > SKEW_S:
        raise S3Error(
            "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."
        )
    if claim.expires_s is not None and now_s > made + claim.expires_s:
        raise S3Error("AccessDenied", "Request has expired")
    if claim.expires_s is not None and now_s < made - SKEW_S:
        raise S3Error("AccessDenied", "Request is not valid yet")


def _check_names(claim: Claim, headers: Mapping[str, str]) -> None:
    """Every header that is signed is there, and every header that must be is signed."""
    signed = set(claim.names)
    missing = [name for name in claim.names if name not in headers]
    must = {name for name in headers if name.lower().startswith("x-amz-")} if claim.expires_s is None else set()
    unsigned = ({"host"} | {name.lower() for name in must}) - signed
    if missing or unsigned:
        names = ", ".join(sorted({*missing, *unsigned}))
        raise S3Error("AccessDenied", f"There were headers present in the request which were not signed: {names}")


def _query(text: str) -> list[tuple[str, str]]:
    pairs = (part.partition("=") for part in text.split("&") if part)
    return [(_unquote(name), _unquote(value)) for name, _, value in pairs]


def _unquote(text: str) -> str:
    return unquote_to_bytes(text.replace("+", " ")).decode("utf-8", "surrogateescape")


def _quote(text: str) -> str:
    return quote(text.encode("utf-8", "surrogateescape"), safe="~")


def _trimmed(value: str) -> str:
    return " ".join(value.split())


def _key(secret: str, claim: Claim) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (claim.day, claim.region, "s3", "aws4_request"):
        key = _hmac(key, part)
    return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode("utf-8", "surrogateescape"), "sha256")
