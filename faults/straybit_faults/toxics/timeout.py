"""`timeout`: drops all data, and closes the connection after `timeout` milliseconds, or when it is removed."""

from __future__ import annotations

from typing import Any

from straybit_faults.toxics.base import Armed, Line, Stage, Timer, Toxic

__all__ = ["Timeout"]


class Timeout(Toxic, kw_only=True):
    """Milliseconds from the start of the connection, or of the toxic; 0 or less: a black hole until removed."""

    timeout: int = 0

    def stage(self, armed: Armed[Any], line: Line) -> Stage[Any]:
        """A stage whose clock starts now; data does not restart it."""
        return _TimeoutStage(armed, line)


class _TimeoutStage(Stage[Timeout]):
    def __init__(self, armed: Armed[Timeout], line: Line) -> None:
        super().__init__(armed, line)
        toxic = armed.attributes
        self.timer: Timer | None = (
            line.at(line.now() + toxic.timeout / 1000, self.finish) if toxic.timeout > 0 else None
        )

    def push(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def end(self) -> None:
        self.finish()

    def release(self) -> None:
        self.drop()
        self.finish()

    def drop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
