"""`replica-compare`: whether holders have the same bytes of the same version."""

from __future__ import annotations

from collections.abc import Iterable

from straybit_nodes.storage.record import Record, crc

__all__ = ["conflict", "contents", "unlike"]


def contents(record: Record) -> tuple[int, int, str]:
    """What two holders of one version must have alike."""
    return record.crc, record.size, record.etag


def conflict(record: Record, answers: Iterable[tuple[str, Record | None]]) -> str:
    """How holders differ in what they have of the same version; "" when they do not."""
    for node, other in answers:
        if other is not None and other.stamp == record.stamp and contents(other) != contents(record):
            here, there = (f"CRC32C {r.crc:08x}, {r.size} bytes" for r in (record, other))
            return f"{node} has {there} of the version that is {here} elsewhere"
    return ""


def unlike(record: Record, data: bytes) -> str:
    """How data differs from its record; "" when it does not."""
    found = crc(data)
    if record.deleted or (found, len(data)) == (record.crc, record.size):
        return ""
    return f"the data has CRC32C {found:08x} and {len(data)} bytes, its record says {record.crc:08x} and {record.size}"
