"""Relays one request to a coordinator: bytes as they came, another try only when no reply came."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import msgspec

from straybit_nodes.balancer.budget import RetryBudget
from straybit_nodes.dial import DialTable
from straybit_nodes.http1 import Framing, HttpError, NoReply, Reply, talk
from straybit_nodes.storage.errors import S3Error
from straybit_nodes.storage.legs import Places
from straybit_nodes.storage.request import MAX_BODY
from straybit_nodes.topology import Role

__all__ = ["RATE", "TRIES", "TRY", "Relay", "Relayed", "Request"]

TRIES = 0.95
"""Of the client's deadline, for all tries of a request without its data, up to the head of a reply."""
TRY = 0.5
"""Of it, for one try: a coordinator that hangs leaves time for a second one."""
RATE = 8 * 1024 * 1024
"""Bytes per second that a deadline allows for besides."""


class Request(msgspec.Struct, frozen=True):
    """What goes on to the coordinator: target and headers as they came, without what concerns one connection only."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    framing: Framing


class Relayed(msgspec.Struct, frozen=True):
    """How a request ended: the reply, the coordinator that gave it, and how many were tried."""

    reply: Reply
    coordinator: str
    tries: int


class RelayFailed(S3Error):
    """No reply that could be passed on; `tries` coordinators were tried."""

    def __init__(self, code: str, message: str, tries: int) -> None:
        super().__init__(code, message)
        self.tries = tries


def allowance_s(request: Request) -> float:
    """What every deadline of a request is longer by: the time for its data.

    A copy, a completion or a deletion of many has work behind the coordinator that nobody knows here.
    """
    behind = request.method == "POST" or any(name.lower() == "x-amz-copy-source" for name, _ in request.headers)
    return (MAX_BODY if behind else len(request.body)) / RATE


class Relay:
    """Tries coordinators in order. `on_failure` is told (coordinator, why) of a try that failed once connected to.

    `deadline_s` is the client's.
    """

    def __init__(
        self,
        places: Places,
        dials: DialTable,
        on_failure: Callable[[str, str], None],
        *,
        deadline_s: float,
    ) -> None:
        self._tries_s = TRIES * deadline_s
        self._try_s = TRY * deadline_s
        self._places = places
        self._dials = dials
        self._on_failure = on_failure
        self._retries = RetryBudget(time.monotonic)

    async def send(self, request: Request, candidates: Sequence[tuple[str, str]]) -> Relayed:
        """Relay to the first of `candidates`, (storage node, its gossip member), that replies.

        Raises RelayFailed: ServiceUnavailable when none replied within the deadline, BadGateway for a broken reply.
        """
        allowance = allowance_s(request)
        deadline = time.monotonic() + self._tries_s + allowance
        tries = 0
        self._retries.earn()
        for node, member in candidates:
            left = min(self._try_s + allowance, deadline - time.monotonic())
            if left <= 0 or (tries and not self._retries.take()):
                break
            tries += 1
            try:
                return Relayed(await self._try(request, node, member, left), node, tries)
            except (NoReply, OSError):
                continue
            except HttpError as error:
                raise RelayFailed("BadGateway", f"The reply of {node} cannot be passed on: {error}.", tries) from error
        raise RelayFailed("ServiceUnavailable", "No storage node answered; please try again.", tries)

    async def _try(self, request: Request, node: str, member: str, left: float) -> Reply:
        loop = asyncio.get_running_loop()
        talking = replied = False
        limit = asyncio.timeout(left)

        def on_head(length: int) -> None:
            nonlocal replied
            replied = True
            limit.reschedule(loop.time() + self._tries_s + length / RATE)

        try:
            async with limit, self._places.place(member) as address:
                talking = True
                stream = await self._dials.connect(address, Role.STORAGE)
                return await talk(
                    stream,
                    request.method,
                    request.target,
                    headers=request.headers,
                    body=request.body,
                    framing=request.framing,
                    limit=2 * MAX_BODY,
                    on_head=on_head,
                )
        except (OSError, HttpError) as error:
            if talking:
                self._on_failure(node, str(error) or type(error).__name__)
            if replied and isinstance(error, TimeoutError):
                raise HttpError("its body did not come in time") from error
            raise
