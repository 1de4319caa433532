"""Clients at the door of a storage node: who they are, what their body is, and whether it is what they sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

from straybit_nodes.storage.body import Bodies
from straybit_nodes.storage.calls import Answer, Call
from straybit_nodes.storage.conditions import COPY_SOURCE
from straybit_nodes.storage.digests import PREFIX, Announced, announced, check, md5_hex
from straybit_nodes.storage.documents import MAX_DOCUMENT
from straybit_nodes.storage.errors import S3Error
from straybit_nodes.storage.request import MAX_BODY, Operation, S3Request
from straybit_nodes.storage.service import S3Service
from straybit_nodes.storage.sigv4 import Credentials, Signed, verify

__all__ = ["Front"]

_STORED = frozenset({Operation.PUT_OBJECT, Operation.PUT_PART})
_LARGE = 64 * 1024
"""Bytes whose digests take longer than handing them to a thread: 0.2 ms for MD5."""
_DOCUMENTS = frozenset({Operation.PUT_BUCKET, Operation.DELETE_OBJECTS, Operation.COMPLETE_UPLOAD})


class Front:
    """Verifies signatures, receives bodies, holds them against their digests, and calls the service.

    Without `credentials` nobody is asked who they are; `now_ns` is what a signature's time is compared with.
    `checksums` is `content-checksum`: with it off, digests are not even read, as early in 2008.
    `on_refused` is told of each request whose body is not what its digests say.
    """

    def __init__(
        self,
        service: S3Service,
        bodies: Bodies,
        *,
        checksums: bool,
        credentials: Credentials | None,
        now_ns: Callable[[], int],
        on_refused: Callable[[web.BaseRequest, S3Error], None],
    ) -> None:
        self._service = service
        self._bodies = bodies
        self._checksums = checksums
        self._credentials = credentials
        self._now_ns = now_ns
        self._on_refused = on_refused

    async def answer(self, request: web.BaseRequest, parsed: S3Request) -> Answer:
        """The answer to a client. Raises S3Error."""
        signed = self._verified(request)
        expected = self._announced(request, parsed)
        async with self._body(request, parsed, signed) as (body, trailers):
            try:
                checksums, md5 = await _digested(body, expected, trailers, stored=parsed.operation in _STORED)
            except S3Error as error:
                self._on_refused(request, error)
                raise
            return await self._service.handle(Call(parsed, request.headers, body, checksums, md5))

    @asynccontextmanager
    async def _body(
        self, request: web.BaseRequest, parsed: S3Request, signed: Signed | None
    ) -> AsyncIterator[tuple[bytes, dict[str, str]]]:
        """The body of an operation that has one; of any other, what came is left unread."""
        if parsed.operation in _STORED and COPY_SOURCE not in request.headers:
            async with self._bodies.read(request, MAX_BODY, signed) as received:
                yield received
        elif parsed.operation in _DOCUMENTS and (request.content_length or not request.content.is_eof()):
            async with self._bodies.read(request, MAX_DOCUMENT, signed) as received:
                yield received
        else:
            yield b"", {}

    def _verified(self, request: web.BaseRequest) -> Signed | None:
        if self._credentials is None:
            return None
        return verify(
            request.method,
            request.raw_path,
            {name.lower(): ",".join(request.headers.getall(name)) for name in request.headers},
            credentials=self._credentials,
            now_s=self._now_ns() / 1e9,
        )

    def _announced(self, request: web.BaseRequest, parsed: S3Request) -> Announced:
        """The digests to hold the body against."""
        if not self._checksums:
            return Announced()
        try:
            return announced(_of_the_body(request.headers, parsed))
        except S3Error as error:
            self._on_refused(request, error)
            raise


async def _digested(
    body: bytes, expected: Announced, trailers: Mapping[str, str], *, stored: bool
) -> tuple[dict[str, str], str]:
    """The checksums to store and the MD5, which is an object's ETag. Raises S3Error as `check` does.

    A large body is hashed beside the loop, so that nobody waits for it, and both at once.
    """
    if not stored:
        return check(body, expected, trailers) if body else {}, ""
    if len(body) < _LARGE:
        return check(body, expected, trailers), md5_hex(body)
    return await asyncio.gather(asyncio.to_thread(check, body, expected, trailers), asyncio.to_thread(md5_hex, body))


def _of_the_body(headers: Mapping[str, str], parsed: S3Request) -> Mapping[str, str]:
    """Without the digests that are about something else: the object that a completion makes, or that a copy makes."""
    if parsed.operation is Operation.COMPLETE_UPLOAD or COPY_SOURCE in headers:
        return {name.lower(): value for name, value in headers.items() if not name.lower().startswith(PREFIX)}
    return headers
