"""`timeout`: drops all data, and closes the connection after `timeout` milliseconds, or when it is removed."""

from __future__ import annotations

from typing import Any

from straybit_faults.toxics.base import Armed, Line, Stage, Timer, Toxic

__all__ = ["Timeout"]


class Timeout(Toxic, kw_only=True):
    """Milliseconds from the start of the connection, the toxic or this time; 0 or less: a black hole until removed."""

    timeout: int = 0

    def stage(self, armed: Armed[Any], line: Line) -> Stage[Any]:
        """A stage whose clock starts now; data does not restart it."""
        return _TimeoutStage(armed, line)


class _TimeoutStage(Stage[Timeout]):
    def __init__(self, armed: Armed[Timeout], line: Line) -> None:
        super().__init__(armed, line)
        self.timer: Timer | None = None
        self.timeout = 0
        self.update()

    def push(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def end(self) -> None:
        self.finish()

    def update(self) -> None:
        if self.timeout == self.toxic.timeout:
            return  # some other toxic changed
        self.timeout = self.toxic.timeout
        self.drop()
        if self.timeout > 0:
            self.timer = self.line.at(self.line.now() + self.timeout / 1000, self.finish)

    def release(self) -> None:
        self.drop()
        self.finish()

    def drop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
