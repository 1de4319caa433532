"""One S3 call and its answer, without sockets."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from straybit_nodes.storage.request import S3Request

__all__ = ["XML", "Answer", "Call"]

XML = {"Content-Type": "application/xml"}


class Call(msgspec.Struct, frozen=True):
    """A request whose body was received and verified; `headers` are looked up by names in lower case.

    `checksums` are those of the body that its client announced, `{algorithm: base64}`; `md5` is its MD5 in hex.
    """

    request: S3Request
    headers: Mapping[str, str]
    body: bytes = b""
    checksums: dict[str, str] = {}
    md5: str = ""

    @property
    def bucket(self) -> str:
        """The bucket it names."""
        return self.request.bucket

    @property
    def key(self) -> str:
        """The key it names."""
        return self.request.key

    @property
    def query(self) -> dict[str, str]:
        """Its query."""
        return self.request.query


class Answer(msgspec.Struct, frozen=True):
    """A reply. `length` is the Content-Length where it is not the body's (HEAD)."""

    status: int
    headers: dict[str, str] = {}
    body: bytes = b""
    length: int | None = None
