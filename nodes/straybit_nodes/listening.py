"""The end of listening: whoever was accepted before it is known when it is over, and so can be closed."""

from __future__ import annotations

import asyncio

__all__ = ["end_listening"]

_ACCEPT_TURNS = 3
"""Turns of the loop from accepting a connection until its protocol is known."""


async def end_listening(server: asyncio.Server) -> None:
    """Accept nobody any more, wait until those who were accepted have been made connections, and close.

    A server that is closed at once loses who was accepted in the turn before: the making of a transport
    asserts that its server is open (base_events.Server._attach), and the socket stays open, owned by nobody.
    """
    loop = asyncio.get_running_loop()
    for listening in server.sockets:
        loop.remove_reader(listening)
    for _ in range(_ACCEPT_TURNS):
        await asyncio.sleep(0)
    server.close()
