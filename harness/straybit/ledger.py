"""What was acknowledged: the values each key may have, with digests of our own. Pure but for a lock.

Theory of operation.
Every write has a beginning and, once it is acknowledged, an end, on one counter.
An acknowledged write is out of the question only when another acknowledged write began after its end
(and had ended when the read began): of two that overlapped either may have won.
A refused write is no value. A write that nobody answered may be there or not, now or later, for good.
Digests are kept instead of bytes; a payload is a function of seed, key, number and size, and can be made again.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from enum import StrEnum

import msgspec

__all__ = ["Digest", "Ledger", "Outcome", "Verdict", "Write", "digest", "payload"]

Outcome = bytes | None | Exception
"""What a read gave: a body, absence, or an error (which is no value)."""


class Verdict(StrEnum):
    """What the ledger says of one read."""

    RIGHT = "right"
    WRONG = "wrong"
    """A value that was never acknowledged and cannot come from an unanswered write."""
    LOST = "lost"
    """Absent, though a write was acknowledged."""
    ERROR = "error"


class Digest(msgspec.Struct, frozen=True):
    """A value, by size, MD5 (what an ETag says) and SHA-256 (what decides)."""

    size: int
    md5: str
    sha256: str


class Write(msgspec.Struct, frozen=True):
    """One write or delete (`value` None) that was begun; hand it back to settle it."""

    id: int
    key: str
    value: Digest | None
    began: int


class _Settled(msgspec.Struct, frozen=True):
    write: Write
    ended: int


def payload(seed: int, key: str, size: int, number: int = 0) -> bytes:
    """`size` bytes that only seed, key and number decide (SHAKE-128), equal on every machine and version."""
    return hashlib.shake_128(f"{seed}/{key}/{number}".encode()).digest(size)


def digest(data: bytes) -> Digest:
    """Size and digests of `data`."""
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return Digest(len(data), md5, hashlib.sha256(data).hexdigest())


class Ledger:
    """Every key's writes; usable from several threads. A key never written is rightly absent."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._lock = threading.Lock()
        self._clock = itertools.count(1)
        self._open: dict[str, dict[int, Write]] = {}
        self._acked: dict[str, list[_Settled]] = {}
        self._refused: dict[str, list[Write]] = {}

    def payload(self, key: str, size: int, number: int = 0) -> bytes:
        """The payload of `key` under this ledger's seed."""
        return payload(self.seed, key, size, number)

    def begin(self, key: str, data: bytes | None) -> Write:
        """Note that `data` is about to be written (None: deleted)."""
        value = None if data is None else digest(data)
        with self._lock:
            now = next(self._clock)
            write = Write(now, key, value, now)
            self._open.setdefault(key, {})[write.id] = write
        return write

    def ack(self, write: Write) -> None:
        """The write was acknowledged."""
        with self._lock:
            del self._open[write.key][write.id]
            self._acked.setdefault(write.key, []).append(_Settled(write, next(self._clock)))

    def refuse(self, write: Write) -> None:
        """The write was refused for certain (a 4xx): its value must never be read. Anything less leave unsettled."""
        with self._lock:
            del self._open[write.key][write.id]
            self._refused.setdefault(write.key, []).append(write)

    def mark(self) -> int:
        """Now, on the ledger's own counter: what to give as `since` for a read that others' writes may overlap."""
        with self._lock:
            return next(self._clock)

    def expected(self, key: str, since: int | None = None) -> frozenset[Digest | None]:
        """The values a read of `key` may give (None: absent) that began at `since`, or begins and ends now."""
        with self._lock:
            acked = self._acked.get(key, [])
            settled = [b for b in acked if since is None or b.ended <= since]
            latest = max((b.write.began for b in settled), default=0)
            values = {a.write.value for a in acked if a.ended >= latest}
            values |= {write.value for write in self._open.get(key, {}).values()}
        return frozenset(values if latest else values | {None})

    def check(self, key: str, outcome: Outcome, since: int | None = None) -> Verdict:
        """Judge one read of `key`; `since` as in `expected`."""
        if isinstance(outcome, Exception):
            return Verdict.ERROR
        value = None if outcome is None else digest(outcome)
        if value in self.expected(key, since):
            return Verdict.RIGHT
        return Verdict.LOST if value is None else Verdict.WRONG

    def keys(self) -> tuple[str, ...]:
        """Every key that a write was begun for, in order of name."""
        with self._lock:
            return tuple(sorted({*self._open, *self._acked, *self._refused}))

    def acknowledged(self) -> tuple[str, ...]:
        """The keys that must be there: no permitted value is absence."""
        return tuple(key for key in self.keys() if None not in self.expected(key))
