"""The wire `http1`: requests (up), replies and 1xx replies (down) of HTTP/1.x, by RFC 9112.

Kinds: `request`, `reply`, `continue` (any 1xx but 101).
Fields: `method`, `target`, `version`, `status`, `reason`, `header.NAME` (lower case, value without blanks around it)
and `body`, whose length is known from Content-Length and otherwise comes in parts, one for each chunk.
Identity: `METHOD target`, of a reply that of its request.

Theory of operation.
A head is held back until its blank line, so that every field of it has a name before it leaves, 64 KiB at most.
A body is never held: its bytes leave as they come.
The two directions share a queue of methods, because a reply to HEAD has no body (RFC 9112, 6.3).
After an upgrade, a CONNECT or anything this parser would have to guess about, it is Lost and stays silent.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence

from straybit_faults.wire import End, Event, Field, FieldClass, Lost, Message, Part

__all__ = ["MAX_HEAD", "WIRE", "Http1Wire"]

MAX_HEAD = 65_536
"""Bytes of a head that are held back at most; servers commonly stop at 8 to 64 KiB."""

MAX_LINE = 4_096
"""Bytes of a chunk's size line or of one trailer line."""

MAX_PIPELINED = 1_024
"""Requests that may wait for their reply; beyond, replies are no longer told apart."""

_REQUEST = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^ \r\n]+) (HTTP/1\.[0-9])\r?\n")
_STATUS = re.compile(rb"(HTTP/1\.[0-9]) ([1-9][0-9][0-9])(?: ([^\r\n]*))?\r?\n")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n]*?)[ \t]*\r?\n")
_BLANK = re.compile(rb"\r?\n")
_END = re.compile(rb"\r?\n\r?\n")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")

_CLASSES = {
    "content-length": FieldClass.LENGTH,
    "transfer-encoding": FieldClass.LENGTH,
    "x-amz-decoded-content-length": FieldClass.LENGTH,
    "content-md5": FieldClass.CHECKSUM,
    "x-amz-content-sha256": FieldClass.CHECKSUM,
    "digest": FieldClass.CHECKSUM,
    "content-digest": FieldClass.CHECKSUM,
    "etag": FieldClass.CHECKSUM,
    "host": FieldClass.ADDRESS,
    "expect": FieldClass.FLAGS,
    "connection": FieldClass.FLAGS,
    "upgrade": FieldClass.FLAGS,
    "content-type": FieldClass.TYPE,
    "content-encoding": FieldClass.TYPE,
}


class _LostError(Exception):
    """What the parser sees cannot be read on from here."""


class _Requests:
    """Methods and identities of requests whose final reply has not come."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[bytes, str]] = deque()

    def add(self, method: bytes, identity: str) -> None:
        if len(self.waiting) >= MAX_PIPELINED:
            raise _LostError(f"more than {MAX_PIPELINED} requests without a reply")
        self.waiting.append((method, identity))


class _Http1Parser(ABC):
    """One direction; subclasses read the first line and say how the body is delimited."""

    def __init__(self, requests: _Requests) -> None:
        self.requests = requests
        self.hold = 0
        self._end = 0  # stream offset behind everything fed
        self._line = bytearray()  # an unfinished head or line
        self._left = 0  # bytes of the body or chunk that are still to come
        self._start = 0  # bytes of the open body already announced in parts
        self._state = self._head

    def feed(self, data: bytes | bytearray | memoryview) -> Sequence[Event]:
        """Take the next bytes of the stream and answer what became known by them."""
        events: list[Event] = []
        view = memoryview(data)
        end = self._end + len(view)
        while view:
            try:
                view = self._state(view, events)
            except _LostError as error:
                events.append(Lost(self._end - len(self._line), str(error)))
                self._state = self._silent
                self._line.clear()
                self._end = end
                break
        self.hold = self._end - (len(self._line) if self._state == self._head else 0)
        return events

    @abstractmethod
    def first(self, head: bytes, at: int) -> tuple[str, str, list[Field], int]:
        """Kind, identity, fields and length of the first line of a head at stream offset `at`."""

    @abstractmethod
    def length(self, kind: str, headers: _Headers) -> int | None:
        """Bytes of the body, -1 for chunks, None for all until the end of the stream."""

    def _silent(self, view: memoryview, events: list[Event]) -> memoryview:
        self._end += len(view)
        return view[:0]

    def _head(self, view: memoryview, events: list[Event]) -> memoryview:
        known = max(0, len(self._line) - 3)
        self._line += view
        self._end += len(view)
        while blank := _BLANK.match(self._line):  # RFC 9112, 2.2: blank lines before a head
            del self._line[: blank.end()]
        match = _END.search(self._line, known)
        if match is None:
            if len(self._line) > MAX_HEAD:
                raise _LostError(f"a head of more than {MAX_HEAD} bytes")
            return view[:0]
        if match.end() > MAX_HEAD:
            raise _LostError(f"a head of more than {MAX_HEAD} bytes")
        rest = len(self._line) - match.end()
        head = bytes(self._line[: match.end()])
        self._read(head, self._end - len(self._line), events)
        self._end -= rest
        self._line.clear()
        return view[len(view) - rest :]

    def _read(self, head: bytes, at: int, events: list[Event]) -> None:
        kind, identity, fields, size = self.first(head, at)
        headers = _Headers(head, size)
        fields += headers.fields(at)
        length = self.length(kind, headers)
        start = at + len(head)
        if length != 0:
            fields.append(Field("body", start, length if length is not None and length > 0 else None))
        end = start + length if length is not None and length >= 0 else None
        events.append(Message(kind, at, end, tuple(fields), identity))
        self._begin(length)

    def _begin(self, length: int | None) -> None:
        self._start = 0
        if length is None:
            self._state = self._endless
        elif length < 0:
            self._state = self._size
        elif length:
            self._left = length
            self._state = self._body
        else:
            self._state = self._head

    def _body(self, view: memoryview, events: list[Event]) -> memoryview:
        taken = min(self._left, len(view))
        self._left -= taken
        self._end += taken
        if not self._left:
            self._state = self._head
        return view[taken:]

    def _endless(self, view: memoryview, events: list[Event]) -> memoryview:
        events.append(Part("body", self._start, self._end, len(view)))
        self._start += len(view)
        self._end += len(view)
        return view[:0]

    def _take_line(self, view: memoryview) -> tuple[bytes | None, memoryview]:
        """One whole line (None: it has no end yet) and the bytes behind it."""
        text = bytes(view[: MAX_LINE + 1])
        stop = text.find(b"\n")
        taken = len(text) if stop < 0 else stop + 1
        self._line += text[:taken]
        self._end += taken
        if len(self._line) > MAX_LINE:
            raise _LostError(f"a chunk's line of more than {MAX_LINE} bytes")
        if stop < 0:
            return None, view[taken:]
        line = bytes(self._line)
        self._line.clear()
        return line, view[taken:]

    def _size(self, view: memoryview, events: list[Event]) -> memoryview:
        line, view = self._take_line(view)
        if line is not None:
            match = _SIZE.fullmatch(line)
            if match is None:
                raise _LostError(f"{line[:20]!r} where a chunk's size should be")
            self._left = int(match[1], 16)
            if self._left:
                events.append(Part("body", self._start, self._end, self._left))
                self._start += self._left
            self._state = self._chunk if self._left else self._trailer
        return view

    def _chunk(self, view: memoryview, events: list[Event]) -> memoryview:
        taken = min(self._left, len(view))
        self._left -= taken
        self._end += taken
        if not self._left:
            self._state = self._chunk_end
        return view[taken:]

    def _chunk_end(self, view: memoryview, events: list[Event]) -> memoryview:
        line, view = self._take_line(view)
        if line is not None:
            if line not in (b"\r\n", b"\n"):
                raise _LostError("a chunk that is longer than its size")
            self._state = self._size
        return view

    def _trailer(self, view: memoryview, events: list[Event]) -> memoryview:
        line, view = self._take_line(view)
        if line in (b"\r\n", b"\n"):
            events.append(End(self._end))
            self._state = self._head
        return view


class _Headers:
    """Header lines of one head, which start at `size` in it."""

    def __init__(self, head: bytes, size: int) -> None:
        self.lines = list(_lines(head, size))

    def fields(self, at: int) -> Iterator[Field]:
        """One field for each header that has a value."""
        for name, value, start in self.lines:
            if value:
                cls = FieldClass.CHECKSUM if name.startswith("x-amz-checksum-") else _CLASSES.get(name)
                yield Field(f"header.{name}", at + start, len(value), cls or FieldClass.PAYLOAD)

    def all(self, name: str) -> list[bytes]:
        """The comma-separated values of every header called `name`, in lower case."""
        values = (value for key, value, _ in self.lines if key == name)
        return [item.strip().lower() for value in values for item in value.split(b",")]

    def body(self, otherwise: int | None) -> int | None:
        """Length by Transfer-Encoding and Content-Length (RFC 9112, 6.3), `otherwise` without either."""
        codings = self.all("transfer-encoding")
        if codings:
            if codings[-1] == b"chunked":
                return -1
            if otherwise is None:
                return None
            raise _LostError("a request whose last transfer coding is not chunked")
        lengths = set(self.all("content-length"))
        if not lengths:
            return otherwise
        text = lengths.pop()
        if lengths or not text.isdigit() or len(text) > 15:
            raise _LostError("a Content-Length that is not one number")
        return int(text)


def _lines(head: bytes, size: int) -> Iterator[tuple[str, bytes, int]]:
    at = size
    while head[at : at + 2] != b"\r\n" and head[at : at + 1] != b"\n":
        match = _HEADER.match(head, at)
        if match is None:
            raise _LostError(f"{head[at : at + 20]!r} where a header should be")
        yield match[1].decode().lower(), match[2], match.start(2)
        at = match.end()


class _Up(_Http1Parser):
    def first(self, head: bytes, at: int) -> tuple[str, str, list[Field], int]:
        match = _REQUEST.match(head)
        if match is None:
            raise _LostError(f"{head[:20]!r} where a request should be")
        names = (("method", FieldClass.TYPE), ("target", FieldClass.ADDRESS), ("version", FieldClass.PROTOCOL))
        fields = [Field(n, at + match.start(i), len(match[i]), cls) for i, (n, cls) in enumerate(names, 1)]
        identity = f"{match[1].decode()} {match[2].decode('latin-1')}"
        self.requests.add(match[1], identity)
        return "request", identity, fields, match.end()

    def length(self, kind: str, headers: _Headers) -> int | None:
        if self.requests.waiting[-1][0] == b"CONNECT":
            raise _LostError("a CONNECT, after which bytes are not HTTP")
        return headers.body(0)


class _Down(_Http1Parser):
    def first(self, head: bytes, at: int) -> tuple[str, str, list[Field], int]:
        match = _STATUS.match(head)
        if match is None:
            raise _LostError(f"{head[:20]!r} where a reply should be")
        names = (("version", FieldClass.PROTOCOL), ("status", FieldClass.TYPE), ("reason", FieldClass.PAYLOAD))
        fields = [Field(n, at + match.start(i), len(match[i]), cls) for i, (n, cls) in enumerate(names, 1) if match[i]]
        waiting = self.requests.waiting
        identity = waiting[0][1] if waiting else ""
        if match[2] == b"101":
            raise _LostError("an upgrade, after which bytes are not HTTP/1")
        self._status = match[2]
        return ("continue" if match[2][:1] == b"1" else "reply"), identity, fields, match.end()

    def length(self, kind: str, headers: _Headers) -> int | None:
        if kind == "continue":
            return 0
        method = self.requests.waiting.popleft()[0] if self.requests.waiting else b"GET"
        if method == b"HEAD" or self._status in (b"204", b"304"):
            return 0
        return headers.body(None)


class Http1Conversation:
    """One connection: requests go up, replies come down."""

    def __init__(self) -> None:
        requests = _Requests()
        self.up = _Up(requests)
        self.down = _Down(requests)


class Http1Wire:
    """HTTP/1.0 and 1.1."""

    name = "http1"
    kinds = ("request", "reply", "continue")

    def open(self) -> Http1Conversation:
        """A conversation for a new connection."""
        return Http1Conversation()

    def reseal(self, message: bytearray) -> bool:
        """Nothing to recompute: digests of a body are the application's."""
        return False

    def fields(self, kind: str) -> tuple[tuple[str, FieldClass, int | None], ...]:
        """The first line, any header (`header.NAME`, NAME in lower case), and the body."""
        line = {
            "request": (("method", FieldClass.TYPE), ("target", FieldClass.ADDRESS), ("version", FieldClass.PROTOCOL)),
            "reply": (("version", FieldClass.PROTOCOL), ("status", FieldClass.TYPE), ("reason", FieldClass.PAYLOAD)),
        }
        names = line["request" if kind == "request" else "reply"]
        rest = (("header.NAME", FieldClass.PAYLOAD), *(() if kind == "continue" else (("body", FieldClass.PAYLOAD),)))
        return tuple((name, cls, None) for name, cls in (*names, *rest))


WIRE = Http1Wire()
