"""What one trial is told: everything that decides its outcome, small enough to send to another machine."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable

import msgspec

from straybit.again import defences_word
from straybit.faults import check_link
from straybit_faults.flip import Flip, FlipIdError, Link
from straybit_faults.wire import Direction
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.topology import Topology

__all__ = ["MAX_NODES", "SERVED", "STEPPED", "Aimed", "Setup", "TrialSpec", "is_served", "setup_word", "stepped_again"]

STEPPED = Rules(connect_timeout_s=0.25, tell_count=0, verify_retries=0)
"""Rules of stepped trials: nothing happens between two steps, so their order is all that decides.

Rumours and retries would start by timers; what they do to a cluster is a scenario's business, not a census's.
"""
SERVED = Topology.sized(eu=(3, 1), us=(3, 1))
"""Where flips in requests are tried: the smallest cluster that replicates in both regions."""
MAX_NODES = 1000


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """Under what trials are played: a gossip-only cluster of so many nodes, and what defends it.

    `rounds` of quiet time follow the flip; `aftershock` looks for what is latent where nothing was seen.
    """

    nodes: int = 3
    defences: tuple[str, ...] = ()
    seed: int = 0
    rounds: int = 2
    aftershock: bool = True


class TrialSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One trial: its id, its flips, and its setup. The same spec ends in the same outcome, wherever it is played."""

    id: str
    flips: tuple[str, ...]
    setup: Setup = Setup()

    def parsed(self) -> tuple[Flip, ...]:
        """The flips. Raises FlipIdError."""
        return tuple(map(Flip.parse, self.flips))


def is_served(spec: TrialSpec) -> bool:
    """Whether its flips are in requests or replies, which gossip nodes alone do not have."""
    try:
        return all(check_link(flip.link, SERVED).wire == "http1" for flip in spec.parsed())
    except FlipIdError:
        return False


class Aimed(msgspec.Struct, frozen=True):
    """Which message is looked at: the `ordinal`-th of `kind` on `link` in that direction, counted from arming."""

    link: str
    direction: Direction
    kind: str
    ordinal: int = 0

    def __str__(self) -> str:
        return f"{self.link}/{self.direction}/{self.kind}/{self.ordinal}"

    @classmethod
    def parse(cls, text: str) -> Aimed:
        """Read `LINK/[up|down/]KIND[/ORDINAL]`. Raises ValueError, a FlipIdError for the link."""
        link, *rest = text.split("/")
        Link.parse(link)
        direction = Direction(rest.pop(0)) if rest and rest[0] in {"up", "down"} else Direction.UP
        ordinal = rest[1] if len(rest) == 2 else "0"
        if not rest or len(rest) > 2 or not (ordinal.isascii() and ordinal.isdigit()):
            raise ValueError(f"{text!r} is no message: say LINK/KIND, such as gossip-1:gossip-2/state")
        return cls(link, direction, rest[0], int(ordinal))


def setup_word(setup: Setup, flips: Iterable[str]) -> str:
    """Six hex digits that stand for a setup and a plan: the first half of every trial id of a campaign."""
    text = "\n".join([msgspec.json.encode(setup).decode(), *flips])
    return hashlib.blake2b(text.encode(), digest_size=3).hexdigest()


def stepped_again(spec: TrialSpec, backend: str) -> str:
    """The whole command that plays this trial again."""
    setup = spec.setup
    words = ["straybit", "replay", *spec.flips, "--stepped", "--gossip-only", str(setup.nodes)]
    words += ["--defences", defences_word(setup.defences), "--backend", backend, "--seed", str(setup.seed)]
    words += ["--rounds", str(setup.rounds), *([] if setup.aftershock else ["--no-aftershock"])]
    return shlex.join(words)
