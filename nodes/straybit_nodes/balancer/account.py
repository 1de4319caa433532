"""What a balancer makes of one request: what it passes on of it, and what its log and its counts say."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from straybit_nodes.storage.digests import checksum_header
from straybit_nodes.storage.errors import INTEGRITY_CODES, error_code

__all__ = ["HOP_BY_HOP", "Account"]

HOP_BY_HOP = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that concern one connection (RFC 9110, 7.6.1), and framing, which is written anew as it was."""


class Account(msgspec.Struct):
    """One request: `checksum` is the header that covers its body, `code` the S3 error it was answered with."""

    status: int = 0
    coordinator: str = ""
    tries: int = 0
    checksum: str = ""
    code: str = ""

    def came(self, headers: Mapping[str, str], body: bytes) -> None:
        """It came with these headers, which are looked up by names in lower case; without a body nothing covers it."""
        if body:
            self.checksum = checksum_header(headers, headers.get("x-amz-content-sha256", ""))

    def answered(self, status: int, body: bytes) -> None:
        """A coordinator answered so."""
        self.status = status
        self.code = error_code(body) if status >= 400 else ""

    @property
    def rejected(self) -> bool:
        """Whether its digest was refused."""
        return bool(self.checksum) and self.status == 400 and self.code in INTEGRITY_CODES

    def line(self, method: str, target: str, seconds: float) -> dict[str, object]:
        """The fields of its line in the log."""
        return {
            "method": method,
            "target": target,
            "status": self.status,
            "coordinator": self.coordinator,
            "tries": self.tries,
            "checksum": self.checksum,
            "code": self.code,
            "seconds": round(seconds, 6),
        }
