"""The wire `datagram`, for UDP links: each datagram is one message, whose only field is all its bytes."""

from __future__ import annotations

from collections.abc import Sequence

from straybit_faults.wire import Event, Field, FieldClass, Message

__all__ = ["WIRE", "DatagramWire"]


class DatagramParser:
    """One direction: what is fed at once is one message."""

    def __init__(self) -> None:
        self.hold = 0

    def feed(self, data: bytes | bytearray | memoryview) -> Sequence[Event]:
        """Announce the datagram."""
        start, self.hold = self.hold, self.hold + len(data)
        return (Message("datagram", start, self.hold, (Field("payload", start, len(data)),)),)


class DatagramConversation:
    """Both directions, which know nothing of each other."""

    def __init__(self) -> None:
        self.up = DatagramParser()
        self.down = DatagramParser()


class DatagramWire:
    """Datagrams without a protocol."""

    name = "datagram"
    closed = True
    kinds = ("datagram",)

    def open(self) -> DatagramConversation:
        """A conversation for a new datagram."""
        return DatagramConversation()

    def reseal(self, message: bytearray) -> bool:
        """Nothing to recompute: UDP's own checksum is made anew by the kernel."""
        return False

    def fields(self, kind: str) -> tuple[tuple[str, FieldClass, int | None], ...]:
        """The payload."""
        return (("payload", FieldClass.PAYLOAD, None),)


WIRE = DatagramWire()
