"""One HTTP/1.1 request on one new connection, whose target and headers go out byte for byte as they were given.

aiohttp's client quotes targets again and pools connections;
a relay must do neither, and a leg between servers is a connection of its own by the model's rule.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

__all__ = ["Framing", "HttpError", "NoReply", "Reply", "request_head", "talk"]

Framing = Literal["length", "chunked", "none"]

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: ([^\r\n]*))?")
_HEADS_MAX = 4
"""Heads of one reply, interim ones (100) among them."""


class HttpError(Exception):
    """A reply that began and cannot be read; the message says why."""


class NoReply(HttpError):
    """The connection ended before the first byte of a reply."""


class Reply(msgspec.Struct, frozen=True):
    """A whole reply; header names as they came."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str, default: str = "") -> str:
        """The first header of that name, in any case."""
        return next((value for key, value in self.headers if key.lower() == name), default)


async def talk(
    stream: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    method: str,
    target: str,
    *,
    headers: Iterable[tuple[str, str]],
    body: bytes = b"",
    framing: Framing = "length",
    limit: int,
    on_head: Callable[[int], None] | None = None,
) -> Reply:
    """Send one request on `stream` and read its reply, of at most `limit` bytes; the stream is closed afterwards.

    `headers` hold no framing, it is added: `length` is Content-Length where there is a body or the method has one,
    `chunked` is Transfer-Encoding, `none` is neither.
    `on_head` is told the bytes of the body to come, once the head of the reply is there.
    Raises NoReply, HttpError; the caller sets the time limit.
    """
    reader, writer = stream
    try:
        writer.write(request_head(method, target, headers, body, framing))
        if framing == "chunked":
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
        if body:
            writer.write(body)
        with contextlib.suppress(ConnectionError):  # a reply may have come: nobody need read a body it refuses
            await writer.drain()
        return await _read(reader, method, limit, on_head)
    finally:
        writer.close()


def request_head(method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes, framing: Framing) -> bytes:
    """The head of a request as it goes out, with its blank line; see `talk`."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    if framing == "chunked":
        lines.append("Transfer-Encoding: chunked")
    elif framing == "length" and (body or method in {"PUT", "POST"}):
        lines.append(f"Content-Length: {len(body)}")
    lines.append("Connection: close\r\n\r\n")
    return "\r\n".join(lines).encode("utf-8", "surrogateescape")


async def _read(reader: asyncio.StreamReader, method: str, limit: int, on_head: Callable[[int], None] | None) -> Reply:
    for _ in range(_HEADS_MAX):
        status, reason, headers = _parse(await _read_head(reader))
        if status >= 200:
            break
    else:
        raise HttpError(f"more than {_HEADS_MAX} interim replies")
    length = 0 if method == "HEAD" or status in {204, 304} else _length(headers, limit)
    if on_head is not None:
        on_head(length)
    try:
        return Reply(status, reason, headers, await reader.readexactly(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        raise HttpError("the reply ended early") from None


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise HttpError("the head of the reply ended early") from None
        raise NoReply("the connection ended before a reply") from None
    except asyncio.LimitOverrunError:
        raise HttpError("the head of the reply is too long") from None
    except ConnectionError as error:
        raise NoReply(f"the connection broke before a reply: {error}") from None


def _parse(head: bytes) -> tuple[int, str, tuple[tuple[str, str], ...]]:
    first, *lines = head[:-4].split(b"\r\n")
    match = _STATUS.fullmatch(first)
    if match is None:
        raise HttpError(f"the reply begins with {first[:40]!r}")
    headers = []
    for line in lines:
        name, colon, value = line.decode("utf-8", "surrogateescape").partition(":")
        if not colon or not name or name != name.strip():
            raise HttpError(f"a header of the reply is {line[:40]!r}")
        headers.append((name, value.strip()))
    return int(match[1]), (match[2] or b"").decode("latin-1"), tuple(headers)


def _length(headers: tuple[tuple[str, str], ...], limit: int) -> int:
    lengths = {value for name, value in headers if name.lower() == "content-length"}
    text = lengths.pop() if len(lengths) == 1 else ""
    if lengths or (text and not (text.isascii() and text.isdigit())):
        raise HttpError("the reply has no sound Content-Length")
    if any(name.lower() == "transfer-encoding" for name, _ in headers):
        raise HttpError("the reply is framed in a way that is not offered here")
    length = int(text or 0)
    if length > limit:
        raise HttpError(f"the reply has {length} bytes, more than {limit}")
    return length
