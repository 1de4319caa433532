"""Mending, scrubbing and comparing, over three nodes' stores on real files in one loop."""

import asyncio
import itertools

import pytest

from straybit_nodes.storage import mender as module
from straybit_nodes.storage.coordinator import Coordinator
from straybit_nodes.storage.errors import S3Error
from straybit_nodes.storage.listing import parse_list
from straybit_nodes.storage.mender import Mender
from straybit_nodes.storage.parts import part_key, parts_bucket
from straybit_nodes.storage.record import Record, make_stamp
from straybit_nodes.storage.replica import LocalReplica, ReplicaError
from straybit_nodes.storage.scrub import FILE_COST, Scrubber, pause_s
from straybit_nodes.storage.store import Store

UPLOAD = "0" * 32


class Far:
    """Another node's replica: reached unless it is down."""

    def __init__(self, node):
        self._node = node
        self.node = node.name

    def __getattr__(self, name):
        async def call(*arguments, **named):
            if self._node.down:
                raise ReplicaError("down")
            return await getattr(self._node.local, name)(*arguments, **named)

        return call


class Node:
    """A store, a coordinator and a mender."""

    def __init__(self, folder, number, *, verify=True):
        self.name = f"storage-{number}"
        self.down = False
        self.found = []
        self.conflicts = []
        self.mended = []
        self.worked = asyncio.Event()
        self.store = Store(folder / self.name)
        self.store.open()
        self.local = LocalReplica(self.name, self.store, verify=verify, on_damage=self.on_damage)
        self.scrubber = Scrubber(self.store, self.on_damage)

    def join(self, nodes, *, compare):
        replicas = tuple(self.local if node is self else Far(node) for node in nodes)
        ticks = itertools.count(1)
        self.coordinator = Coordinator(
            self.name,
            replicas,
            compare=compare,
            now_ns=lambda: next(ticks),
            on_divergence=self.on_divergence,
            on_conflict=lambda bucket, key, why: self.conflicts.append(why),
        )
        self.mender = Mender(self.name, self.coordinator, replicas, self.store, on_mended=self.on_mended)

    def on_divergence(self, bucket, key):
        self.mender.note(bucket, key)

    def on_mended(self, bucket, key):
        self.mended.append((bucket, key))
        self.worked.set()

    def on_damage(self, bucket, key, why):
        self.found.append((bucket, key))
        self.mender.note(bucket, key)

    def read(self, key):
        try:
            return self.store.read("photos", key, verify=True)[1]
        except FileNotFoundError:
            return None


class Region:
    def __init__(self, folder, *, compare=True, verify=True):
        self.nodes = [Node(folder, number, verify=verify) for number in (1, 2, 3)]
        for node in self.nodes:
            node.join(self.nodes, compare=compare)
        self.run(self.nodes[0].coordinator.write_bucket(Record(bucket="photos", key="", stamp=stamp(1))))

    def run(self, *work):
        async def all_of():
            results = [await one for one in work]
            for node in self.nodes:
                await node.coordinator.idle()
            return results

        return asyncio.run(all_of())

    def write(self, key, body, number=1, *, missed=()):
        for node in missed:
            node.down = True
        record = Record(bucket="photos", key=key, stamp=stamp(number), deleted=body is None, etag="e")
        self.run(self.nodes[0].coordinator.write(record, body or b""))
        for node in missed:
            node.down = False

    def copies(self, key):
        return [node.read(key) for node in self.nodes]


def stamp(number):
    return make_stamp(number, "storage-1")


@pytest.fixture
def region(tmp_path):
    return Region(tmp_path)


def test_a_hint_brings_what_a_node_missed(region):
    """A write that one holder missed is brought to it by the coordinator that noticed, once it is back."""
    one, _, three = region.nodes
    region.write("k", b"data", missed=[three])
    three.down = True
    assert region.run(one.mender.work()) == [False]
    three.down = False
    assert region.run(one.mender.work()) == [True]
    assert region.copies("k") == [b"data"] * 3
    assert one.mended == [("photos", "k")]
    assert region.run(one.mender.work()) == [True]
    assert one.mended == [("photos", "k")]


def test_a_node_that_returns_asks_for_what_nobody_remembers(region):
    """New versions, deletions, buckets and uploads that a node missed come to it by a comparison of its own."""
    _, two, three = region.nodes
    region.write("new", b"data", missed=[three])
    region.write("gone", b"data")
    region.write("gone", None, 2, missed=[three])
    three.down = True
    region.run(two.coordinator.write_bucket(Record(bucket="second", key="", stamp=stamp(1))))
    three.down = False
    three.mender._round_wanted = True
    assert region.run(three.mender.work()) == [True]
    assert three.read("new") == b"data"
    assert three.store.find("photos", "gone").deleted
    assert three.store.bucket("second") is not None


def test_a_node_that_returns_gives_what_others_lack(region):
    """What reached one holder alone, its coordinator dead before it reached two, comes to all."""
    one = region.nodes[0]
    one.store.put(Record(bucket="photos", key="k", stamp=stamp(1), etag="e"), b"data")
    one.mender._round_wanted = True
    assert region.run(one.mender.work()) == [True]
    assert region.copies("k") == [b"data"] * 3


def test_a_read_whose_holders_differ_is_mended(region):
    """Read repair: a read that found one holder behind says so."""
    one, two, three = region.nodes
    region.write(
        "k",
        b"data",
        missed=[
            two,
        ][:1],
    )
    one.mender._keys.clear()
    three.down = True
    assert region.run(one.coordinator.fetch("photos", "k"))[0][1] == b"data"
    three.down = False
    assert region.run(one.mender.work()) == [True]
    assert two.read("k") == b"data"


@pytest.mark.parametrize("finder", ["read", "scrub"])
def test_a_rotten_copy_is_replaced_from_a_sound_one(region, finder):
    """Damage found by a read or by the scrubber goes to quarantine, is counted once, and is healed bit for bit."""
    one = region.nodes[0]
    region.write("k", b"data")
    one.store.rot("photos", "k", 2, 5)
    if finder == "scrub":
        assert region.run(one.scrubber.one_pass(1e9)) == [(2, 1)]
        assert region.run(one.scrubber.one_pass(1e9)) == [(2, 0)]
    for _ in range(2):
        assert region.run(one.coordinator.fetch("photos", "k"))[0][1] == b"data"
    assert one.found == [("photos", "k")]
    assert region.run(one.mender.work()) == [True]
    assert region.copies("k") == [b"data"] * 3
    assert one.store.damaged() == ()


def test_a_record_that_cannot_be_read_after_a_restart_is_healed(region, tmp_path):
    """A key whose very name is lost is found by comparing with the others, and is no longer in the way of lists."""
    one = region.nodes[0]
    region.write("k", b"data")
    path = one.store._path("photos", "k")
    path.write_bytes(path.read_bytes()[:-1])
    one.store.__init__(tmp_path / one.name)
    one.store.open()
    assert one.store.unnamed == 1
    assert region.run(one.mender.work()) == [True]
    assert (one.store.unnamed, one.read("k")) == (0, b"data")


def test_a_record_nobody_else_has_is_given_up_and_kept_as_evidence(region, tmp_path):
    """What was never acknowledged by two is no reason to refuse lists for ever; with a node away it still is."""
    one, _, three = region.nodes
    one.store.put(Record(bucket="photos", key="only here", stamp=stamp(1)), b"data")
    path = one.store._path("photos", "only here")
    path.write_bytes(b"rubbish")
    one.store.__init__(tmp_path / one.name)
    one.store.open()
    three.down = True
    region.run(one.mender.work())
    assert one.store.unnamed == 1
    three.down = False
    region.run(one.mender.work())
    assert one.store.unnamed == 0
    assert one.store.list("photos", "", "", 9).items == ()
    assert [file.read_bytes() for file in (tmp_path / one.name / "lost").iterdir()] == [b"rubbish"]


def test_nothing_older_takes_the_place_of_what_was_lost(region):
    """With the only other sound copy out of reach a damaged key waits: the third holder's older version is not it."""
    one, two, three = region.nodes
    region.write("k", b"old")
    region.write("k", b"new", 2, missed=[three])
    one.store.rot("photos", "k", 0, 0)
    region.run(one.scrubber.one_pass(1e9))
    two.down = True
    assert region.run(one.mender.work()) == [False]
    with pytest.raises(S3Error):
        region.run(one.coordinator.fetch("photos", "k"))
    two.down = False
    assert region.run(one.mender.work()) == [True]
    assert region.copies("k") == [b"new"] * 3


def flip_silently(node, key):
    """One bit of a copy and its own checksum: damage from before the checksum was made."""
    record = node.store.find("photos", key)
    body = bytearray(node.read(key))
    body[0] ^= 1
    node.store.drop("photos", key, keep="")
    node.store.put(record, bytes(body))


def test_replica_compare_refuses_what_only_one_of_three_has(region):
    """A copy that differs under a checksum of its own is outvoted, named, counted, and mended."""
    one = region.nodes[0]
    region.write("k", b"data")
    flip_silently(one, "k")
    assert one.read("k") == b"eata"
    assert region.run(one.coordinator.fetch("photos", "k"))[0][1] == b"data"
    assert len(one.conflicts) == 1
    assert region.run(one.mender.work()) == [True]
    assert region.copies("k") == [b"data"] * 3
    assert region.run(one.coordinator.find("photos", "k"))[0].size == 4
    assert len(one.conflicts) == 1


def test_replica_compare_has_no_answer_where_no_two_agree(region):
    """Two copies that differ and none to decide between them are an error, and no value."""
    one, two, three = region.nodes
    region.write("k", b"data")
    flip_silently(one, "k")
    for silent in (two, three):
        silent.down = True
        with pytest.raises(S3Error) as refused:
            region.run(one.coordinator.fetch("photos", "k"))
        assert refused.value.code == "ServiceUnavailable"
        silent.down = False


def test_without_replica_compare_the_first_copy_is_believed(tmp_path):
    """Off, the damaged copy is what a client gets, and nobody says a word."""
    region = Region(tmp_path, compare=False)
    one = region.nodes[0]
    region.write("k", b"data")
    flip_silently(one, "k")
    assert region.run(one.coordinator.fetch("photos", "k"))[0][1] == b"eata"
    assert one.conflicts == []


def test_replica_compare_sees_rot_that_reads_do_not_verify(tmp_path):
    """With `read-verify` off the bytes are still held against what another holder has."""
    region = Region(tmp_path, verify=False)
    one = region.nodes[0]
    region.write("k", b"data")
    one.store.rot("photos", "k", 0, 0)
    assert region.run(one.coordinator.fetch("photos", "k"))[0][1] == b"data"
    assert len(one.conflicts) == 1


def test_a_clock_that_is_behind_does_not_lose_what_it_acknowledges(region):
    """A version whose stamp is older than what two holders have is given a newer one before it is acknowledged."""
    one, two, three = region.nodes
    region.write("k", b"by a clock that is ahead", 10**18, missed=[three])
    late = Record(bucket="photos", key="k", stamp=stamp(5), etag="e")
    region.run(three.coordinator.write(late, b"new"))
    assert region.copies("k") == [b"new"] * 3
    assert region.run(one.coordinator.fetch("photos", "k"))[0][1] == b"new"
    assert two.store.find("photos", "k").stamp > stamp(10**18)


def test_parts_go_with_their_upload(region):
    """A holder that gets an upload's delete marker drops the parts, also late ones and those it is to mend."""
    one, _, three = region.nodes
    bucket = parts_bucket("photos")

    def part(number, count=1, *, deleted=False):
        return Record(bucket=bucket, key=part_key("k", UPLOAD, number), stamp=stamp(count), deleted=deleted)

    for number in range(3):
        region.run(one.coordinator.write(part(number), b"part"))
    three.down = True
    region.run(one.coordinator.write(part(0, 2, deleted=True)))
    three.down = False
    assert [item.key for item in one.store.list(bucket, "", "", 9).items] == [part(0).key]
    assert len(three.store.list(bucket, "", "", 9).items) == 3
    region.run(one.coordinator.write(part(1, 5), b"late"))
    three.mender._round_wanted = True
    assert region.run(three.mender.work()) == [True]
    for node in region.nodes:
        assert [item.key for item in node.store.list(bucket, "", "", 9).items] == [part(0).key]
    page = region.run(one.coordinator.page(bucket, parse_list({})))[0]
    assert page.contents == ()


def test_too_many_hints_become_a_comparison(region, monkeypatch):
    """The list of keys to mend has a limit; beyond it everything is compared instead, and nothing is forgotten."""
    monkeypatch.setattr(module, "KEYS_MAX", 2)
    one, _, three = region.nodes
    for number in range(5):
        region.write(f"k{number}", b"data", missed=[three])
    assert one.mender.waiting == 3
    while region.run(one.mender.work()) != [True]:
        pass
    assert [three.read(f"k{number}") for number in range(5)] == [b"data"] * 5


def test_a_mender_works_by_itself_and_rests(region, monkeypatch):
    """Once started it mends what is noted, without being asked; with nothing to do it sends nothing."""
    for name in ("START_S", "PEER_PAUSE_S", "KEY_PAUSE_S"):
        monkeypatch.setattr(module, name, 0.0)
    one, _, three = region.nodes
    region.write("k", b"data", missed=[three])

    async def watch():
        one.mender.start()
        one.mender.start()
        async with asyncio.timeout(5):
            await one.worked.wait()
        await one.mender.stop()
        await one.mender.stop()

    asyncio.run(watch())
    assert three.read("k") == b"data"


@pytest.mark.parametrize(("size", "rate", "pause"), [(0, FILE_COST, 1.0), (FILE_COST, FILE_COST, 2.0)])
def test_scrubbing_stays_below_its_rate(size, rate, pause):
    """A file costs its bytes and the opening."""
    assert pause_s(size, rate) == pause
