"""The journal: one NDJSON line per event, flushed as it is written, each bound to all lines before it.

A line is `{"seq": N, "t": seconds since the run's start, "event": NAME, ..., "crc": "8 hex digits"}`.
Its `crc` is the CRC32C of the exact bytes of the line without that member,
continued from the line before: so it covers every line up to here.
One flipped bit anywhere is noticed, as is a line that was removed, doubled, swapped or cut short,
and a journal that nobody ended.

It tolerates the death of its writer at any time: what was written is readable, and says that it is not whole.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import google_crc32c
import msgspec

from straybit.records import EVENTS, READERS, SCHEMA, Record, RunEnded, RunStarted

__all__ = ["Entry", "Journal", "JournalDamaged", "JournalError", "JournalRefused", "read_journal"]

_NAMES = {record: name for name, record in EVENTS.items()}
_TAIL = re.compile(rb',"crc":"([0-9a-f]{8})"\}')
_TAIL_LENGTH = len(b',"crc":"00000000"}')


class Entry(msgspec.Struct, frozen=True):
    """One line: its number, its time in seconds since the run's start, and what it says."""

    seq: int
    t: float
    record: Record


class JournalError(ValueError):
    """A journal that gives no verdict; the message says which line, what is wrong and what to do."""


class JournalDamaged(JournalError):
    """A journal that is not as it was written. `intact` holds the entries before the damage."""

    def __init__(self, message: str, intact: tuple[Entry, ...] = ()) -> None:
        super().__init__(message)
        self.intact = intact


class JournalRefused(JournalError):
    """A journal that is whole but of another schema."""


class Journal:
    """Appends records to a new file; any thread may write.

    `start` is the run's start on `clock`, a monotonic clock in seconds; None takes its time now.
    Raises FileExistsError where the file is already there: a journal is never written over.
    """

    def __init__(self, path: Path, *, start: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.start = clock() if start is None else start
        self._lock = threading.Lock()
        self._seq = 0
        self._crc = 0
        self._file = path.open("xb")

    def now(self) -> float:
        """Seconds since the run's start."""
        return self._clock() - self.start

    def write(self, record: Record) -> None:
        """Append one line and hand it to the kernel before returning.

        Raises ValueError for a record that would not read back (a wrong type, a NaN) and once closed; OSError.
        """
        name = _NAMES[type(record)]
        members = _encode(record)[1:-1]
        with self._lock:
            head = b'{"seq":%d,"t":%.6f,"event":"%s"' % (self._seq, max(self.now(), 0.0), name.encode())
            body = head + (b"," + members if members else b"") + b"}"
            crc = google_crc32c.extend(self._crc, body)
            self._file.write(body[:-1] + b',"crc":"%08x"}\n' % crc)
            self._file.flush()
            self._seq += 1
            self._crc = crc

    def close(self) -> None:
        """Close the file; closing twice is fine. Without a `RunEnded` before it, the journal reads as damaged."""
        with self._lock:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _encode(record: Record) -> bytes:
    """The record as JSON that is sure to be read back; bytes that were no text are shown by their escapes."""
    try:
        encoded = msgspec.json.encode(record)
    except UnicodeEncodeError:
        encoded = msgspec.json.encode(_printable(msgspec.to_builtins(record)))
    try:
        READERS[_NAMES[type(record)]].decode(encoded)
    except msgspec.ValidationError as error:
        raise ValueError(f"a {type(record).__name__} that could not be read back: {error}") from None
    return encoded


def _printable(value: object) -> object:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_printable(key): _printable(item) for key, item in value.items()}
        case list() | tuple():
            return [_printable(item) for item in value]
    return value


class _Head(msgspec.Struct):
    seq: int
    t: float
    event: str


class _First(msgspec.Struct):
    schema: int


_HEAD = msgspec.json.Decoder(_Head)
_FIRST = msgspec.json.Decoder(_First)


def read_journal(path: Path) -> tuple[Entry, ...]:
    """Every entry of a whole journal.

    Raises JournalDamaged, naming the first line that is wrong; JournalRefused for another schema;
    OSError where the file cannot be read.
    """
    intact: list[Entry] = []
    try:
        for entry in _entries(path.read_bytes()):
            intact.append(entry)
    except JournalDamaged as damaged:
        raise JournalDamaged(f"{path.name} is damaged, {damaged}", tuple(intact)) from None
    except JournalRefused as refused:
        raise JournalRefused(f"{path.name} is refused, {refused}") from None
    return tuple(intact)


def _entries(data: bytes) -> Iterator[Entry]:
    lines = data.split(b"\n")
    rest = lines.pop()
    crc = 0
    ended = False
    for seq, line in enumerate(lines):
        crc = _check(line, seq, crc)
        entry = _decode(line, seq)
        if ended:
            raise JournalDamaged(f"line {seq + 1}: it stands behind the run's end")
        ended = isinstance(entry.record, RunEnded)
        yield entry
    if rest:
        raise JournalDamaged(f"line {len(lines) + 1}: it is cut short; the writer died or the file was damaged")
    if not ended:
        raise JournalDamaged(f"line {len(lines) + 1}: missing; the journal has no run-ended, so the run did not finish")


def _check(line: bytes, seq: int, crc: int) -> int:
    """The running CRC behind this line. Raises JournalDamaged where the line does not carry it."""
    tail = _TAIL.fullmatch(line[-_TAIL_LENGTH:])
    if tail is None:
        raise JournalDamaged(f"line {seq + 1}: it does not end in a crc")
    actual = google_crc32c.extend(crc, line[:-_TAIL_LENGTH] + b"}")
    if b"%08x" % actual != tail[1]:
        said = tail[1].decode()
        raise JournalDamaged(
            f"line {seq + 1}: its crc says {said}, its bytes and the lines before it give {actual:08x}{_gap(line, seq)}"
        )
    return int(actual)


def _gap(line: bytes, seq: int) -> str:
    """What a wrong line's own number adds to the story."""
    found = re.match(rb'\{"seq":([0-9]{1,18}),', line)
    if found is None or int(found[1]) == seq:
        return ""
    return f"; it calls itself seq {int(found[1])} where seq {seq} belongs, so lines were removed, doubled or moved"


def _decode(line: bytes, seq: int) -> Entry:
    try:
        head = _HEAD.decode(line)
        if head.seq != seq:
            raise JournalDamaged(f"line {seq + 1}: it calls itself seq {head.seq} where seq {seq} belongs")
        if seq == 0:
            _check_schema(line, head.event)
        if head.event not in EVENTS:
            raise JournalRefused(
                f"line {seq + 1}: unknown event {head.event!r}; read it with the straybit that wrote it"
            )
        return Entry(head.seq, head.t, READERS[head.event].decode(line))
    except msgspec.MsgspecError as error:
        raise JournalDamaged(f"line {seq + 1}: not the event it says it is ({error})") from None


def _check_schema(line: bytes, event: str) -> None:
    if EVENTS.get(event) is not RunStarted:
        raise JournalDamaged(f"line 1: it is {event!r}, where run-started belongs")
    schema = _FIRST.decode(line).schema
    if schema != SCHEMA:
        raise JournalRefused(
            f"schema {schema}, and this straybit reads {SCHEMA}; read it with the straybit that wrote it"
        )
