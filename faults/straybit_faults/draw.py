"""Draws: what a seed decides about one message, computed from its identity alone.

A draw is a hash of (seed, direction, identity),
so neither chunking nor scheduling can change it,
and whoever knows the identity knows the plan beforehand.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from straybit_faults.wire import Direction

__all__ = ["Draw", "Verdict", "draw"]

Verdict = Literal["hit", "control", "pass"]

_SPAN = 1 << 64


class Draw(msgspec.Struct, frozen=True):
    """Independent uniform 64-bit numbers about one message; each method reads one of its own."""

    chance: int
    place: int
    value: int

    def verdict(self, rate: float, control_rate: float = 0.0) -> Verdict:
        """`hit` with probability `rate`, `control` with `control_rate`, otherwise `pass`."""
        chance = self.chance / _SPAN
        if chance < rate:
            return "hit"
        return "control" if chance < rate + control_rate else "pass"

    def byte(self, length: int) -> int:
        """An offset in 0..length-1. Raises ValueError for an empty field."""
        if length < 1:
            raise ValueError("an empty field has no byte to draw")
        return self.place % length

    def mask(self) -> int:
        """An XOR mask in 1..255: never 0, so that another value is certain."""
        return 1 + self.value % 255

    def bit(self) -> int:
        """A bit in 0..7."""
        return self.value % 8


def draw(seed: int, direction: Direction, identity: str) -> Draw:
    """The draw about the message called `identity` that goes `direction`, under `seed`."""
    return Draw(*_numbers(f"{seed}/{direction}/{identity}"))


def _numbers(text: str) -> tuple[int, int, int]:
    digest = hashlib.blake2b(text.encode(), digest_size=24).digest()
    first, second, third = (int.from_bytes(digest[at : at + 8], "big") for at in range(0, 24, 8))
    return first, second, third
