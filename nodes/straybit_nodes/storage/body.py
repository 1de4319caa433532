"""Reads the body of a PUT from a connection, within bounds of size, time and memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import ClientPayloadError, web

from straybit_nodes.storage.chunked import Signatures, decode
from straybit_nodes.storage.errors import S3Error
from straybit_nodes.storage.request import MAX_BODY

__all__ = ["FRAMING", "IDLE_S", "MEMORY", "Bodies", "continue_if_expected"]

IDLE_S = 5.0
"""A client that sends nothing for so long is answered RequestTimeout."""
MEMORY = 256 * 1024 * 1024
"""Bytes of bodies held at a time; beyond that clients are told to slow down."""
FRAMING = 1024 * 1024
"""Bytes that aws-chunked may add to a body: signed chunks of 8 KiB add some 90 bytes each."""


class Bodies:
    """The bodies in memory at a time, bounded in sum by `memory` bytes."""

    def __init__(self, *, memory: int = MEMORY, idle_s: float = IDLE_S) -> None:
        self._free = memory
        self._idle_s = idle_s

    @asynccontextmanager
    async def read(
        self, request: web.BaseRequest, limit: int = MAX_BODY, signed: Signatures | None = None
    ) -> AsyncIterator[tuple[bytes, dict[str, str]]]:
        """A body of at most `limit` bytes without its aws-chunked framing, and its trailers, while the block lasts.

        `signed` verifies the framing's signatures, where the request says that it has them.

        Raises S3Error MissingContentLength, EntityTooLarge, SlowDown, IncompleteBody, RequestTimeout, InvalidArgument,
        MalformedTrailerError, SignatureDoesNotMatch.
        """
        decoded = _decoded_length(request)
        if decoded is None:
            if request.content_length is None:
                raise S3Error("MissingContentLength", "You must provide the Content-Length HTTP header.")
            async with self.raw(request, request.content_length, limit) as body:
                yield body, {}
            return
        if decoded > limit:
            raise S3Error("EntityTooLarge", f"Your upload exceeds {limit} bytes.")
        size = decoded if request.content_length is None else request.content_length
        async with self.raw(request, size, limit + FRAMING) as framed:
            signs = request.headers.get("x-amz-content-sha256", "").startswith("STREAMING-AWS4-")
            yield decode(framed, decoded, signed if signs else None)

    @asynccontextmanager
    async def raw(self, request: web.BaseRequest, size: int, limit: int) -> AsyncIterator[bytes]:
        """The body as it came, of at most `limit` bytes, `size` of which are expected.

        Raises S3Error EntityTooLarge, SlowDown, IncompleteBody, RequestTimeout.
        """
        if size > limit:
            raise S3Error("EntityTooLarge", f"Your upload exceeds {limit} bytes.")
        if size > self._free:
            raise S3Error("SlowDown", "Please reduce your request rate.")
        self._free -= size
        try:
            await continue_if_expected(request)
            body = await self._receive(request, limit)
            if request.content_length not in {None, len(body)}:
                raise S3Error("IncompleteBody", "You did not provide the number of bytes your header promised.")
            yield body
        finally:
            self._free += size

    async def _receive(self, request: web.BaseRequest, limit: int) -> bytes:
        parts: list[bytes] = []
        total = 0
        try:
            while True:
                async with asyncio.timeout(self._idle_s):
                    part = await request.content.readany()
                if not part:
                    return parts[0] if len(parts) == 1 else b"".join(parts)
                total += len(part)
                if total > limit:
                    raise S3Error("EntityTooLarge", f"Your upload exceeds {limit} bytes.")
                parts.append(part)
        except TimeoutError:
            raise S3Error("RequestTimeout", "Your socket connection was not read from within the time-out.") from None
        except (ClientPayloadError, web.RequestPayloadError, ConnectionError):
            raise S3Error("IncompleteBody", "The body ended before its length.") from None


async def continue_if_expected(request: web.BaseRequest) -> None:
    """Answer `Expect: 100-continue`: the client sends its body only then."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.protocol.transport is not None:
        request.protocol.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _decoded_length(request: web.BaseRequest) -> int | None:
    """How long the body is without aws-chunked framing; None where it has none."""
    headers = request.headers
    encodings = {part.strip() for part in headers.get("content-encoding", "").lower().split(",")}
    if "aws-chunked" not in encodings and not headers.get("x-amz-content-sha256", "").startswith("STREAMING-"):
        return None
    text = headers.get("x-amz-decoded-content-length")
    if text is None:
        raise S3Error("MissingContentLength", "You must provide the x-amz-decoded-content-length HTTP header.")
    if not (text.isascii() and text.isdigit()):
        raise S3Error("InvalidArgument", "x-amz-decoded-content-length must be a number.")
    return int(text)
