"""`slow_close`: delays only the close, by `delay` milliseconds."""

from __future__ import annotations

from typing import Any

from straybit_faults.toxics.base import Armed, Line, Stage, Timer, Toxic

__all__ = ["SlowClose"]


class SlowClose(Toxic, kw_only=True):
    """Milliseconds; negative ones count as 0."""

    delay: int = 0

    def stage(self, armed: Armed[Any], line: Line) -> Stage[Any]:
        """A stage that passes data and keeps the end back."""
        return _SlowCloseStage(armed, line)


class _SlowCloseStage(Stage[SlowClose]):
    timer: Timer | None = None

    def end(self) -> None:
        self.timer = self.line.at(self.line.now() + max(0, self.toxic.delay) / 1000, self.next.end)

    def release(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.next.end()

    def drop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
