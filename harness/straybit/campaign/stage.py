"""What a stepped trial does to a cluster and asks of it; one per backend, so that one trial runs on all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from straybit.oracle import View
from straybit.records import Detection
from straybit_faults.flip import Flip
from straybit_faults.receipt import Receipt

if TYPE_CHECKING:
    from straybit.sim.pipe import Heard

__all__ = ["Recorder", "Stage", "StageError"]


class StageError(RuntimeError):
    """The host could not do what a trial asked of it: the trial is INVALID, and says why."""


class Stage(Protocol):
    """A gossip-only cluster whose rounds are stepped: between two calls nothing happens.

    Every call raises StageError when the host fails it.
    """

    @property
    def backend(self) -> str:
        """As in `--backend`."""

    @property
    def members(self) -> tuple[str, ...]:
        """Names of all members, in the topology's order."""

    def fresh(self) -> None:
        """Every member runs, knows itself alone, has said nothing yet, and no fault is armed."""

    def arm(self, flips: Sequence[Flip]) -> None:
        """Aim at messages from now on; ordinals count from 0."""

    def disarm(self) -> None:
        """Take every fault away."""

    def exchange(self, caller: str, peer: str) -> bool:
        """One exchange with everything it sets off, until nothing is under way; False when it failed."""

    def heartbeat(self, name: str) -> None:
        """The member raises its own version."""

    def kill(self, name: str) -> None:
        """End it at once, as SIGKILL does."""

    def start(self, name: str) -> None:
        """Start it again: same disk, empty memory."""

    def views(self) -> Mapping[str, View]:
        """What each member that is up believes."""

    def marked(self) -> Mapping[str, frozenset[str]]:
        """Whom each member that is up holds for failed."""

    def silent(self) -> tuple[str, ...]:
        """Members that are up and do not answer."""

    def came(self) -> Mapping[str, int]:
        """Messages since the last arming on the armed link, in the armed direction: how many of each kind."""

    def receipts(self) -> tuple[Receipt, ...]:
        """Of what was applied since the last arming; times are the stage's."""

    def felt(self) -> Mapping[int, float]:
        """By a receipt's `seq`, when its receiver counted the flipped frame; absent where it never did."""

    def noticed(self) -> tuple[Detection, ...]:
        """Who refused or could not read something since the last arming; `detail` is the frame's `crc 0123abcd`."""

    def exits(self) -> tuple[str, ...]:
        """Members whose process ended unasked since `fresh`."""

    def now(self) -> float:
        """Seconds on the stage's own clock."""

    def close(self) -> None:
        """Take it down."""


class Recorder(Stage, Protocol):
    """A stage that also keeps the frames that pass."""

    def heard(self) -> tuple[Heard, ...]:
        """Frames since the last arming, in order."""
