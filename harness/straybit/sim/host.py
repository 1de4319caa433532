"""One member in the simulator: what survives its crashes, what it waits for, and when its core wants to be woken."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from straybit.sim.half import Half
from straybit.sim.timeline import NEVER
from straybit_nodes.gossip.codec import Bad, Frame
from straybit_nodes.gossip.core import Core, Origin
from straybit_nodes.topology import Service

__all__ = ["End", "Host", "Line"]

FRAMES_KEPT = 4096


class Line:
    """One connection: whether the network lost it, and the link it has."""

    __slots__ = ("link", "lost")

    def __init__(self, link: str) -> None:
        self.link = link
        self.lost = False


class End:
    """One side of a connection: who is on the other side and under which number, and what carries its bytes there."""

    __slots__ = ("clear_at", "far", "half", "line", "peer")

    def __init__(self, peer: str, far: int, line: Line, half: Half[Frame | Bad] | None) -> None:
        self.peer = peer
        self.far = far
        self.line = line
        self.half = half
        self.clear_at = 0.0


class Host:
    """One member. `up` False: nobody listens; `paused`: everything waits.

    `frames` are the last that came as bytes, by number: when, from whom, of which kind, and the CRC32C of all of it.
    """

    __slots__ = (
        "answers",
        "calls",
        "core",
        "ends",
        "framed",
        "frames",
        "generation",
        "heard",
        "heartbeats",
        "left",
        "origin",
        "over",
        "paused",
        "service",
        "state",
        "up",
        "wake_at",
    )

    def __init__(self, service: Service, core: Core, origin: Origin) -> None:
        self.service = service
        self.core = core
        self.origin = origin
        self.up = True
        self.paused = False
        self.state = "held"
        self.calls: deque[Callable[[], None]] = deque()
        self.ends: dict[int, End] = {}
        self.wake_at = NEVER
        self.generation: int | None = None
        self.heartbeats = 0
        self.left = 0
        self.heard = 0
        self.framed = 0
        self.frames: deque[tuple[int, float, str, str, int]] = deque(maxlen=FRAMES_KEPT)
        self.answers: dict[int, Callable[[int | None], None]] = {}
        self.over: dict[int, Callable[[str | None], None]] = {}
