"""A node's HTTP listener: aiohttp's low-level server, without routing, body limits or decompression."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from straybit_nodes.listening import end_listening

__all__ = ["Handler", "HttpListener"]

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_HEAD_LIMIT = 16 * 1024
"""Bytes of one request line or header: a key of 1,024 bytes is 3,072 quoted; S3 allows 8 KiB of headers."""
_BACKLOG = 256
_CLOSE_AFTER_S = 0.5

_quiet = logging.getLogger("straybit_nodes.web")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False


class HttpListener:
    """Serves `handler` on one address; rubbish is answered 400 by aiohttp and costs that connection only.

    Bodies arrive as sent (`Content-Encoding` is the client's business), and `Expect` is left to the handler.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._web: web.Server | None = None
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port that is listened on, also when it was given as 0."""
        if self._server is None:
            raise RuntimeError("the listener is not open yet; await open() first")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def open(self, host: str, port: int) -> None:
        """Start listening. Raises OSError when the port is taken."""
        self._web = web.Server(
            self._handler,
            logger=_quiet,
            access_log=None,
            auto_decompress=False,
            max_line_size=_HEAD_LIMIT,
            max_field_size=_HEAD_LIMIT,
            lingering_time=1.0,
        )
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._web, host, port, reuse_address=True, backlog=_BACKLOG)

    async def close(self) -> None:
        """Stop listening, give requests under way half a second, and drop every connection."""
        if self._server is not None:
            await end_listening(self._server)
        if self._web is not None:
            open_ = [connection.transport for connection in self._web.connections]
            self._web.pre_shutdown()
            await self._web.shutdown(_CLOSE_AFTER_S)
            for transport in open_:
                if isinstance(transport, asyncio.Transport):
                    transport.abort()  # one whose peer reads nothing would stay until it does
            await asyncio.sleep(0)
