"""`scrub`: reads every stored byte in the background, slowly, and finds what rotted before a client does.

A pass looks at each file there is when it begins; it waits between files so that it reads at most `RATE` bytes
per second, and `EVERY_S` between passes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from straybit_nodes.storage.record import Damaged, Quarantined
from straybit_nodes.storage.store import Store

__all__ = ["EVERY_S", "RATE", "Scrubber", "pause_s"]

RATE = 4 * 1024 * 1024
"""Bytes per second; more finds rot sooner and takes the disk from clients."""
EVERY_S = 60.0
"""From the end of one pass to the beginning of the next."""
FILE_COST = 16 * 1024
"""Bytes that a file counts for besides its own: opening one costs as much as reading so many."""


def pause_s(size: int, rate: float = RATE) -> float:
    """How long to wait after a file of `size` bytes, to stay at `rate` bytes per second."""
    return (size + FILE_COST) / rate


class Scrubber:
    """Scrubs one store while it runs. `on_damage` is told (bucket, key, why) of each file that it moved aside."""

    def __init__(self, store: Store, on_damage: Callable[[str, str, str], None]) -> None:
        self._store = store
        self._on_damage = on_damage
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin passes, the first one `EVERY_S` from now."""
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        """End, in the middle of a pass if need be."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def one_pass(self, rate: float = RATE) -> tuple[int, int]:
        """Look at every file once; how many there were, and how many of them were damaged."""
        looked = damaged = 0
        for bucket, key, stamp, size in self._store.files():
            looked += 1
            damaged += await self._look(bucket, key, stamp)
            await asyncio.sleep(pause_s(size, rate))
        return looked, damaged

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            await self.one_pass()

    async def _look(self, bucket: str, key: str, stamp: str) -> bool:
        try:
            await asyncio.to_thread(self._store.read, bucket, key, verify=True)
        except Quarantined:
            return False
        except Damaged as error:
            if not await asyncio.to_thread(self._store.quarantine, bucket, key, stamp):
                return False
            self._on_damage(bucket, key, str(error))
            return True
        except OSError:
            return False  # gone since, or a disk that fails: reads will say so
        return False
