"""The store on real files."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from straybit_nodes.storage.record import Damaged, Record, footer, make_stamp, parse_footer
from straybit_nodes.storage.store import Store


def record(key="k", stamp=1, *, bucket="photos", **fields):
    return Record(bucket=bucket, key=key, stamp=make_stamp(stamp, "storage-1"), **fields)


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "node")
    store.open()
    return store


def reopened(store):
    again = Store(store._root)
    again.open()
    return again


def test_what_was_put_is_there_after_a_restart(store):
    """A version, its record and its data outlive the process."""
    store.put(record(etag="e", headers={"content-type": "text/plain"}, checksums={"crc32": "x"}), b"data")
    store.put(record("", bucket="photos"), b"")
    again = reopened(store)
    kept, data = again.read("photos", "k", verify=True)
    assert (data, kept.etag, kept.headers, kept.checksums, kept.size) == (
        b"data",
        "e",
        {"content-type": "text/plain"},
        {"crc32": "x"},
        4,
    )
    assert again.bucket("photos") is not None
    assert [r.key for r in again.objects()] == ["k"]


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=8, unique_by=lambda v: v[0]))
def test_the_newest_stamp_wins_in_any_order(tmp_path_factory, versions):
    """Versions and delete markers may come in any order: the largest stamp is what stays."""
    store = Store(tmp_path_factory.mktemp("store"))
    store.open()
    for stamp, deleted in versions:
        store.put(record(stamp=stamp, deleted=deleted), b"" if deleted else b"v%d" % stamp)
    stamp, deleted = max(versions)
    kept = store.find("photos", "k")
    assert (kept.stamp, kept.deleted) == (make_stamp(stamp, "storage-1"), deleted)
    assert store.read("photos", "k", verify=True)[1] == (b"" if deleted else b"v%d" % stamp)
    assert [r.stamp for r in reopened(store).objects()] == ([] if deleted else [kept.stamp])


def test_an_older_version_is_not_kept(store):
    """A write that comes late is told that it lost."""
    assert store.put(record(stamp=2), b"new")
    assert not store.put(record(stamp=1), b"old")
    assert not store.put(record(stamp=2), b"same")
    assert store.read("photos", "k", verify=True)[1] == b"new"


def test_a_write_is_synced_before_and_after_its_rename(store, monkeypatch):
    """A put returns only after file, rename and folder are on disk, in this order."""
    store.put(record("first"), b"")
    steps = []
    sync, replace = os.fsync, Path.replace

    def note_sync(fd):
        steps.append("folder" if Path(f"/proc/self/fd/{fd}").readlink().name == "photos" else "file")
        sync(fd)

    def note_replace(self, target):
        steps.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_replace)
    store.put(record(), b"data")
    assert steps == ["file", "rename", "folder"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_version(store, monkeypatch, step):
    """A disk that refuses leaves what was there, and no file behind."""
    store.put(record(stamp=1), b"old")

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os if step == "fsync" else Path, step, refuse)
    with pytest.raises(OSError, match="No space"):
        store.put(record(stamp=2), b"new")
    monkeypatch.undo()
    assert store.read("photos", "k", verify=True)[1] == b"old"
    assert not list((store._root / "tmp").iterdir())


def test_what_a_crash_left_half_written_is_removed(store):
    """A file that was never renamed is no version of anything."""
    (store._root / "tmp" / "7").write_bytes(b"half a fi")
    assert not reopened(store).objects()
    assert not list((store._root / "tmp").iterdir())


@pytest.mark.parametrize("key", ["../../escape", "/etc/passwd", "a/../../b", ".", "..", "nul\0byte", "x" * 1024])
def test_no_key_names_a_place_outside(store, key):
    """Whatever the key, its file lies in the bucket's folder."""
    store.put(record(key), b"data")
    files = [path for path in store._root.parent.rglob("*") if path.is_file()]
    assert [path.parent for path in files] == [store._root / "objects" / "photos"]
    assert store.read("photos", key, verify=True)[1] == b"data"


@given(st.binary(min_size=1, max_size=64), st.data())
def test_a_bit_that_rots_is_noticed_on_reading(tmp_path_factory, body, data):
    """Any flipped bit of the stored bytes is found when reads verify, and served when they do not."""
    store = Store(tmp_path_factory.mktemp("store"))
    store.open()
    store.put(record(), body)
    offset, bit = data.draw(st.integers(0, len(body) - 1)), data.draw(st.integers(0, 7))
    before, after = store.rot("photos", "k", offset, bit)
    assert (before, after) == (body[offset], body[offset] ^ 1 << bit)
    with pytest.raises(Damaged, match="checksum"):
        store.read("photos", "k", verify=True)
    assert store.read("photos", "k", verify=False)[1][offset] == after


@given(st.data())
def test_a_bit_that_rots_in_the_record_is_noticed(data):
    """Any flipped bit behind the data is found."""
    tail = footer(record(etag="e"))
    bit = data.draw(st.integers(0, 8 * len(tail) - 1))
    flipped = bytearray(tail)
    flipped[bit // 8] ^= 1 << bit % 8
    assert parse_footer(tail) == record(etag="e")
    with pytest.raises(Damaged):
        parse_footer(bytes(flipped))


@pytest.mark.parametrize("keep", [0, 10, -1])
def test_a_damaged_record_is_damaged_and_not_absent(store, keep):
    """A key whose file cannot be read on opening is an error, until it is written again."""
    store.put(record(stamp=1), b"data")
    (path,) = (store._root / "objects" / "photos").iterdir()
    path.write_bytes(path.read_bytes()[:keep])
    again = reopened(store)
    with pytest.raises(Damaged):
        again.find("photos", "k")
    with pytest.raises(Damaged):
        again.list("photos", "", "", 10)
    again.put(record(stamp=2), b"healed")
    assert again.read("photos", "k", verify=True)[1] == b"healed"
    assert again.find("photos", "k").size == 6


def test_rot_wants_a_bit_that_exists(store):
    """A fault cannot be aimed beside an object."""
    store.put(record(), b"data")
    for aim in (("photos", "other", 0, 0), ("photos", "k", 4, 0), ("photos", "k", -1, 0), ("photos", "k", 0, 8)):
        with pytest.raises(LookupError):
            store.rot(*aim)


def test_a_list_has_delete_markers_and_says_when_it_was_cut(store):
    """Keys come in order after a point, under a prefix, and no more than asked for."""
    for key in ("b/2", "a", "b/1", "c", "b/3"):
        store.put(record(key), b"")
    store.put(record("b/2", 2, deleted=True), b"")
    batch = store.list("photos", "b/", "b/1", 1)
    assert [(item.key, item.deleted, batch.more) for item in batch.items] == [("b/2", True, True)]
    assert [item.key for item in store.list("photos", "b/", "", 9).items] == ["b/1", "b/2", "b/3"]
    assert store.list("nowhere", "", "", 9).items == ()


def test_a_stamp_grows_even_when_the_clock_falls_back():
    """A new version is newer than the one before, whatever the clock says."""
    first = make_stamp(1000, "storage-1")
    assert make_stamp(5, "storage-2", first) > first
    assert make_stamp(2000, "storage-1", first) > make_stamp(1000, "storage-9")
