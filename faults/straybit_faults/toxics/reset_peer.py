"""`reset_peer`: RST to both ends, `timeout` milliseconds after the first data or the end; data is dropped."""

from __future__ import annotations

from typing import Any

from straybit_faults.toxics.base import Armed, Line, Stage, Timer, Toxic

__all__ = ["ResetPeer"]


class ResetPeer(Toxic, kw_only=True):
    """Milliseconds; 0 or less: at once."""

    timeout: int = 0

    def stage(self, armed: Armed[Any], line: Line) -> Stage[Any]:
        """A stage that nothing passes."""
        return _ResetPeerStage(armed, line)


class _ResetPeerStage(Stage[ResetPeer]):
    timer: Timer | None = None
    timeout = 0

    def push(self, data: bytes | bytearray | memoryview) -> None:
        self.end()

    def end(self) -> None:
        if self.timer is None:
            self._arm()

    def update(self) -> None:
        if self.timer is not None and self.timeout != self.toxic.timeout:
            self.timer.cancel()
            self._arm()

    def release(self) -> None:
        if self.timer is not None:  # data was dropped: the connection cannot go on
            self.line.reset()

    def _arm(self) -> None:
        self.timeout = self.toxic.timeout
        self.timer = self.line.at(self.line.now() + max(0, self.timeout) / 1000, self.line.reset)

    def drop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
