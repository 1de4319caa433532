"""Quorums over replicas that fail, hang or lag behind."""

import asyncio
import itertools

import pytest

from straybit_nodes.storage import coordinator as module
from straybit_nodes.storage.coordinator import Coordinator
from straybit_nodes.storage.errors import S3Error
from straybit_nodes.storage.listing import Batch, Summary, parse_list
from straybit_nodes.storage.placement import holders
from straybit_nodes.storage.record import Record, make_stamp
from straybit_nodes.storage.replica import ReplicaError

DEADLINE_S = 0.35
"""A replica that hangs costs a third of a second."""


class Fake:
    """A replica in memory: `mode` is `up`, `down` (fails) or `hung` (never answers)."""

    def __init__(self, node, mode="up"):
        self.node = node
        self.mode = mode
        self.kept = {}
        self.asked = []

    async def _answer(self, what):
        self.asked.append(what)
        if self.mode == "down":
            raise ReplicaError("down")
        if self.mode == "hung":
            await asyncio.Event().wait()

    async def put(self, record, data):
        await self._answer("put")
        known = self.kept.get((record.bucket, record.key))
        if known is None or known[0].stamp < record.stamp:
            self.kept[record.bucket, record.key] = (record, data)

    async def find(self, bucket, key):
        await self._answer("find")
        return self.kept.get((bucket, key), (None,))[0]

    async def fetch(self, bucket, key):
        await self._answer("fetch")
        return self.kept.get((bucket, key))

    async def scan(self, bucket, prefix, after, limit):
        await self._answer("scan")
        items = [
            Summary(key, record.stamp, record.deleted, 0, "")
            for (held, key), (record, _) in sorted(self.kept.items())
            if held == bucket and key > after and key.startswith(prefix) and key
        ]
        return Batch(tuple(items[:limit]), more=len(items) > limit)

    async def buckets(self):
        await self._answer("buckets")
        return tuple(record for (_, key), (record, _) in self.kept.items() if not key)


def region(*modes):
    fakes = [Fake(f"storage-{n}", mode) for n, mode in enumerate(modes, 1)]
    ticks = itertools.count(1)
    return Coordinator("storage-1", fakes, deadline_s=DEADLINE_S, now_ns=lambda: next(ticks)), fakes


def record(stamp, key="k", *, deleted=False):
    return Record(bucket="photos", key=key, stamp=make_stamp(stamp, "storage-1"), deleted=deleted)


MODES = list(itertools.product(["up", "down", "hung"], repeat=3))


@pytest.mark.parametrize("modes", MODES)
def test_a_write_wants_two_of_three(modes):
    """A write is acknowledged exactly when two holders have it, whichever fail or hang."""
    coordinator, fakes = region(*modes)
    write = coordinator.write(record(1), b"data")
    if modes.count("up") >= 2:
        asyncio.run(write)
        assert sum(bool(fake.kept) for fake in fakes) == modes.count("up")
    else:
        with pytest.raises(S3Error) as refused:
            asyncio.run(write)
        assert refused.value.code == "ServiceUnavailable"


@pytest.mark.parametrize("before", [modes for modes in MODES if modes.count("up") >= 2 and "hung" not in modes])
@pytest.mark.parametrize("after", MODES)
def test_a_read_sees_every_acknowledged_write_or_fails(before, after):
    """Whoever was away at the write and is away at the read: the newest version, or an error, never an older one."""
    coordinator, fakes = region("up", "up", "up")
    asyncio.run(coordinator.write(record(1), b"old"))
    for fake, mode in zip(fakes, before, strict=True):
        fake.mode = mode
    asyncio.run(coordinator.write(record(2), b"new"))
    for fake, mode in zip(fakes, after, strict=True):
        fake.mode = mode
    read = coordinator.fetch("photos", "k")
    if after.count("up") >= 2:
        assert asyncio.run(read) == (record(2), b"new")
    else:
        with pytest.raises(S3Error):
            asyncio.run(read)


def test_a_key_is_absent_only_if_two_say_so():
    """With one holder to ask, nothing can be said about a key."""
    coordinator, _ = region("up", "up", "down")
    assert asyncio.run(coordinator.fetch("photos", "k")) is None
    coordinator, _ = region("up", "down", "down")
    with pytest.raises(S3Error):
        asyncio.run(coordinator.fetch("photos", "k"))


def test_a_deleted_key_stays_deleted_though_one_missed_it():
    """A holder that missed a delete cannot bring the object back."""
    coordinator, fakes = region("up", "up", "up")
    asyncio.run(coordinator.write(record(1), b"data"))
    fakes[0].mode = "down"
    asyncio.run(coordinator.write(record(2, deleted=True)))
    fakes[0].mode = "up"
    assert asyncio.run(coordinator.fetch("photos", "k")) is None
    assert asyncio.run(coordinator.find("photos", "k")) is None
    page = asyncio.run(coordinator.page("photos", parse_list({})))
    assert page.contents == ()


def test_a_healthy_read_asks_two_and_no_more():
    """The third holder is spared as long as two answer."""
    coordinator, fakes = region("up", "up", "up")
    asyncio.run(coordinator.write(record(1), b"data"))
    for fake in fakes:
        fake.asked.clear()
    asyncio.run(coordinator.fetch("photos", "k"))
    assert [bool(fake.asked) for fake in fakes].count(True) == 2
    assert fakes[0].asked == ["fetch"]


@pytest.mark.parametrize("missing", [(), (2,), (2, 3)])
def test_a_list_may_miss_one_node_of_the_region(missing):
    """With one node away a list has every acknowledged object; with two it is refused."""
    coordinator, fakes = region("up", "up", "up", "up", "up")
    keys = [f"key-{n}" for n in range(20)]
    for n, key in enumerate(keys):
        fakes[n % 5].mode = "down"
        if (
            sum(fake.mode == "up" for fake in fakes if fake.node in holders([f.node for f in fakes], "photos", key))
            >= 2
        ):
            asyncio.run(coordinator.write(record(1, key), b""))
        fakes[n % 5].mode = "up"
    for n in missing:
        fakes[n].mode = "down"
    listing = coordinator.page("photos", parse_list({}))
    if len(missing) < 2:
        assert [item.key for item in asyncio.run(listing).contents] == sorted(keys)
    else:
        with pytest.raises(S3Error):
            asyncio.run(listing)


def test_a_bucket_wants_a_majority_and_is_then_known_here():
    """A bucket made elsewhere is found, kept, and taken at its word from then on."""
    coordinator, fakes = region("up", "up", "up")
    made = Record(bucket="photos", key="", stamp=make_stamp(1, "storage-2"))
    fakes[1].kept["photos", ""] = (made, b"")
    fakes[2].kept["photos", ""] = (made, b"")
    assert asyncio.run(coordinator.bucket("photos")) == made
    fakes[1].mode = fakes[2].mode = "down"
    assert asyncio.run(coordinator.bucket("photos")) == made
    with pytest.raises(S3Error):
        asyncio.run(coordinator.bucket("unknown"))
    with pytest.raises(S3Error):
        asyncio.run(coordinator.write_bucket(Record(bucket="other", key="", stamp=make_stamp(1, "storage-1"))))


def test_a_defect_of_ours_is_not_taken_for_a_failed_replica():
    """An exception that no replica may raise comes out as it is."""
    coordinator, fakes = region("up", "up", "up")

    async def broken(*_):
        raise ZeroDivisionError

    fakes[0].fetch = broken
    with pytest.raises(ZeroDivisionError):
        asyncio.run(coordinator.fetch("photos", "k"))


def test_holders_are_spread_and_keep_their_keys():
    """Every node holds its share of keys, and a node more moves only the keys it takes."""
    nodes = [f"storage-{n}" for n in range(1, 9)]
    before = {key: holders(nodes, "photos", str(key)) for key in range(800)}
    shares = [sum(node in held for held in before.values()) for node in nodes]
    assert min(shares) > 200
    assert max(shares) < 400
    for key, held in before.items():
        now = holders([*nodes, "storage-9"], "photos", str(key))
        assert "storage-9" in now or now == held
    assert holders(nodes[:2], "photos", "k") in {("storage-1", "storage-2"), ("storage-2", "storage-1")}


def test_a_page_looks_beyond_many_delete_markers(monkeypatch):
    """A page is filled over several rounds where most of what replicas have is deleted."""
    monkeypatch.setattr(module, "MAX_KEYS", 3)
    coordinator, _ = region("up", "up", "up")
    for n in range(12):
        asyncio.run(coordinator.write(record(1, f"k{n:02}", deleted=n % 6 != 5)))
    page = asyncio.run(coordinator.page("photos", parse_list({})))
    assert [item.key for item in page.contents] == ["k05", "k11"]
    assert page.next_token == ""
    monkeypatch.setattr(module, "_PULLS", 1)
    page = asyncio.run(coordinator.page("photos", parse_list({})))
    assert page.contents == ()
    after = asyncio.run(coordinator.page("photos", parse_list({"continuation-token": page.next_token})))
    assert [item.key for item in after.contents] == ["k05"]
