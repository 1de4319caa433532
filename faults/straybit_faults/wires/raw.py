"""The wire `raw`: a stream is one message of kind `stream` whose only field is all its bytes."""

from __future__ import annotations

from collections.abc import Sequence

from straybit_faults.wire import Event, Field, FieldClass, Message, Part

__all__ = ["WIRE", "RawWire"]


class RawParser:
    """One direction: the message opens with the first byte, and each run of bytes fed is a part of `payload`."""

    def __init__(self) -> None:
        self.hold = 0

    def feed(self, data: bytes | bytearray | memoryview) -> Sequence[Event]:
        """Announce the stream once, then one part for each run."""
        if not data:
            return ()
        part = Part("payload", self.hold, self.hold, len(data))
        opening = (Message("stream", 0, None, (Field("payload", 0, None),)),) if self.hold == 0 else ()
        self.hold += len(data)
        return (*opening, part)


class RawConversation:
    """Both directions, which know nothing of each other."""

    def __init__(self) -> None:
        self.up = RawParser()
        self.down = RawParser()


class RawWire:
    """Bytes without a protocol."""

    name = "raw"
    closed = True
    kinds = ("stream",)

    def open(self) -> RawConversation:
        """A conversation for a new connection."""
        return RawConversation()

    def reseal(self, message: bytearray) -> bool:
        """Nothing to recompute."""
        return False

    def fields(self, kind: str) -> tuple[tuple[str, FieldClass, int | None], ...]:
        """The stream's only field."""
        return (("payload", FieldClass.PAYLOAD, None),)


WIRE = RawWire()
