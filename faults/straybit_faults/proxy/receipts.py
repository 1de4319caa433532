"""The receipt book, and the watch that fills in when a receipt's byte was sent and delivered."""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping

import msgspec

from straybit_faults.proxy.errors import ApiError
from straybit_faults.receipt import Receipt
from straybit_faults.toxics import Timer

__all__ = ["DeliveryWatch", "ReceiptBook", "ReceiptQuery", "unacknowledged"]

MAX_RECEIPTS = 65_536
"""Kept at most, newest first to stay."""

FIRST_POLL_S = 0.001
LAST_POLL_S = 0.05
"""Waits between looks at a socket with receipts; a receiver may put off its acknowledgement by 40 ms."""

_SIOCOUTQ = 0x5411
_SO_NWRITE = 0x1024  # macOS: bytes not yet sent or acknowledged


class ReceiptQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What GET /receipts may be asked for; whatever is left out does not matter."""

    proxy: str | None = None
    toxic: str | None = None
    connection: int | None = None
    delivered: bool | None = None
    since: int = 0

    @classmethod
    def read(cls, query: Mapping[str, str]) -> ReceiptQuery:
        """From a URL's query. Raises ApiError 400."""
        try:
            return msgspec.convert(dict(query), cls, strict=False)
        except msgspec.ValidationError as error:
            raise ApiError(400, f"bad query: {error}") from error

    def wants(self, receipt: Receipt) -> bool:
        """Whether `receipt` is asked for."""
        return (
            receipt.seq >= self.since
            and self.proxy in (None, receipt.proxy)
            and self.toxic in (None, receipt.toxic)
            and self.connection in (None, receipt.connection)
            and self.delivered in (None, receipt.delivered is not None)
        )


class ReceiptBook:
    """Receipts in the order their bytes left the toxic."""

    def __init__(self) -> None:
        self.receipts: deque[Receipt] = deque(maxlen=MAX_RECEIPTS)
        self.next = 0

    def number(self) -> int:
        """The next sequence number."""
        self.next += 1
        return self.next - 1

    def add(self, receipt: Receipt) -> None:
        """Keep a receipt."""
        self.receipts.append(receipt)


class DeliveryWatch:
    """Receipts of one direction of one connection that are not delivered yet."""

    def __init__(self, sink: socket.socket, at: Callable[[float, Callable[[], None]], Timer]) -> None:
        self.sink = sink
        self.at = at
        self.unsent: deque[tuple[int, Receipt]] = deque()
        self.flying: deque[tuple[int, Receipt]] = deque()
        self.sent = 0
        self.began = 0.0
        self.timer: Timer | None = None
        self.wait = FIRST_POLL_S
        self.done: Callable[[], None] = lambda: None

    @property
    def pending(self) -> bool:
        """Whether some receipt could still become delivered."""
        return bool(self.flying)

    def when_done(self, callback: Callable[[], None]) -> None:
        """Call back once nothing is pending any more."""
        self.done = callback

    def add(self, offset: int, receipt: Receipt) -> None:
        """Watch for the byte that is number `offset` of those sent to the receiver."""
        self.unsent.append((offset, receipt))

    def about_to_send(self) -> None:
        """Bytes are handed to the kernel next: the receiver may act on them before that call returns."""
        self.began = time.monotonic()

    def moved(self, sent: int) -> None:
        """`sent` bytes were handed to the kernel so far."""
        self.sent = sent
        while self.unsent and self.unsent[0][0] < sent:
            offset, receipt = self.unsent.popleft()
            receipt.sent = self.began
            self.flying.append((offset, receipt))
        if self.flying and self.timer is None:
            self.wait = FIRST_POLL_S
            self.poll()

    def poll(self) -> None:
        """Ask the kernel what the receiver acknowledged, and again later while something is missing."""
        self.timer = None
        acknowledged = self.sent - unacknowledged(self.sink)
        now = time.monotonic()
        while self.flying and self.flying[0][0] < acknowledged:
            self.flying.popleft()[1].delivered = now
        if self.flying:
            self.timer = self.at(now + self.wait, self.poll)
            self.wait = min(2 * self.wait, LAST_POLL_S)
        else:
            self.done()

    def stop(self) -> None:
        """The socket is about to be closed: look once more, then leave the rest undelivered."""
        self.done = lambda: None
        if self.flying:
            self.poll()
        self.unsent.clear()
        self.flying.clear()
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


def unacknowledged(sock: socket.socket) -> int:
    """Bytes of a TCP socket that its peer's kernel has not acknowledged (tcp(7), SIOCOUTQ)."""
    if sys.platform == "linux":
        answer: int = struct.unpack("i", fcntl.ioctl(sock.fileno(), _SIOCOUTQ, b"\0\0\0\0"))[0]
        return answer
    return sock.getsockopt(socket.SOL_SOCKET, _SO_NWRITE)
