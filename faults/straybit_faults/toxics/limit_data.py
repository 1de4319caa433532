"""`limit_data`: passes `bytes` bytes, then closes the connection."""

from __future__ import annotations

from typing import Any

from straybit_faults.toxics.base import Armed, Line, Stage, Toxic

__all__ = ["LimitData"]


class LimitData(Toxic, kw_only=True):
    """Bytes of each connection, from the toxic's first; negative ones count as 0."""

    bytes: int = 0

    def stage(self, armed: Armed[Any], line: Line) -> Stage[Any]:
        """A stage that counts."""
        return _LimitDataStage(armed, line)


class _LimitDataStage(Stage[LimitData]):
    passed = 0

    def push(self, data: bytes | bytearray | memoryview) -> None:
        rest = max(0, self.toxic.bytes - self.passed)
        if rest:
            self.passed += min(rest, len(data))
            self.next.push(data[:rest])
        if len(data) >= rest:
            self.finish()
