"""Toxiproxy's HTTP API, and straybit's additions to it, in a thread of its own.

A handler reads its request, has the data thread do one short command, and answers;
so a slow client holds up neither data nor other clients.
Whoever sends no whole request, or takes no answer, within `PATIENCE_S` is cut off.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import socket
import threading
from collections.abc import Callable
from typing import TypeVar

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from straybit_faults.proxy.address import UnknownHostError, look_up
from straybit_faults.proxy.bodies import (
    ProxyBody,
    ToxicBody,
    ToxicUpdate,
    describe_proxy,
    describe_toxic,
    describe_toxics,
    read_body,
)
from straybit_faults.proxy.errors import ApiError
from straybit_faults.proxy.metrics import metrics_text, read_counts
from straybit_faults.proxy.receipts import ReceiptQuery
from straybit_faults.proxy.server import PopulateError, Server

__all__ = ["VERSION", "Api"]

VERSION = "2.12.0"
"""Of Toxiproxy's API: clients choose PATCH or POST by it."""

MAX_BODY = 4_194_304
"""Bytes of a request's body: thousands of proxies in one populate."""

PATIENCE_S = 10.0
"""For a whole request to come and its answer to go; real clients need milliseconds."""

PORTION = 512
"""Receipts encoded at once: data waits for the interpreter's lock no longer than that takes."""

MAX_NAMES = 64
"""Hosts to listen on that one call may name, where addresses would do."""

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

T = TypeVar("T")
_LOG = logging.getLogger("straybit.proxy.api")
_LOG.addHandler(logging.NullHandler())
_LOG.propagate = False  # a full pipe at standard error must not hold up the API: what matters is an event
_identifiers = itertools.count(1)


class Api:
    """Serves on an already bound socket until `stop`."""

    def __init__(self, server: Server, listener: socket.socket, *, patience_s: float = PATIENCE_S) -> None:
        self.server = server
        self.patience_s = patience_s
        self.listener = listener
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, name="api", daemon=True)
        self.ready = threading.Event()
        self.served: dict[web.RequestHandler, float] = {}
        """When each connection last got an answer, or came."""
        self.following: set[web.RequestHandler] = set()
        """Connections of event streams, which may stay as long as they like."""

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
        runner = web.AppRunner(
            self._app(),
            access_log=None,
            logger=_LOG,
            keepalive_timeout=self.patience_s,
            shutdown_timeout=0.1,
            handler_cancellation=True,  # a follower of events that left waits for none
        )
        self.loop.run_until_complete(runner.setup())
        self.loop.run_until_complete(web.SockSite(runner, self.listener, backlog=1024).start())
        self.ready.set()
        sweeper = self.loop.create_task(self._sweep(runner))
        self.loop.run_forever()
        sweeper.cancel()
        self.loop.run_until_complete(runner.cleanup())
        self.loop.close()

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY, middlewares=[self._contract])
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
        app.router.add_get("/metrics", self.metrics, allow_head=False)
        app.router.add_get("/receipts", self.receipts, allow_head=False)
        app.router.add_get("/events", self.events, allow_head=False)
        return app

    async def _sweep(self, runner: web.AppRunner) -> None:
        """Cut off connections that neither finish a request nor take its answer."""
        pause = min(1.0, self.patience_s / 4)
        while True:
            await asyncio.sleep(pause)
            now = self.loop.time()
            connections = runner.server.connections if runner.server is not None else []
            self.served = {protocol: self.served.get(protocol, now) for protocol in connections}
            self.following.intersection_update(connections)
            for protocol, since in self.served.items():
                late = now - since > self.patience_s + pause  # so that a 408 comes first
                if late and protocol not in self.following and protocol.transport is not None:
                    protocol.transport.abort()

    @web.middleware
    async def _contract(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """What holds for every call: no browsers, request ids, and errors in Toxiproxy's form."""
        if request.headers.get("User-Agent", "").startswith("Mozilla/"):
            return web.Response(status=403, text="User agent not allowed\n")
        try:
            response = await handler(request)
        except ApiError as error:
            response = _error(error)
        except web.HTTPNotFound:
            return web.Response(status=404, text="404 page not found\n")
        except web.HTTPMethodNotAllowed:
            return web.Response(status=405)
        except ConnectionError:
            raise  # the client has gone
        except Exception as error:
            response = _error(ApiError(500, f"{type(error).__name__}: {error}"))
            reason = f"{request.method} {request.path}: {error!r}"
            self.server.loop.submit(lambda: self.server.events.add("error", reason=reason))
        if not response.prepared:
            response.headers["X-Toxiproxy-Request-Id"] = f"{next(_identifiers):020x}"
        self.served[request.protocol] = self.loop.time()
        return response

    async def call(self, command: Callable[[Server], T]) -> T:
        """Have the data thread run `command`; its ApiError comes back.

        Where it needs a name server's answer, that is waited for here, and the command begins again.
        """
        names: dict[str, str] = {}
        while True:
            try:
                return await self._call_with(names, command)
            except UnknownHostError as unknown:
                if len(names) >= MAX_NAMES:
                    raise ApiError.bad_body(f"more than {MAX_NAMES} hosts to look up; give addresses") from unknown
                names[unknown.host] = await self.loop.run_in_executor(None, look_up, unknown.host)

    async def _call_with(self, names: dict[str, str], command: Callable[[Server], T]) -> T:
        future: asyncio.Future[T] = self.loop.create_future()

        def run() -> None:
            self.server.names = names
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
        body = await self._body(request, ProxyBody)
        return _json(await self.call(lambda server: describe_proxy(server.create(body))), 201)

    async def show(self, request: web.Request) -> web.Response:
        """GET /proxies/{proxy}."""
        return _json(await self.call(lambda server: describe_proxy(server.proxy(_name(request)))))

    async def update(self, request: web.Request) -> web.Response:
        """POST or PATCH /proxies/{proxy}."""
        body = await self._body(request, ProxyBody)
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
        body = await self._body(request, ToxicBody)
        return _json(await self.call(lambda server: describe_toxic(server.add_toxic(_name(request), body))))

    async def show_toxic(self, request: web.Request) -> web.Response:
        """GET /proxies/{proxy}/toxics/{toxic}."""
        return _json(await self.call(lambda server: describe_toxic(server.toxic(*_names(request)))))

    async def update_toxic(self, request: web.Request) -> web.Response:
        """POST or PATCH /proxies/{proxy}/toxics/{toxic}."""
        body = await self._body(request, ToxicUpdate)
        return _json(await self.call(lambda server: describe_toxic(server.update_toxic(*_names(request), body))))

    async def remove_toxic(self, request: web.Request) -> web.Response:
        """DELETE /proxies/{proxy}/toxics/{toxic}."""
        await self.call(lambda server: server.remove_toxic(*_names(request)))
        return web.Response(status=204)

    async def populate(self, request: web.Request) -> web.Response:
        """POST /populate."""
        try:
            bodies = await self._body(request, list[ProxyBody])
            proxies = await self.call(lambda server: [describe_proxy(p) for p in server.populate(bodies)])
        except PopulateError as error:
            made = error.proxies
            partial = None if made is None else await self.call(lambda _: [describe_proxy(p) for p in made])
            return _json({"error": error.text, "status": error.status, "proxies": partial}, error.status)
        except ApiError as error:
            return _json({"error": error.text, "status": error.status, "proxies": None}, error.status)
        return _json({"proxies": proxies}, 201)

    async def reset(self, request: web.Request) -> web.Response:
        """POST /reset."""
        await self.call(lambda server: server.reset())
        return web.Response(status=204)

    # -- straybit's own ------------------------------------------------------------------------------------------

    async def metrics(self, request: web.Request) -> web.Response:
        """GET /metrics."""
        readings = await self.call(lambda server: read_counts(list(server.proxies.values())))
        return web.Response(body=metrics_text(readings), headers={"Content-Type": METRICS_TYPE})

    async def receipts(self, request: web.Request) -> web.Response:
        """GET /receipts[?proxy=NAME][&toxic=NAME][&connection=N][&delivered=true|false][&since=SEQ], oldest first."""
        wanted = ReceiptQuery.read(request.query)
        receipts = [one for one in await self.call(lambda server: list(server.book.receipts)) if wanted.wants(one)]
        portions = []
        for start in range(0, len(receipts), PORTION):
            portions.append(msgspec.json.encode(receipts[start : start + PORTION])[1:-1])
            await asyncio.sleep(0)
        return web.Response(body=b"[" + b",".join(portions) + b"]", content_type="application/json")

    async def events(self, request: web.Request) -> web.StreamResponse:
        """GET /events[?since=SEQ][&follow=true]: NDJSON; a gap in the numbers is what was forgotten meanwhile."""
        seq = _number(request, "since")
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        self.following.add(request.protocol)
        await response.prepare(request)
        while True:
            events = await self.call(functools.partial(Server.events_since, seq=seq))
            if events:
                await response.write(b"".join(msgspec.json.encode(event) + b"\n" for event in events))
                seq = events[-1].seq + 1
            elif request.query.get("follow") == "true":
                await self._wait_for_news(seq)
            else:
                break
        self.following.discard(request.protocol)
        return response

    async def _wait_for_news(self, seq: int) -> None:
        """Until the log has an event numbered `seq`."""
        news = asyncio.Event()

        def wake() -> None:
            self.loop.call_soon_threadsafe(news.set)

        try:
            if not await self.call(lambda server: server.events.notify(seq, wake)):
                await news.wait()
        finally:
            self.server.loop.submit(lambda: self.server.events.forget(wake))

    async def _body(self, request: web.Request, kind: type[T]) -> T:
        try:
            text = await asyncio.wait_for(request.read(), self.patience_s)
        except web.HTTPRequestEntityTooLarge as error:
            raise ApiError(413, f"bad request body: more than {MAX_BODY} bytes") from error
        except TimeoutError as error:
            raise ApiError(408, f"bad request body: not whole after {self.patience_s:g} s") from error
        return read_body(text, kind)


def _number(request: web.Request, name: str) -> int:
    text = request.query.get(name, "0")
    if not (text.isascii() and text.isdigit()):
        raise ApiError(400, f"bad query: {name} must be a number, not {text!r}")
    return int(text)


def _name(request: web.Request) -> str:
    return request.match_info["proxy"]


def _names(request: web.Request) -> tuple[str, str]:
    return request.match_info["proxy"], request.match_info["toxic"]


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(value), content_type="application/json")


def _error(error: ApiError) -> web.Response:
    body = msgspec.json.encode({"error": error.text, "status": error.status}) + b"\n"
    return web.Response(status=error.status, body=body, headers={"Content-Type": "text/plain; charset=utf-8"})


def _settle(future: asyncio.Future[T], result: T | None, error: Exception | None) -> None:
    if future.done():
        return  # the client has gone
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)  # type: ignore[arg-type]
