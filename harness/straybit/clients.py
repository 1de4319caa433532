"""Unmodified boto3 clients of 2008 and of today, one per mode, and what each of them notices.

What a client sends decides what can be noticed (observed with botocore 1.44):
over plain http today's defaults send a CRC32 and sign the body's SHA-256;
a client of early 2008 sent neither, and a Content-MD5 only when its author had thought of it.
Retries are off, because a retry hides the fault.
HTTP_PROXY is not heeded: every endpoint is the listener of a link on this machine, which such a proxy cannot reach.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from straybit_nodes.gossip.rules import Rules

if TYPE_CHECKING:
    from boto3.session import Session
    from botocore.awsrequest import AWSPreparedRequest, AWSResponse
    from mypy_boto3_s3 import S3Client

__all__ = ["MODES", "PARSE", "S3", "Mode", "Reply", "S3Like"]

ANY_KEYS = ("straybit", "straybit")
"""What a client signs with where nobody looks; boto3 does not send a request without."""
PARSE = "client:parse"
"""`noticed_by` of a reply that the client could not make sense of: luck, since another bit would have passed."""


class Mode(msgspec.Struct, frozen=True):
    """One way of being a client: `checksum` is what covers the body on its way (empty: nothing does)."""

    name: str
    era: str
    checksum: str
    signed: bool = False
    calculate: str = "when_required"
    arguments: Callable[[bytes], dict[str, Any]] = lambda _: {}


def _md5(body: bytes) -> dict[str, Any]:
    return {"ContentMD5": base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()}


MODES: dict[str, Mode] = {
    mode.name: mode
    for mode in (
        Mode("2008-plain", "2008", ""),
        Mode("2008-md5", "2008", "Content-MD5", arguments=_md5),
        Mode("today-off", "today", ""),
        Mode("today-signed", "today", "x-amz-content-sha256", signed=True),
        Mode("today-crc32", "today", "x-amz-checksum-crc32", calculate="when_supported"),
        Mode(
            "today-sha256",
            "today",
            "x-amz-checksum-sha256",
            calculate="when_supported",
            arguments=lambda _: {"ChecksumAlgorithm": "SHA256"},
        ),
        Mode("today-default", "today", "x-amz-checksum-crc32, x-amz-content-sha256", True, "when_supported"),
    )
}
"""Every mode in which the workload can write, by name."""


class Reply(msgspec.Struct, frozen=True):
    """What a client got: `ok`, or an HTTP status (0: none came) and a code; `noticed_by` names a client's own check."""

    ok: bool
    status: int = 200
    code: str = ""
    etag: str = ""
    body: bytes = b""
    noticed_by: str = ""


class S3Like(Protocol):
    """What a workload needs of a client; calls never raise for what the other side did."""

    def create_bucket(self, bucket: str) -> Reply:
        """PUT a bucket; one that is there already is fine."""

    def put(self, bucket: str, key: str, body: bytes) -> Reply:
        """PUT an object."""

    def get(self, bucket: str, key: str) -> Reply:
        """GET an object to its end."""

    def close(self) -> None:
        """Close connections."""


class S3:
    """One boto3 client in one mode against one endpoint; safe to use from several threads.

    It waits for a connection, and for bytes, for `deadline_s` each, and signs with `keys`, access and secret.
    `answer` stands in for the network where there is none; what it raises counts as what the network did.
    """

    def __init__(
        self,
        endpoint: str,
        mode: Mode = MODES["today-default"],
        *,
        deadline_s: float = Rules().deadline_s,
        keys: tuple[str, str] = ("", ""),
        answer: Callable[[AWSPreparedRequest], AWSResponse] | None = None,
    ) -> None:
        self.mode = mode
        self._client = _boto3_client(endpoint, mode, deadline_s, keys if all(keys) else ANY_KEYS)
        if answer is not None:
            stand_in: Callable[..., Any] = lambda request, **_: answer(request)  # noqa: E731 - typed as the stubs want it
            self._client.meta.events.register("before-send.s3", stand_in)

    def create_bucket(self, bucket: str) -> Reply:
        """PUT a bucket; one that is there already is fine."""
        return self._call(lambda: self._client.create_bucket(Bucket=bucket))

    def put(self, bucket: str, key: str, body: bytes) -> Reply:
        """PUT an object as this mode does."""
        return self._call(
            lambda: self._client.put_object(Bucket=bucket, Key=key, Body=body, **self.mode.arguments(body))
        )

    def get(self, bucket: str, key: str) -> Reply:
        """GET an object to its end; a checksum that fails on the way is `noticed_by` `client:checksum`."""

        def call() -> dict[str, Any]:
            found = self._client.get_object(Bucket=bucket, Key=key)
            return {**found, "read": found["Body"].read()}

        return self._call(call)

    def delete(self, bucket: str, key: str) -> Reply:
        """DELETE an object; one that is not there is fine."""
        return self._call(lambda: self._client.delete_object(Bucket=bucket, Key=key))

    def close(self) -> None:
        """Close the client's connections."""
        self._client.close()

    def _call(self, call: Callable[[], Any]) -> Reply:
        from botocore.exceptions import BotoCoreError, ClientError, FlexibleChecksumError  # noqa: PLC0415 - slow
        from botocore.parsers import ResponseParserError  # noqa: PLC0415 - with botocore
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - with botocore

        try:
            found = call()
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            return Reply(False, status, error.response.get("Error", {}).get("Code", ""))
        except FlexibleChecksumError:
            return Reply(False, 200, noticed_by="client:checksum")
        except (BotoCoreError, HTTPError) as error:
            return Reply(False, 0, type(error).__name__)
        except (ResponseParserError, ValueError, LookupError, AttributeError, TypeError) as error:
            # XML that is none, a header that is no date or number, a status that botocore trips over (300, 600)
            return Reply(False, 0, type(error).__name__, noticed_by=PARSE)
        return Reply(True, 200, etag=found.get("ETag", "").strip('"'), body=found.get("read", b""))


def _boto3_client(endpoint: str, mode: Mode, deadline_s: float, keys: tuple[str, str]) -> S3Client:
    from botocore.config import Config  # noqa: PLC0415 - with boto3

    settings: dict[str, Any] = {
        "connect_timeout": deadline_s,
        "read_timeout": deadline_s,
        "retries": {"mode": "standard", "total_max_attempts": 1},
        "s3": {"addressing_style": "path", "payload_signing_enabled": mode.signed},
        "request_checksum_calculation": mode.calculate,
        "response_checksum_validation": mode.calculate,
        "max_pool_connections": 64,
        "proxies": {},  # None would ask the environment
    }
    with _SESSION_LOCK:
        client: S3Client = _session(keys).client("s3", endpoint_url=endpoint, config=Config(**settings))
    return client


_SESSION_LOCK = threading.Lock()
"""Clients may be shared by threads; making one may not."""


@functools.cache
def _session(keys: tuple[str, str]) -> Session:
    import boto3  # noqa: PLC0415 - half a second that only a workload should pay

    return boto3.session.Session(*keys, region_name="us-east-1")
