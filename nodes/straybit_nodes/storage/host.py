"""What the control port can look at and do to a storage node's host: its files, its disk, its clock."""

from __future__ import annotations

import time

from straybit_nodes.control import Ask, ControlError, Routes
from straybit_nodes.storage.mender import Mender
from straybit_nodes.storage.parts import is_parts
from straybit_nodes.storage.scrub import Scrubber
from straybit_nodes.storage.store import Store

__all__ = ["Clock", "host_routes"]

_SCRUB_RATE = 1e9
"""Bytes per second of a scrub that somebody waits for."""


class Clock:
    """The host's clock, wrong by `offset_s`."""

    def __init__(self) -> None:
        self.offset_s = 0.0

    def now_ns(self) -> int:
        """Nanoseconds since 1970, as this host has them."""
        return max(0, time.time_ns() + int(self.offset_s * 1e9))


def host_routes(store: Store, clock: Clock, scrubber: Scrubber, mender: Mender) -> Routes:
    """The paths of a storage node's host. Each fault answers with its receipt: what was, and what is."""

    async def objects(_: Ask) -> object:
        return [
            {"bucket": r.bucket, "key": r.key, "size": r.size, "etag": r.etag, "stamp": r.stamp, "crc": r.crc}
            for r in store.objects()
            if not is_parts(r.bucket)
        ]

    async def health(_: Ask) -> object:
        return {"damaged": len(store.damaged()) + store.unnamed, "waiting": mender.waiting}

    async def rot(ask: Ask) -> object:
        bucket, key, offset, bit = ask.text("bucket"), ask.text("key"), ask.number("offset"), ask.number("bit")
        try:
            before, after = store.rot(bucket, key, offset, bit)
        except LookupError as error:
            raise ControlError(404, str(error)) from None
        return {"before": before, "after": after}

    async def disk(ask: Ask) -> object:
        before = {"delay_ms": round(store.disk.delay_s * 1000), "free": store.disk.free}
        delay_ms, free = ask.number("delay_ms", 0), ask.number("free", -1)
        if not 0 <= delay_ms <= 60_000 or free < -1:
            raise ControlError(400, "delay_ms must be 0 to 60000, free bytes from 0 up, or -1 for a disk with room")
        store.disk.delay_s = delay_ms / 1000
        store.disk.free = None if free < 0 else free
        return {"before": before, "after": {"delay_ms": delay_ms, "free": store.disk.free}}

    async def wrong_clock(ask: Ask) -> object:
        before, clock.offset_s = clock.offset_s, float(ask.number("offset_s"))
        return {"before": before, "after": clock.offset_s}

    async def scrub(_: Ask) -> object:
        looked, damaged = await scrubber.one_pass(_SCRUB_RATE)
        return {"looked": looked, "damaged": damaged}

    async def mend(_: Ask) -> object:
        return {"done": await mender.work(), "waiting": mender.waiting}

    return {
        ("GET", "/objects"): objects,
        ("GET", "/health"): health,
        ("POST", "/rot"): rot,
        ("POST", "/disk"): disk,
        ("POST", "/clock"): wrong_clock,
        ("POST", "/scrub"): scrub,
        ("POST", "/mend"): mend,
    }
