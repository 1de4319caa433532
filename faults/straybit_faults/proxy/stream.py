"""One direction of one connection: copy, splice, or through the toxics.

Theory of operation.
A direction is always in one of three modes, and `pump` is the mode's function:
*copy* reads into one buffer that all connections share and sends it on at once;
*splice* moves bytes through a pooled pipe inside the kernel,
entered when a read filled the buffer and no toxic wants to see the bytes that follow (a flip by offset wants only one),
left before such bytes, and after several short reads;
*toxic* hands each read to the first stage, and what comes out of the last one to the socket.
Events are edges, so `pump` reads until the socket is empty or the receiver blocks.
What could not be sent is at most one buffer (`left`) or one pipe, and nothing more is read until it is gone.
A short read means that the socket is empty, except once the peer has hung up: then the end must be read, too.
"""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from straybit_faults.proxy.editor import Editor
from straybit_faults.proxy.pipes import CAN_SPLICE, Pipe
from straybit_faults.proxy.receipts import DeliveryWatch
from straybit_faults.toxics import Stage
from straybit_faults.wire import Direction

if TYPE_CHECKING:
    from straybit_faults.proxy.connection import Connection
    from straybit_faults.proxy.loop import LoopTimer

__all__ = ["BUFFER", "Stream"]

BUFFER = 65_536
"""Bytes of one read, and the most that a stalled connection keeps in memory."""

_ROUNDS = 16  # reads of one direction before others get their turn
_SHORT = 32_768  # a spliced read below this is short
_SHORT_READS = 4  # in a row, and splicing is left

_SPLICE_FLAGS = 1 | 2  # SPLICE_F_MOVE | SPLICE_F_NONBLOCK

_LARGE = 262_144
"""Bytes of one read that toxics look at: fewer turns for a stream that flows."""

_shared = memoryview(bytearray(BUFFER))
_large = memoryview(bytearray(_LARGE))


class Stream:
    """Bytes from `source` to `sink`; the last stage of its own chain, and its stages' line."""

    __slots__ = (
        "closing",
        "connection",
        "direction",
        "editor",
        "ended",
        "ending",
        "first",
        "held",
        "hung",
        "left",
        "pipe",
        "pump",
        "received",
        "recv_into",
        "room",
        "send",
        "sent",
        "short_reads",
        "sink",
        "source",
        "stages",
        "watch",
    )

    def __init__(
        self, connection: Connection, direction: Direction, source: socket.socket, sink: socket.socket
    ) -> None:
        self.connection = connection
        self.direction = direction
        self.source = source
        self.sink = sink
        self.recv_into = source.recv_into
        self.send = sink.send
        self.left: bytearray | None = None
        self.pipe: Pipe | None = None
        self.received = 0
        self.sent = 0
        self.hung = False
        self.ended = False  # the sender's half is closed
        self.ending = False  # the receiver is to be told once all is sent
        self.closing = False  # then close the whole connection
        self.held = 0
        self.room = BUFFER
        self.short_reads = 0
        self.editor: Editor | None = None
        self.stages: Sequence[Stage[Any]] = ()
        self.first: Any = self
        self.watch: DeliveryWatch | None = None
        self.pump: Callable[[], None] = self._copy

    # -- modes ---------------------------------------------------------------------------------------------------

    def _copy(self) -> None:  # noqa: PLR0911 - the hot path, flat on purpose
        if self.left is not None or self.ended:
            return
        for _ in range(_ROUNDS):
            try:  # as `_read`, without the price of a call
                count = self.recv_into(_shared)
            except BlockingIOError:
                return
            except OSError as error:
                self.connection.broken(self, error)
                return
            if not count:
                self._end()
                return
            self.received += count
            try:
                sent = self.send(_shared[:count])
            except BlockingIOError:
                sent = 0
            except OSError:
                self.connection.reset()
                return
            self.sent += sent
            if sent < count:
                self._keep(_shared[sent:count])
                return
            if count == BUFFER:
                if CAN_SPLICE and self._enter_splice():
                    return
            elif not self.hung:
                return
        self.connection.loop.soon.append(self._again)

    def _through(self) -> None:
        for _ in range(_ROUNDS):
            if self.left is not None or self.ended or self.connection.closed:
                return
            if self.held >= self.room:
                self.connection.paused(self, True)
                return
            count = self._read()
            if count <= 0:
                return
            self.first.push(_large[:count])
            if count >= BUFFER:
                if CAN_SPLICE and self.left is None and self._enter_splice():
                    return
            elif not self.hung:
                return
        self.connection.loop.soon.append(self._again)

    def _clear(self) -> int | None:
        """Bytes that nobody here wants to see; None: all of them."""
        if self.stages or self.held or self.connection.closed:
            return 0
        return None if self.editor is None else self.editor.clear()

    def _splice(self) -> None:
        pipe = self.pipe
        if pipe is None or self.ended:
            return
        source, sink = self.source.fileno(), self.sink.fileno()
        for _ in range(_ROUNDS):
            try:
                if not pipe.filled:
                    clear = self._clear()
                    if clear is not None and clear < BUFFER:
                        self._leave_splice()
                        self.pump()
                        return
                    most = pipe.size if clear is None else min(pipe.size, clear)
                    count = os.splice(source, pipe.writer, most, flags=_SPLICE_FLAGS)
                    if not count:
                        self._leave_splice()
                        self._end()
                        return
                    pipe.filled = count
                    self.received += count
                    if self.editor is not None:
                        self.editor.skip(count)
                    self.short_reads = self.short_reads + 1 if count < _SHORT else 0
                moved = os.splice(pipe.reader, sink, pipe.filled, flags=_SPLICE_FLAGS)
            except BlockingIOError:
                if pipe.filled:
                    self.connection.blocked(self, True)
                else:
                    self._leave_splice()
                return
            except OSError as error:
                self.connection.broken(self, error)
                return
            pipe.filled -= moved
            self.sent += moved
            if self.short_reads >= _SHORT_READS and not pipe.filled:
                self._leave_splice()
                self.pump()
                return
        self.connection.loop.soon.append(self._again)

    def _enter_splice(self) -> bool:
        clear = self._clear()
        if clear is not None and clear < BUFFER:
            return False
        self.pipe = self.connection.pipes.take()
        if self.pipe is None:
            return False
        self.short_reads = 0
        self.pump = self._splice
        self._splice()
        return True

    def _leave_splice(self) -> None:
        """Back to the mode before; bytes in the pipe become `left`."""
        pipe, self.pipe = self.pipe, None
        self.pump = self._copy if self.first is self else self._through
        if pipe is not None:
            if pipe.filled:
                self._keep(memoryview(os.read(pipe.reader, pipe.filled)))
                pipe.filled = 0
            self.connection.pipes.give(pipe)

    def _again(self) -> None:
        if not self.connection.closed:
            self.pump()

    def _read(self) -> int:
        """Bytes read into the large shared buffer; 0 or less when there is nothing to go on with."""
        try:
            count = self.recv_into(_large)
        except BlockingIOError:
            return -1
        except OSError as error:
            self.connection.broken(self, error)
            return -1
        if not count:
            self._end()
        self.received += count
        return count

    def stop(self) -> None:
        """Read no more; what is under way still arrives."""
        if not self.ended:
            self._end()

    def _end(self) -> None:
        self.ended = True
        self.connection.paused(self, True)
        self.first.end()

    def _keep(self, data: memoryview) -> None:
        if self.left is None:
            self.left = bytearray(data)
            self.connection.blocked(self, True)
        else:
            self.left += data

    # -- the end of the chain ------------------------------------------------------------------------------------

    @property
    def is_blocked(self) -> bool:
        """Whether bytes wait for the receiver's socket."""
        return self.left is not None or (self.pipe is not None and self.pipe.filled > 0)

    @property
    def is_busy(self) -> bool:
        """Whether bytes of this direction are in memory."""
        return self.is_blocked or self.held > 0

    @property
    def accepted(self) -> int:
        """Bytes on their way to the receiver or sent already, as it will count them."""
        return self.sent + self.held + len(self.left or b"") + (self.pipe.filled if self.pipe is not None else 0)

    def push(self, data: bytes | bytearray | memoryview) -> None:
        """Send, or keep what the socket does not take now."""
        if self.connection.closed:
            return
        if self.left is not None:
            self.left += data
            return
        if self.watch is not None:
            self.watch.about_to_send()
        try:
            sent = self.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.connection.reset()
            return
        self.sent += sent
        if sent < len(data):
            self._keep(memoryview(data)[sent:])
        if self.watch is not None:
            self.watch.moved(self.sent)

    def end(self) -> None:
        """Close the receiver's half once everything is sent."""
        if self.ending or self.connection.closed:
            return
        self.ending = True
        if not self.is_blocked:
            self.connection.finished(self)

    def flush(self) -> None:
        """The receiver's socket takes bytes again."""
        if self.left is not None:
            if self.watch is not None:
                self.watch.about_to_send()
            try:
                sent = self.send(self.left)
            except BlockingIOError:
                return
            except OSError:
                self.connection.reset()
                return
            self.sent += sent
            if self.watch is not None:
                self.watch.moved(self.sent)
            if sent < len(self.left):
                del self.left[:sent]
                return
            self.left = None
        self.connection.blocked(self, False)
        if self.ending:
            self.connection.finished(self)
        else:
            self.pump()

    # -- toxics --------------------------------------------------------------------------------------------------

    def arm(self, editor: Editor | None, stages: Sequence[Stage[Any]]) -> None:
        """Make these the chain; stages that are gone let go of what they hold, in order."""
        if self.pipe is not None:
            self._leave_splice()
        old_editor, gone = self.editor, [stage for stage in self.stages if stage not in stages]
        if old_editor is not None and editor is None:
            old_editor.release()
            old_editor.drop()
        for stage in self.stages:
            stage.release() if stage in gone else stage.update()
        if self.connection.closed:
            return
        chain: list[Any] = [*([editor] if editor is not None else ()), *stages, self]
        for stage, following in itertools.pairwise(chain):
            stage.next = following
        self.editor, self.stages, self.first = editor, stages, chain[0]
        self.room = max((stage.room for stage in stages), default=BUFFER)
        self.pump = self._copy if self.first is self else self._through
        self.connection.loop.soon.append(self._again)

    def drop(self) -> None:
        """The connection is gone."""
        if self.editor is not None:
            self.editor.drop()
        for stage in self.stages:
            stage.drop()
        if self.pipe is not None:
            self.connection.pipes.give(self.pipe)
            self.pipe = None
        self.left = None

    # -- the line, as stages see it ------------------------------------------------------------------------------

    @property
    def number(self) -> int:
        """Which connection of its proxy, from 0."""
        return self.connection.number

    def now(self) -> float:
        """CLOCK_MONOTONIC seconds."""
        return self.connection.now()

    def at(self, when: float, callback: Callable[[], None]) -> LoopTimer:
        """Call back at `when`."""
        return self.connection.loop.at(when, callback)

    def later(self, callback: Callable[[], None]) -> None:
        """Call back soon, unless the connection is gone by then."""
        self.connection.loop.soon.append(lambda: None if self.connection.closed else callback())

    def random(self) -> float:
        """The server's own random number in [0, 1)."""
        return self.connection.random()

    def resume(self) -> None:
        """Read on: a stage let bytes go."""
        if not self.connection.closed:
            self.connection.paused(self, self.is_blocked or self.ended)
            self.pump()

    def reset(self) -> None:
        """Close the whole connection with RST to both ends."""
        self.connection.reset()
