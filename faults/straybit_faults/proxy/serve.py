"""The proxy as a process: data in this thread, the API in another, until SIGTERM."""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

from straybit_faults.proxy.address import UnknownHostError, family_of, format_address, look_up
from straybit_faults.proxy.api import Api
from straybit_faults.proxy.bodies import ProxyBody, read_body
from straybit_faults.proxy.errors import ApiError
from straybit_faults.proxy.loop import Loop
from straybit_faults.proxy.server import Server

__all__ = ["ProxyStartError", "run_proxy"]

DRAIN_S = 1.0
"""How long bytes that are on their way may still arrive after SIGTERM."""

ENOUGH = 65_536
"""Descriptors asked for, where the user may raise the limit."""

_SWITCH_S = (
    0.0001  # the API thread gives way to data after a tenth of a millisecond, not after 5: p99 of data beside API calls
)


class ProxyStartError(RuntimeError):
    """The API's address cannot be had; the message says what, why and what to do."""


def run_proxy(
    host: str = "127.0.0.1", port: int = 8474, *, ready_fd: int | None = None, seed: int = 0, config: Path | None = None
) -> None:
    """Serve the API on `host`:`port` and proxies as it is told, until SIGTERM or SIGINT; then drain and return.

    Port 0 takes a free one.
    `ready_fd` gets one line, the API's address as HOST:PORT, once calls are answered, and is closed.
    `config` is a JSON file of proxies, as POST /populate takes them, that are made before the first call.
    Raises ProxyStartError.
    """
    listener = _bind(host, port)
    _raise_descriptor_limit()
    sys.setswitchinterval(_SWITCH_S)
    loop = Loop()
    server = Server(loop, seed=seed)
    api = Api(server, listener)
    if config is not None:
        try:
            _populate(server, config)
        except ProxyStartError:
            server.close()
            loop.close()
            listener.close()
            raise
    before = {
        number: signal.signal(number, lambda *_: loop.submit(lambda: _drain(server)))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    address = format_address(*listener.getsockname()[:2])
    gc.freeze()  # what was imported lives for ever: a collection need not look at it
    api.start()
    if ready_fd is not None:
        os.write(ready_fd, f"{address}\n".encode())
        os.close(ready_fd)
    try:
        loop.run()
    finally:
        api.stop()
        server.close()
        loop.close()
        for number, handler in before.items():
            signal.signal(number, handler)


def _bind(host: str, port: int) -> socket.socket:
    host = "127.0.0.1" if host == "localhost" else host
    listener = socket.socket(family_of(host), socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except (OSError, OverflowError) as error:
        listener.close()
        why = os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else error
        raise ProxyStartError(
            f"the proxy's API cannot listen on {host}:{port}: {why}; choose another with --port"
        ) from error
    return listener


def _populate(server: Server, config: Path) -> None:
    names: dict[str, str] = {}
    server.names = names
    try:
        bodies = read_body(config.read_bytes(), list[ProxyBody])
        while not _populated(server, bodies, names):
            pass
    except OSError as error:
        raise ProxyStartError(f"the configuration {config} cannot be read: {error.strerror}") from error
    except ApiError as error:
        raise ProxyStartError(f"the configuration {config} cannot be used: {error.text}") from error


def _populated(server: Server, bodies: list[ProxyBody], names: dict[str, str]) -> bool:
    """False when a host had to be looked up first: each is looked up once."""
    try:
        server.populate(bodies)
    except UnknownHostError as unknown:
        names[unknown.host] = look_up(unknown.host)
        return False
    return True


def _raise_descriptor_limit() -> None:
    """Two descriptors for each connection: as many as the system lets this user have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (max(hard, ENOUGH), hard):
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit), limit))
            return


def _drain(server: Server) -> None:
    """Listen no more, wait for bytes that are on their way, then end the loop."""
    for proxy in server.proxies.values():
        proxy.quiesce()
    _wait_or_stop(server, time.monotonic() + DRAIN_S)


def _wait_or_stop(server: Server, deadline: float) -> None:
    now = time.monotonic()
    if now < deadline and any(proxy.is_busy for proxy in server.proxies.values()):
        server.loop.at(now + 0.01, lambda: _wait_or_stop(server, deadline))
    else:
        server.loop.stop()
