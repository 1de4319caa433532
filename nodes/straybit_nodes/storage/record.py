"""What is kept about an object, and the bytes it is kept as.

A file holds `data | record as JSON | length of the record u32 | CRC32C of the record u32 | magic`, big-endian.
The data comes first, so a bit of the object is the same bit of the file.
One file per object makes a write one rename: data and record are never of two versions.
"""

from __future__ import annotations

import struct

import google_crc32c
import msgspec

__all__ = [
    "TRAILER",
    "Damaged",
    "Quarantined",
    "Record",
    "RecordError",
    "crc",
    "footer",
    "make_stamp",
    "parse_footer",
    "stamp_time_s",
]

_MAGIC = b"straybt1"
TRAILER = struct.Struct(">II8s")
_RECORD_LIMIT = 64 * 1024


class Damaged(Exception):
    """Stored bytes are not what was stored; the message says which."""


class Quarantined(Damaged):
    """They were found damaged before, and were moved aside."""


class RecordError(ValueError):
    """A record sent by another node that cannot be read."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One version of one object, or its delete marker; a bucket is a record with an empty key.

    `stamp` orders versions: the largest is the newest. `crc` is the CRC32C of the stored data.
    `etag` is the hex MD5 of the data, without quotes.
    `checksums` maps an algorithm to base64 as the client announced it; `composite` ones are made of the checksums
    of an upload's parts, and end in `-PARTS` as the etag does.
    `headers` are sent back with the object: content type, encoding and the like, and `x-amz-meta-*`.
    """

    bucket: str
    key: str
    stamp: str
    deleted: bool = False
    size: int = 0
    etag: str = ""
    crc: int = 0
    headers: dict[str, str] = {}
    checksums: dict[str, str] = {}
    composite: bool = False

    def encode(self) -> bytes:
        """As JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, data: bytes | str) -> Record:
        """Read JSON. Raises RecordError."""
        try:
            return _RECORD.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise RecordError(f"not a record: {error}") from None


_RECORD = msgspec.json.Decoder(Record)


def crc(data: bytes) -> int:
    """CRC32C."""
    value: int = google_crc32c.value(data)
    return value


def footer(record: Record) -> bytes:
    """What follows the data in a file."""
    text = record.encode()
    return text + TRAILER.pack(len(text), crc(text), _MAGIC)


def parse_footer(tail: bytes, *, verify: bool = True) -> Record:
    """The record in the last bytes of a file, at least the whole footer. Raises Damaged.

    `verify` False believes any record that can be read.
    """
    if len(tail) < TRAILER.size:
        raise Damaged("the file is too short")
    length, checksum, magic = TRAILER.unpack_from(tail, len(tail) - TRAILER.size)
    end = len(tail) - TRAILER.size
    if magic != _MAGIC or not 0 < length <= min(end, _RECORD_LIMIT):
        raise Damaged("the file does not end like one")
    text = tail[end - length : end]
    if verify and crc(text) != checksum:
        raise Damaged("the record does not have its checksum")
    try:
        return Record.decode(text)
    except RecordError as error:
        raise Damaged(str(error)) from None


def make_stamp(now_ns: int, node: str, after: str = "") -> str:
    """A stamp for a version made now, larger than `after` even when this clock is behind."""
    floor = int(after.partition("-")[0]) + 1 if after else 0
    return f"{max(now_ns, floor):020d}-{node}"


def stamp_time_s(stamp: str) -> float:
    """When a version was made, in seconds since 1970, by its coordinator's clock."""
    return int(stamp.partition("-")[0]) / 1e9
