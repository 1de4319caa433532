"""What a stepped trial keeps of its looks at the views: who was wrong, how far away, and for how long. Pure."""

from __future__ import annotations

from collections.abc import Collection

from straybit.adoption import Tracer
from straybit.oracle import Wrong

__all__ = ["Watch"]


class Watch:
    """Wrong values by look; `hit` is the member that got the flipped message."""

    def __init__(self, hit: str) -> None:
        self.hit = hit
        self.ever: dict[Wrong, int] = {}
        self.now: tuple[Wrong, ...] = ()
        self._counts: list[int] = []
        self._tracer = Tracer([hit])

    def look(self, wrong: Collection[Wrong], between: tuple[str, str] | None = None) -> None:
        """Take what is wrong after one more step, an exchange `between` two members."""
        self.now = tuple(wrong)
        self._tracer.saw(self.now, between)
        self._counts.append(len(self.now))
        for value in self.now:
            self.ever.setdefault(value, len(self._counts) - 1)

    @property
    def reached(self) -> tuple[str, ...]:
        """Members beside the hit one that ever held a wrong value."""
        return self._tracer.spread

    @property
    def adopted(self) -> bool:
        """The hit member ever held one."""
        return any(value.holder == self.hit for value in self.ever)

    @property
    def depth(self) -> int:
        """The most hops that a wrong value travelled from the hit member."""
        return self._tracer.depth

    @property
    def half_life(self) -> int | None:
        """Steps from when most values were wrong to when half of them were gone; None when that never came."""
        most = max(self._counts, default=0)
        if not most:
            return None
        peak = self._counts.index(most)
        return next((at - peak for at, count in enumerate(self._counts) if at > peak and count <= most / 2), None)

    def example(self) -> str:
        """One wrong value in words, of somebody who was told second-hand where there is one."""
        for value in sorted(self.ever, key=lambda w: (w.holder == self.hit, w)):
            if value.field == "owner":
                return f"{value.holder} believes in a member {value.owner!r}, and there is none"
            what = f"{value.owner}.{value.field} = {value.value}"
            return f"{value.holder} believes {what}, which {value.owner} never said"
        return ""
