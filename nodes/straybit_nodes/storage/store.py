"""Objects on real files, durable before they are acknowledged.

A write goes to a temporary name, is synced, renamed into place, and the folder is synced: after any crash
a key has its old version or its new one, whole. What a crash left under temporary names is removed on opening.
File names are hashes of keys, so no key can name a place outside.
An index of all records is held in memory: some 1 kB for each object.
Delete markers are kept for good.

A damaged file is moved to `quarantine`, where nothing is served from; its key stays *damaged*, also over restarts,
until a version as new or newer takes its place. Were it absent, an acknowledged object could be read as such.
What is known of its record still counts as knowledge of that version.

Tolerated: a process that dies at any point. Noticed: a bit that changes at rest (`Damaged`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import msgspec

from straybit_nodes.storage.disk import Disk
from straybit_nodes.storage.listing import Batch, Summary
from straybit_nodes.storage.record import TRAILER, Damaged, Quarantined, Record, crc, footer, parse_footer

__all__ = ["Store"]


_EVIDENCE_MAX = 64
"""Damaged files kept for whoever wants to look at them after their key was healed."""


class Store:
    """One node's objects under the folder `root`. Safe to use from several threads of one process.

    `on_step` is told each step of a write before it is taken: where a test lets the process die.
    """

    def __init__(
        self, root: Path, *, disk: Disk | None = None, on_step: Callable[[str], None] = lambda _: None
    ) -> None:
        self._root = root
        self._disk = disk or Disk()
        self._on_step = on_step
        self._numbers = count()
        self._lock = threading.Lock()
        self._records: dict[str, dict[str, Record]] = {}
        self._keys: dict[str, list[str]] = {}
        self._buckets: dict[str, Record] = {}
        self._unreadable: set[Path] = set()
        self._quarantined: dict[Path, tuple[str, str]] = {}
        self._evidence: list[Path] = []

    def open(self) -> None:
        """Create the folders, drop what was never renamed, read the index. Raises OSError.

        A file whose record is damaged is moved to quarantine: its key is damaged, not absent.
        """
        for name in ("tmp", "buckets", "objects", "quarantine"):
            (self._root / name).mkdir(parents=True, exist_ok=True)
        for leftover in (self._root / "tmp").iterdir():
            leftover.unlink()
        for path in self._files():
            try:
                self._remember(_read_record(path))
            except Damaged:
                self._set_aside(path)
        for aside in sorted((self._root / "quarantine").rglob("*"), key=lambda path: path.stat().st_mtime):
            if aside.is_file():
                self._recall(aside)

    def bucket(self, name: str) -> Record | None:
        """The bucket's record, a delete marker when it was deleted."""
        return self._buckets.get(name)

    def buckets(self) -> tuple[Record, ...]:
        """Every bucket's record, delete markers among them."""
        return tuple(self._buckets.values())

    def find(self, bucket: str, key: str) -> Record | None:
        """The newest record of a key, delete markers among them, without looking at the disk. Raises Damaged.

        Of a key in quarantine it is the record that was known, whose data is not here.
        """
        if self._unreadable and self._path(bucket, key) in self._unreadable:
            raise Damaged("the record could not be read when the store was opened")
        return self._records.get(bucket, {}).get(key) if key else self._buckets.get(bucket)

    def is_sound(self, bucket: str, key: str) -> bool:
        """Neither is the key's record unknown nor its file in quarantine."""
        path = self._path(bucket, key)
        return path not in self._unreadable and path not in self._quarantined

    def damaged(self) -> tuple[tuple[str, str], ...]:
        """(bucket, key) of what is in quarantine and can be named; what is unreadable cannot."""
        return tuple(self._quarantined.values())

    @property
    def unnamed(self) -> int:
        """Files in quarantine whose records cannot be read."""
        return len(self._unreadable)

    @property
    def disk(self) -> Disk:
        """What stands between this store and its files."""
        return self._disk

    def folders(self) -> tuple[str, ...]:
        """Every bucket that holds or held an object or part."""
        return tuple(self._records)

    def objects(self) -> tuple[Record, ...]:
        """Every object there is, parts of uploads among them."""
        with self._lock:
            return tuple(r for records in self._records.values() for r in records.values() if not r.deleted)

    def files(self) -> tuple[tuple[str, str, str, int], ...]:
        """(bucket, key, stamp, bytes) of every version that is kept; buckets have an empty key."""
        with self._lock:
            kept = [*self._buckets.values(), *(r for records in self._records.values() for r in records.values())]
        return tuple((r.bucket, r.key, r.stamp, r.size) for r in kept)

    def give_up(self) -> int:
        """Forget files whose records cannot be read, since nobody else has what they were; they are kept as `lost`."""
        with self._lock:
            lost = list(self._unreadable)
            for path in lost:
                (self._root / "lost").mkdir(exist_ok=True)
                with contextlib.suppress(FileNotFoundError):
                    self._aside(path).replace(self._root / "lost" / path.name)
            self._unreadable.clear()
        return len(lost)

    def list(self, bucket: str, prefix: str, after: str, limit: int, *, skip_unreadable: bool = False) -> Batch:
        """Up to `limit` records whose keys begin with `prefix` and come after `after`, delete markers among them.

        Raises Damaged when the list could lack a key: a record is unknown, and so is what it was about.
        With `skip_unreadable` the list is `partial` instead.
        """
        partial = any(path.parent == self._root / "objects" / bucket for path in self._unreadable)
        if partial and not skip_unreadable:
            raise Damaged("a record of this bucket could not be read when the store was opened")
        items: list[Summary] = []
        with self._lock:
            keys, records = self._keys.get(bucket, []), self._records.get(bucket, {})
            for at in range(max(bisect_right(keys, after), bisect_left(keys, prefix)), len(keys)):
                if not keys[at].startswith(prefix):
                    break
                if len(items) == limit:
                    return Batch(tuple(items), more=True, partial=partial)
                record = records[keys[at]]
                items.append(Summary(record.key, record.stamp, record.deleted, record.size, record.etag))
        return Batch(tuple(items), more=False, partial=partial)

    def put(self, record: Record, data: bytes) -> bool:
        """Keep one version, durably; False, and nothing done, when a version as new is there.

        `record.crc` and `record.size` are taken from `data`. Raises OSError; then nothing is visible.
        """
        record = _sealed(record, data)
        temporary = self._root / "tmp" / str(next(self._numbers))
        path = self._path(record.bucket, record.key)
        try:
            self._disk.write(len(data))
            self._on_step("write")
            _write(temporary, data, footer(record), on_sync=lambda: self._on_step("sync"))
            if not path.parent.exists():
                path.parent.mkdir(exist_ok=True)
                _sync_folder(path.parent.parent)
            with self._lock:
                if not self._wants(record, path):
                    return False
                self._on_step("rename")
                temporary.replace(path)
                self._remember(record)
                self._heal(path)
        finally:
            temporary.unlink(missing_ok=True)
        self._on_step("sync folder")
        _sync_folder(path.parent)
        return True

    def drop(self, bucket: str, prefix: str, *, keep: str) -> int:
        """Remove every record under `prefix` but `keep`, files and all: parts of an upload that is over."""
        with self._lock:
            keys = self._keys.get(bucket, [])
            gone = []
            for at in range(bisect_left(keys, prefix), len(keys)):
                if not keys[at].startswith(prefix):
                    break
                if keys[at] != keep:
                    gone.append(keys[at])
            for key in gone:
                path = self._path(bucket, key)
                path.unlink(missing_ok=True)
                self._aside(path).unlink(missing_ok=True)
                self._heal(path)
                del self._records[bucket][key]
                keys.remove(key)
        return len(gone)

    def quarantine(self, bucket: str, key: str, stamp: str) -> bool:
        """Move the damaged file of the version `stamp` aside; False when that is not what is there any more."""
        path = self._path(bucket, key)
        with self._lock:
            known = self._known(bucket, key)
            if known is None or known.stamp != stamp or path in self._quarantined or not path.exists():
                return False
            self._on_step("quarantine")
            self._set_aside(path)
            self._unreadable.discard(path)
            self._quarantined[path] = (bucket, key)
        return True

    def read(self, bucket: str, key: str, *, verify: bool) -> tuple[Record, bytes]:
        """The newest version and its data, as one file had them.

        With `verify` the data is compared with the record's checksum. Raises Quarantined, Damaged, OSError.
        """
        path = self._path(bucket, key)
        self._disk.read()
        if path in self._quarantined:
            raise Quarantined("its file is in quarantine")
        with path.open("rb", buffering=0) as file:
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
        there = record is not None and not record.deleted and self.is_sound(bucket, key)
        if record is None or not there or not (0 <= offset < record.size and 0 <= bit < 8):
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

    def _known(self, bucket: str, key: str) -> Record | None:
        return self._records.get(bucket, {}).get(key) if key else self._buckets.get(bucket)

    def _wants(self, record: Record, path: Path) -> bool:
        """Whether a version is newer than what is there, or heals it."""
        known = self._known(record.bucket, record.key)
        if known is None or path in self._unreadable:
            return True
        return record.stamp > known.stamp or (record.stamp == known.stamp and path in self._quarantined)

    def _aside(self, path: Path) -> Path:
        return self._root / "quarantine" / path.relative_to(self._root)

    def _set_aside(self, path: Path) -> None:
        aside = self._aside(path)
        aside.parent.mkdir(parents=True, exist_ok=True)
        path.replace(aside)
        _sync_folder(aside.parent)
        _sync_folder(path.parent)
        self._unreadable.add(path)

    def _recall(self, aside: Path) -> None:
        """What a file in quarantine means after a restart: evidence of what was healed, or a key still damaged."""
        path = self._root / aside.relative_to(self._root / "quarantine")
        if path.exists():
            self._keep_evidence(aside)
            return
        try:
            record = _read_record(aside)
        except Damaged:
            self._unreadable.add(path)
            return
        self._unreadable.discard(path)
        self._quarantined[path] = (record.bucket, record.key)
        self._remember(record)

    def _heal(self, path: Path) -> None:
        if path in self._unreadable or path in self._quarantined:
            self._unreadable.discard(path)
            self._quarantined.pop(path, None)
            self._keep_evidence(self._aside(path))

    def _keep_evidence(self, aside: Path) -> None:
        if aside.exists() and aside not in self._evidence:
            self._evidence.append(aside)
        while len(self._evidence) > _EVIDENCE_MAX:
            self._evidence.pop(0).unlink(missing_ok=True)

    def _remember(self, record: Record) -> None:
        if not record.key:
            self._buckets[record.bucket] = record
            return
        records = self._records.setdefault(record.bucket, {})
        if record.key not in records:
            insort(self._keys.setdefault(record.bucket, []), record.key)
        records[record.key] = record


def _sealed(record: Record, data: bytes) -> Record:
    return msgspec.structs.replace(record, size=len(data), crc=crc(data))


def _write(path: Path, *parts: bytes, on_sync: Callable[[], None]) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        for part in parts:
            view = memoryview(part)
            while view:
                view = view[os.write(fd, view) :]
        on_sync()
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
