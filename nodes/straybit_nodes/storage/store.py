"""Objects on real files, durable before they are acknowledged.

A write goes to a temporary name, is synced, renamed into place, and the folder is synced: after any crash
a key has its old version or its new one, whole. What a crash left under temporary names is removed on opening.
File names are hashes of keys, so no key can name a place outside.
An index of all records is held in memory: some 1 kB for each object.
Delete markers are kept for good; dropping old ones is a scrubber's work.
Tolerated: a process that dies at any point. Noticed: a bit that changes at rest (`Damaged`).
"""

from __future__ import annotations

import hashlib
import os
import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from straybit_nodes.storage.listing import Batch, Summary
from straybit_nodes.storage.record import TRAILER, Damaged, Record, crc, footer, parse_footer

__all__ = ["Store"]


class Store:
    """One node's objects under the folder `root`. Safe to use from several threads of one process."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._numbers = count()
        self._lock = threading.Lock()
        self._records: dict[str, dict[str, Record]] = {}
        self._keys: dict[str, list[str]] = {}
        self._buckets: dict[str, Record] = {}
        self._unreadable: set[Path] = set()

    def open(self) -> None:
        """Create the folders, drop what was never renamed, read the index. Raises OSError.

        A file whose record is damaged is left where it is: its key is damaged, not absent.
        """
        for name in ("tmp", "buckets", "objects"):
            (self._root / name).mkdir(parents=True, exist_ok=True)
        for leftover in (self._root / "tmp").iterdir():
            leftover.unlink()
        for path in self._files():
            try:
                self._remember(_read_record(path))
            except Damaged:
                self._unreadable.add(path)

    def bucket(self, name: str) -> Record | None:
        """The bucket's record, a delete marker when it was deleted."""
        return self._buckets.get(name)

    def buckets(self) -> tuple[Record, ...]:
        """Every bucket's record, delete markers among them."""
        return tuple(self._buckets.values())

    def find(self, bucket: str, key: str) -> Record | None:
        """The newest record of a key, delete markers among them, without looking at the disk. Raises Damaged."""
        if self._unreadable and self._path(bucket, key) in self._unreadable:
            raise Damaged("the record could not be read when the store was opened")
        return self._records.get(bucket, {}).get(key)

    def objects(self) -> tuple[Record, ...]:
        """Every object there is."""
        with self._lock:
            return tuple(r for records in self._records.values() for r in records.values() if not r.deleted)

    def list(self, bucket: str, prefix: str, after: str, limit: int) -> Batch:
        """Up to `limit` records whose keys begin with `prefix` and come after `after`, delete markers among them.

        Raises Damaged when the list could lack a key.
        """
        if any(path.parent == self._root / "objects" / bucket for path in self._unreadable):
            raise Damaged("a record of this bucket could not be read when the store was opened")
        items: list[Summary] = []
        with self._lock:
            keys, records = self._keys.get(bucket, []), self._records.get(bucket, {})
            for at in range(max(bisect_right(keys, after), bisect_left(keys, prefix)), len(keys)):
                if not keys[at].startswith(prefix):
                    break
                if len(items) == limit:
                    return Batch(tuple(items), more=True)
                record = records[keys[at]]
                items.append(Summary(record.key, record.stamp, record.deleted, record.size, record.etag))
        return Batch(tuple(items), more=False)

    def put(self, record: Record, data: bytes) -> bool:
        """Keep one version, durably; False, and nothing done, when a version as new is there.

        `record.crc` and `record.size` are taken from `data`. Raises OSError; then nothing is visible.
        """
        record = _sealed(record, data)
        temporary = self._root / "tmp" / str(next(self._numbers))
        path = self._path(record.bucket, record.key)
        try:
            _write(temporary, data, footer(record))
            if not path.parent.exists():
                path.parent.mkdir(exist_ok=True)
                _sync_folder(path.parent.parent)
            with self._lock:
                known = self._known(record)
                if known is not None and known.stamp >= record.stamp:
                    return False
                temporary.replace(path)
                self._unreadable.discard(path)
                self._remember(record)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
        return True

    def read(self, bucket: str, key: str, *, verify: bool) -> tuple[Record, bytes]:
        """The newest version and its data, as one file had them.

        With `verify` the data is compared with the record's checksum. Raises Damaged, OSError.
        """
        with self._path(bucket, key).open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            content = _read_all(file.fileno(), size)
        record = parse_footer(content[-_footer_size(content) :], verify=verify)
        data = content[: record.size]
        if (record.bucket, record.key) != (bucket, key):
            raise Damaged("the record is another object's")
        if verify and (len(data) != record.size or crc(data) != record.crc):
            raise Damaged("the data does not have its checksum")
        return record, data

    def rot(self, bucket: str, key: str, offset: int, bit: int) -> tuple[int, int]:
        """Flip one bit of an object at rest; the byte before and after. A fault for experiments.

        Raises LookupError when there is no such object or byte.
        """
        record = self.find(bucket, key)
        if record is None or record.deleted or not (0 <= offset < record.size and 0 <= bit < 8):
            raise LookupError(f"there is no bit {bit} of byte {offset} of {bucket}/{key} here")
        with self._path(bucket, key).open("r+b", buffering=0) as file:
            before = os.pread(file.fileno(), 1, offset)[0]
            after = before ^ (1 << bit)
            os.pwrite(file.fileno(), bytes([after]), offset)
        return before, after

    def _path(self, bucket: str, key: str) -> Path:
        if not key:
            return self._root / "buckets" / bucket
        return self._root / "objects" / bucket / hashlib.sha256(key.encode()).hexdigest()

    def _files(self) -> Iterator[Path]:
        yield from (self._root / "buckets").iterdir()
        for folder in (self._root / "objects").iterdir():
            yield from folder.iterdir()

    def _known(self, record: Record) -> Record | None:
        if not record.key:
            return self._buckets.get(record.bucket)
        return self._records.get(record.bucket, {}).get(record.key)

    def _remember(self, record: Record) -> None:
        if not record.key:
            self._buckets[record.bucket] = record
            return
        records = self._records.setdefault(record.bucket, {})
        if record.key not in records:
            insort(self._keys.setdefault(record.bucket, []), record.key)
        records[record.key] = record


def _sealed(record: Record, data: bytes) -> Record:
    return Record(
        bucket=record.bucket,
        key=record.key,
        stamp=record.stamp,
        deleted=record.deleted,
        size=len(data),
        etag=record.etag,
        crc=crc(data),
        headers=record.headers,
        checksums=record.checksums,
    )


def _write(path: Path, *parts: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        for part in parts:
            view = memoryview(part)
            while view:
                view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _read_all(fd: int, size: int) -> bytes:
    parts = []
    at = 0
    while at < size and (part := os.pread(fd, size - at, at)):
        parts.append(part)
        at += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _footer_size(content: bytes) -> int:
    """Bytes the footer claims; a claim that cannot be is left to `parse_footer` to refuse."""
    if len(content) < TRAILER.size:
        return len(content) or 1
    return int(TRAILER.unpack_from(content, len(content) - TRAILER.size)[0]) + TRAILER.size


def _read_record(path: Path) -> Record:
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        tail = os.pread(file.fileno(), TRAILER.size, max(size - TRAILER.size, 0))
        wanted = min(_footer_size(tail), size)
        return parse_footer(os.pread(file.fileno(), wanted, size - wanted))
