"""One connection through a proxy: two sockets, two streams, and how they end."""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from straybit_faults.proxy.application import Reader
from straybit_faults.proxy.editor import Editor
from straybit_faults.proxy.poller import ERROR, HANGUP, READ, WRITE
from straybit_faults.proxy.receipts import DeliveryWatch
from straybit_faults.proxy.stream import Stream
from straybit_faults.toxics import Matcher
from straybit_faults.wire import Conversation, Direction
from straybit_faults.wires import find_wire

if TYPE_CHECKING:
    from straybit_faults.proxy.loop import Loop
    from straybit_faults.proxy.pipes import PipePool
    from straybit_faults.proxy.tcp import TcpProxy

__all__ = ["Connection"]

LINGER_S = 1.0
"""How long sockets of an ended connection stay, so that its receipts can still become delivered."""

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close() sends RST
_IN = READ | ERROR | HANGUP
_BROKEN = 0x8  # EPOLLERR alone
_BUSY = READ | WRITE  # what nearly every event is


class Connection:
    """A client, its upstream, and a stream for each direction."""

    __slots__ = (
        "client",
        "closed",
        "conversations",
        "down",
        "finished_streams",
        "loop",
        "number",
        "pipes",
        "proxy",
        "source",
        "up",
        "upstream",
    )

    def __init__(
        self, proxy: TcpProxy, client: socket.socket, upstream: socket.socket, *, number: int, source: str
    ) -> None:
        self.proxy = proxy
        self.loop: Loop = proxy.server.loop
        self.pipes: PipePool = proxy.server.pipes
        self.client = client
        self.upstream = upstream
        self.number = number
        self.source = source
        self.closed = False
        self.finished_streams = 0
        self.conversations: dict[str, Conversation] | None = None
        self.up = Stream(self, Direction.UP, client, upstream)
        self.down = Stream(self, Direction.DOWN, upstream, client)
        if proxy.armed:
            self.arm()
        self.loop.add(client.fileno(), self._client_ready)
        self.loop.add(upstream.fileno(), self._upstream_ready)
        self.loop.poller.connecting(upstream.fileno())

    def _client_ready(self, bits: int) -> None:
        if bits == _BUSY and self.down.left is None and self.down.pipe is None:
            self.up.pump()
        else:
            self._ready(bits, self.up, self.down)

    def _upstream_ready(self, bits: int) -> None:
        if bits == _BUSY and self.up.left is None and self.up.pipe is None:
            self.down.pump()
        else:
            self._ready(bits, self.down, self.up)

    def _ready(self, bits: int, inward: Stream, outward: Stream) -> None:
        if bits & HANGUP:
            inward.hung = True
        if bits & _IN:
            if bits & _BROKEN and inward.ended:
                self.reset()
                return
            inward.pump()
        if bits & WRITE and not self.closed:
            if outward.left is not None:
                outward.flush()
            elif outward.pipe is not None:
                outward.pump()

    # -- what a stream asks for ----------------------------------------------------------------------------------

    def now(self) -> float:
        """CLOCK_MONOTONIC seconds."""
        return time.monotonic()

    @property
    def random(self) -> Callable[[], float]:
        """The server's own random numbers."""
        return self.proxy.server.random.random

    def blocked(self, stream: Stream, is_blocked: bool) -> None:
        """The receiver of `stream` takes no bytes for now, or does again."""
        self.loop.poller.blocked(stream.sink.fileno(), is_blocked)
        self.paused(stream, is_blocked or stream.ended)

    def paused(self, stream: Stream, is_paused: bool) -> None:
        """Nothing is to be read from the sender of `stream` for now, or something is again."""
        self.loop.poller.paused(stream.source.fileno(), is_paused)

    def finished(self, stream: Stream) -> None:
        """Everything of `stream` was sent: close the receiver's half, and the connection after both."""
        self.finished_streams += 1
        if self.finished_streams == 2:
            self.close()
            return
        try:
            stream.sink.shutdown(socket.SHUT_WR)
        except OSError:
            self.reset()
            return
        if stream.closing:
            (self.down if stream is self.up else self.up).stop()

    def broken(self, stream: Stream, error: OSError) -> None:
        """Reading from the sender of `stream` failed: an upstream that refuses, or a reset to pass on."""
        if stream is self.down and not stream.received and error.errno != errno.ECONNRESET:
            self.proxy.refused(self, error)
            self.close()
        else:
            self.reset()

    # -- toxics --------------------------------------------------------------------------------------------------

    def arm(self) -> None:
        """Bring both directions in line with the proxy's toxics."""
        matchers = {direction: self.proxy.matchers_for(self, direction) for direction in Direction}
        wires = {m.armed.attributes.wire for both in matchers.values() for m in both} - {None}
        for stream in (self.up, self.down):
            if self.closed:
                return
            editor = self._editor(stream, matchers[stream.direction], wires)
            stages = {stage.armed: stage for stage in stream.stages}
            armed = self.proxy.timing_for(self, stream.direction)
            stream.arm(editor, [stages.get(one) or one.attributes.stage(one, stream) for one in armed])

    def _editor(self, stream: Stream, matchers: Sequence[Matcher], wires: set[str]) -> Editor | None:
        if not matchers and not wires:
            self.conversations = None
            return None
        server = self.proxy.server
        if stream.watch is None:
            stream.watch = DeliveryWatch(stream.sink, self.loop.at)
        editor = stream.editor or Editor(
            stream, server.book, server.events, proxy=self.proxy.name, base=stream.received, watch=stream.watch
        )
        self.conversations = {} if self.conversations is None else self.conversations
        self._read_with(editor, stream, wires)
        editor.arm(matchers)
        return editor

    def _read_with(self, editor: Editor, stream: Stream, wires: set[str]) -> None:
        conversations = self.conversations or {}
        editor.keep_readers(wires)
        for name in sorted(wires - editor.wires):
            wire = find_wire(name)
            conversation = conversations.setdefault(name, wire.open())
            parser = conversation.up if stream is self.up else conversation.down
            editor.add_reader(Reader(wire, parser, stream.received))
        self.conversations = conversations

    # -- the end -------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close both ends; receipts may still become delivered for a second."""
        if not self._leave():
            return
        watches = [stream.watch for stream in (self.up, self.down) if stream.watch is not None]
        if any(watch.pending for watch in watches):
            for sock in (self.client, self.upstream):
                _shut(sock)
            deadline = self.now() + LINGER_S
            self.loop.at(deadline, self._close_sockets)
            for watch in watches:
                watch.when_done(lambda: self._done(watches))
        else:
            self._close_sockets()

    def reset(self) -> None:
        """Close both ends with RST."""
        if not self._leave():
            return
        for sock in (self.client, self.upstream):
            try:  # noqa: SIM105 - `suppress` costs more than the call, twice for each connection
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            except OSError:
                pass  # the peer's own reset came first
        self._close_sockets()

    def _leave(self) -> bool:
        """Nothing more is read, sent or timed; False when that was so already."""
        if self.closed:
            return False
        self.closed = True
        self.up.drop()
        self.down.drop()
        self.loop.remove(self.client.fileno())
        self.loop.remove(self.upstream.fileno())
        self.proxy.gone(self)
        return True

    def _done(self, watches: Sequence[DeliveryWatch]) -> None:
        if not any(watch.pending for watch in watches):
            self._close_sockets()

    def _close_sockets(self) -> None:
        for stream in (self.up, self.down):
            if stream.watch is not None:
                stream.watch.stop()
        self.client.close()
        self.upstream.close()


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):  # the peer closed it first
        sock.shutdown(socket.SHUT_RDWR)
