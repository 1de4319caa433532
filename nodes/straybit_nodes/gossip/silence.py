"""Who has not been heard of: the failure detector that needs nobody to have tried.

Time is counted in the member's own heartbeats, not by a clock:
one that was paused, or whose clock jumped, has had no heartbeats meanwhile and suspects nobody for it.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["Silence"]


class Silence:
    """Owners in the order in which they were last heard of, each with the beat at which that was."""

    __slots__ = ("_heard", "beat")

    def __init__(self) -> None:
        self.beat = 0
        self._heard: dict[str, int] = {}

    def heard(self, owner: str) -> None:
        """A newer word of `owner` came, from wherever."""
        self._heard.pop(owner, None)
        self._heard[owner] = self.beat

    def forget(self, owner: str) -> None:
        """It is nobody to wait for."""
        self._heard.pop(owner, None)

    def clear(self) -> None:
        """Begin anew."""
        self._heard.clear()

    def overdue(self, beats: int) -> Iterator[str]:
        """Owners not heard of for so many beats, each once: the next time is as many beats later."""
        due = []
        for owner, at in self._heard.items():
            if self.beat - at < beats:
                break
            due.append(owner)
        for owner in due:
            self.heard(owner)
        yield from due
