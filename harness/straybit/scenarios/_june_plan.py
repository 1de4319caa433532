"""Which balancer damages which writes in June 2008: pure, from topology and seed."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import msgspec

from straybit.clients import MODES
from straybit.ledger_client import BUCKET
from straybit_faults.draw import Draw, draw
from straybit_faults.wire import Direction
from straybit_nodes.topology import Kind, Topology

__all__ = ["CONTROL_RATE", "RATE", "JunePlan", "Write", "june_plan"]

RATE = 0.5
"""Share of the bodies that the faulty balancer damages: so many that `WRITES` are nearly always enough."""
CONTROL_RATE = 0.1
"""Share that it treats the same way but for the damage."""
WRITES = 240
"""At least: with every third acknowledged one read back they are more than 300 requests.
No more than it takes for the rest, since a demo has a minute for four runs."""
DAMAGED = 24
DAMAGED_PER_MODE = 2
COVERED = 12
"""Damaged writes that carry a checksum: enough for `bad-digest-alarm` at any share of the traffic."""
CONTROLS = 2
SIZES = (256, 4096)
"""Bytes of an object, drawn evenly."""


class Write(msgspec.Struct, frozen=True):
    """One PUT: `size` bytes under `key` in `mode` through `balancer`; `verdict` is what the draw says of it."""

    key: str
    mode: str
    balancer: str
    size: int
    verdict: str = "pass"

    @property
    def identity(self) -> str:
        """The request as receipts and logs name it."""
        return f"PUT /{BUCKET}/{self.key}"


class JunePlan(msgspec.Struct, frozen=True):
    """`balancer` is the faulty one; `writes` are in the order in which they are begun."""

    balancer: str
    seed: int
    unit: str
    writes: tuple[Write, ...]

    @property
    def damaged(self) -> tuple[Write, ...]:
        """Writes whose body is changed on its way."""
        return tuple(write for write in self.writes if write.verdict == "hit")

    @property
    def controls(self) -> tuple[Write, ...]:
        """Writes that are treated the same way, but for the change."""
        return tuple(write for write in self.writes if write.verdict == "control")

    def drawn(self, write: Write) -> Draw:
        """Which byte of the body, and how it changes."""
        return draw(self.seed, Direction.UP, write.identity)

    def lines(self) -> tuple[str, ...]:
        """What a dry run prints."""
        head = f"{self.balancer} damages a {self.unit} of {len(self.damaged)} of {len(self.writes)} writes"
        return (head, *(self._line(write) for write in self.damaged))

    def _line(self, write: Write) -> str:
        drawn = self.drawn(write)
        change = f"bit {drawn.bit()}" if self.unit == "bit" else f"mask {drawn.mask():#04x}"
        return f"{write.identity} ({write.mode}): byte {drawn.byte(write.size)} of {write.size}, {change}"


def june_plan(topology: Topology, seed: int, *, unit: str = "byte") -> JunePlan:
    """Draw the faulty balancer and as many writes as it takes to damage enough of them in every mode.

    `unit` is `byte`, as Amazon said, or `bit`, as some reports said.
    """
    rng = random.Random(f"june-2008/{seed}")
    balancers = [s.name for s in topology.services() if s.kind is Kind.BALANCER]
    faulty = rng.choice(balancers)
    writes: list[Write] = []
    for number in itertools.count():
        if _enough(writes):
            return JunePlan(faulty, seed, unit, tuple(writes))
        for balancer in balancers:
            mode = list(MODES)[number % len(MODES)]
            write = Write(f"{mode}/{balancer}-{number}", mode, balancer, rng.randint(*SIZES))
            if balancer == faulty:
                verdict = draw(seed, Direction.UP, write.identity).verdict(RATE, CONTROL_RATE)
                write = msgspec.structs.replace(write, verdict=verdict)
            writes.append(write)
    raise AssertionError("unreachable: count() does not end")


def _enough(writes: list[Write]) -> bool:
    hit = Counter(write.mode for write in writes if write.verdict == "hit")
    covered = sum(hit[mode.name] for mode in MODES.values() if mode.checksum)
    spread = all(hit[mode] >= DAMAGED_PER_MODE for mode in MODES)
    controls = sum(write.verdict == "control" for write in writes)
    damaged = hit.total() >= DAMAGED and covered >= COVERED and spread
    return len(writes) >= WRITES and damaged and controls >= CONTROLS
