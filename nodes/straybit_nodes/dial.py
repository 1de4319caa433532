"""The dial table: where a node connects when it wants a role at an advertised address, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from straybit_nodes.config import Dial
from straybit_nodes.topology import Role

__all__ = ["STREAM_LIMIT", "DialTable"]

STREAM_LIMIT = 64 * 1024
"""Bytes a stream reads ahead; the bound of what one stalled connection costs."""


class DialTable:
    """Connects to listeners of this node's own links.

    An address that is not in the table is never dialled:
    it behaves as a black hole (TimeoutError after `connect_timeout_s`),
    or with `slow_failure` off as a host that refuses (ConnectionRefusedError at once).
    """

    def __init__(self, rows: Iterable[Dial], *, connect_timeout_s: float = 0.5, slow_failure: bool = True) -> None:
        self._rows = {(row.address, row.role): (row.host, row.port) for row in rows}
        self._timeout_s = connect_timeout_s
        self._slow = slow_failure

    def find(self, address: int, role: Role) -> tuple[str, int] | None:
        """Host and port behind `role` at `address`; None for a black hole."""
        return self._rows.get((address, role))

    async def connect(self, address: int, role: Role) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A new connection, never a pooled one.

        Raises TimeoutError after `connect_timeout_s`, OSError when the host refuses.
        """
        place = self._rows.get((address, role))
        async with asyncio.timeout(self._timeout_s):
            if place is not None:
                return await asyncio.open_connection(*place, limit=STREAM_LIMIT)
            if self._slow:
                await asyncio.get_running_loop().create_future()
        raise ConnectionRefusedError(f"nobody has the role {role} at address {address}")
