"""Toxiproxy's HTTP API, and straybit's additions to it, in a thread of its own.

A handler reads its request, has the data thread do one short command, and answers;
so a slow client holds up neither data nor other clients.
Whoever sends no whole request, or takes no answer, within `PATIENCE_S` is cut off.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
from collections.abc import Callable
from typing import TypeVar

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from straybit_faults.proxy.errors import ApiError
from straybit_faults.proxy.server import (
    ProxyBody,
    Server,
    ToxicBody,
    ToxicUpdate,
    describe_proxy,
    describe_toxic,
    describe_toxics,
)

__all__ = ["VERSION", "Api"]

VERSION = "2.12.0"
"""Of Toxiproxy's API: clients choose PATCH or POST by it."""

MAX_BODY = 4_194_304
"""Bytes of a request's body: thousands of proxies in one populate."""

PATIENCE_S = 10.0
"""For a whole request to come and its answer to go; real clients need milliseconds."""

T = TypeVar("T")
_identifiers = itertools.count(1)


class Api:
    """Serves on an already bound socket until `stop`."""

    def __init__(self, server: Server, listener: socket.socket) -> None:
        self.server = server
        self.listener = listener
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, name="api", daemon=True)
        self.ready = threading.Event()

    def start(self) -> None:
        """Serve; returns once calls are answered."""
        self.thread.start()
        self.ready.wait()

    def stop(self) -> None:
        """End the thread; calls that are under way are cut off."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        runner = web.AppRunner(self._app(), access_log=None, keepalive_timeout=PATIENCE_S, shutdown_timeout=0.1)
        self.loop.run_until_complete(runner.setup())
        self.loop.run_until_complete(web.SockSite(runner, self.listener, backlog=1024).start())
        self.ready.set()
        self.loop.run_forever()
        self.loop.run_until_complete(runner.cleanup())
        self.loop.close()

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY, middlewares=[_contract])
        proxy, toxic = "/proxies/{proxy}", "/proxies/{proxy}/toxics/{toxic}"
        app.router.add_get("/version", self.version, allow_head=False)
        app.router.add_get("/proxies", self.list_proxies, allow_head=False)
        app.router.add_post("/proxies", self.create)
        app.router.add_get(proxy, self.show, allow_head=False)
        app.router.add_post(proxy, self.update)
        app.router.add_patch(proxy, self.update)
        app.router.add_delete(proxy, self.delete)
        app.router.add_get(f"{proxy}/toxics", self.list_toxics, allow_head=False)
        app.router.add_post(f"{proxy}/toxics", self.add_toxic)
        app.router.add_get(toxic, self.show_toxic, allow_head=False)
        app.router.add_post(toxic, self.update_toxic)
        app.router.add_patch(toxic, self.update_toxic)
        app.router.add_delete(toxic, self.remove_toxic)
        app.router.add_post("/populate", self.populate)
        app.router.add_post("/reset", self.reset)
        app.router.add_get("/receipts", self.receipts, allow_head=False)
        return app

    async def call(self, command: Callable[[Server], T]) -> T:
        """Have the data thread run `command`; its ApiError comes back."""
        future: asyncio.Future[T] = self.loop.create_future()

        def run() -> None:
            try:
                result = command(self.server)
            except Exception as error:
                self.loop.call_soon_threadsafe(_settle, future, None, error)
            else:
                self.loop.call_soon_threadsafe(_settle, future, result, None)

        self.server.loop.submit(run)
        return await future

    # -- Toxiproxy's routes --------------------------------------------------------------------------------------

    async def version(self, request: web.Request) -> web.Response:
        """GET /version."""
        return _json({"version": VERSION})

    async def list_proxies(self, request: web.Request) -> web.Response:
        """GET /proxies: sorted by name."""
        return _json(await self.call(lambda server: {n: describe_proxy(p) for n, p in sorted(server.proxies.items())}))

    async def create(self, request: web.Request) -> web.Response:
        """POST /proxies."""
        body = await _body(request, ProxyBody)
        return _json(await self.call(lambda server: describe_proxy(server.create(body))), 201)

    async def show(self, request: web.Request) -> web.Response:
        """GET /proxies/{proxy}."""
        return _json(await self.call(lambda server: describe_proxy(server.proxy(_name(request)))))

    async def update(self, request: web.Request) -> web.Response:
        """POST or PATCH /proxies/{proxy}."""
        body = await _body(request, ProxyBody)
        return _json(await self.call(lambda server: describe_proxy(server.update(_name(request), body))))

    async def delete(self, request: web.Request) -> web.Response:
        """DELETE /proxies/{proxy}."""
        await self.call(lambda server: server.delete(_name(request)))
        return web.Response(status=204)

    async def list_toxics(self, request: web.Request) -> web.Response:
        """GET /proxies/{proxy}/toxics."""
        return _json(await self.call(lambda server: describe_toxics(server.proxy(_name(request)))))

    async def add_toxic(self, request: web.Request) -> web.Response:
        """POST /proxies/{proxy}/toxics."""
        body = await _body(request, ToxicBody)
        return _json(await self.call(lambda server: describe_toxic(server.add_toxic(_name(request), body))))

    async def show_toxic(self, request: web.Request) -> web.Response:
        """GET /proxies/{proxy}/toxics/{toxic}."""
        return _json(await self.call(lambda server: describe_toxic(server.toxic(*_names(request)))))

    async def update_toxic(self, request: web.Request) -> web.Response:
        """POST or PATCH /proxies/{proxy}/toxics/{toxic}."""
        body = await _body(request, ToxicUpdate)
        return _json(await self.call(lambda server: describe_toxic(server.update_toxic(*_names(request), body))))

    async def remove_toxic(self, request: web.Request) -> web.Response:
        """DELETE /proxies/{proxy}/toxics/{toxic}."""
        await self.call(lambda server: server.remove_toxic(*_names(request)))
        return web.Response(status=204)

    async def populate(self, request: web.Request) -> web.Response:
        """POST /populate."""
        bodies = await _body(request, list[ProxyBody])
        created = await self.call(lambda server: [describe_proxy(p) for p in server.populate(bodies)])
        return _json({"proxies": created}, 201)

    async def reset(self, request: web.Request) -> web.Response:
        """POST /reset."""
        await self.call(lambda server: server.reset())
        return web.Response(status=204)

    # -- straybit's own ------------------------------------------------------------------------------------------

    async def receipts(self, request: web.Request) -> web.Response:
        """GET /receipts[?proxy=NAME], oldest first."""
        proxy = request.query.get("proxy")
        return _json(await self.call(lambda server: msgspec.to_builtins(server.book.of(proxy))))


@web.middleware
async def _contract(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What holds for every call: no browsers, request ids, and errors in Toxiproxy's form."""
    if request.headers.get("User-Agent", "").startswith("Mozilla/"):
        return web.Response(status=403, text="User agent not allowed\n")
    try:
        response = await handler(request)
    except ApiError as error:
        response = _error(error.status, error.text)
    except web.HTTPNotFound:
        return web.Response(status=404, text="404 page not found\n")
    except web.HTTPMethodNotAllowed:
        return web.Response(status=405)
    response.headers["X-Toxiproxy-Request-Id"] = f"{next(_identifiers):020x}"
    return response


async def _body(request: web.Request, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(await asyncio.wait_for(request.read(), PATIENCE_S), type=kind)
    except web.HTTPRequestEntityTooLarge as error:
        raise ApiError(413, f"bad request body: more than {MAX_BODY} bytes") from error
    except TimeoutError as error:
        raise ApiError(408, f"bad request body: not whole after {PATIENCE_S:g} s") from error
    except ValueError as error:
        raise ApiError.bad_body(error) from error


def _name(request: web.Request) -> str:
    return request.match_info["proxy"]


def _names(request: web.Request) -> tuple[str, str]:
    return request.match_info["proxy"], request.match_info["toxic"]


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(value), content_type="application/json")


def _error(status: int, text: str) -> web.Response:
    body = msgspec.json.encode({"error": text, "status": status}) + b"\n"
    return web.Response(status=status, body=body, headers={"Content-Type": "text/plain; charset=utf-8"})


def _settle(future: asyncio.Future[T], result: T | None, error: Exception | None) -> None:
    if future.done():
        return  # the client has gone
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)  # type: ignore[arg-type]
