"""The table of June 2008: (client) x (where a bit changes) x (defences on or off), each cell with its outcome.

By the S3 API of 2026 and by what botocore sends and checks (docs/storage.md):
a write is refused where its client sent a digest and the node looks at it;
a read is caught where the node kept a checksum, and the client asks for it;
what rots on a disk is caught by the node that reads it. Everything else is silent.
"""

import pytest

from straybit.clients import MODES
from straybit.faults import BitFlip, toxic_of
from straybit_nodes.defences import GROUPS
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.storage.placement import holders
from straybit_nodes.topology import Region, Topology

pytestmark = [pytest.mark.alone, pytest.mark.proof]

BUCKET = "table"
BODY = b"a body of some bytes, one bit of which will change"
TOPOLOGY = Topology((Region("eu", 3, 1),))
PATIENCE = 4.0
"""No cell is about time-outs, and a copy that was slow to come would have another one read in its place."""
STORAGE = ("storage-1", "storage-2", "storage-3")
NEAR, FAR = ["client:lb-1"], [f"lb-1:{node}" for node in STORAGE]

REFUSED = {
    "2008-md5": "BadDigest",
    "today-signed": "XAmzContentSHA256Mismatch",
    "today-crc32": "BadDigest",
    "today-sha256": "BadDigest",
    "today-default": "BadDigest",
}
"""Modes whose writes carry a digest, and S3's code when the body is another."""
LOOKING = {"today-crc32", "today-sha256", "today-default"}
"""Modes that leave a checksum with the object, ask for it, and compare."""


@pytest.fixture(scope="module")
def clusters(backend):
    rules = Rules().patient(PATIENCE)
    groups = {True: "all", False: "none"}
    started = {key: backend.start(TOPOLOGY, defences=GROUPS[name], rules=rules) for key, name in groups.items()}
    yield started
    for cluster in started.values():
        cluster.close()


class Cell:
    """One cell: a cluster, a client in a mode, a key of its own."""

    def __init__(self, cluster, mode, key):
        self.cluster = cluster
        self.client = cluster.keep(f"table:{mode}", lambda: cluster.s3("lb-1", mode))
        self.client.create_bucket(BUCKET)
        self.key = key
        self.before = {name: self.count(name) for name in ("content-checksum", "read-verify", "replica-compare")}

    def count(self, defence):
        """What this defence has noticed, on all storage nodes together."""
        controls = [self.cluster.control(name) for name in STORAGE]
        return sum(control.metric("straybit_detections_total", defence=defence) for control in controls)

    def noticed(self):
        """What each defence noticed in this cell, those that noticed nothing left out."""
        now = {name: self.count(name) - before for name, before in self.before.items()}
        return {name: count for name, count in now.items() if count}

    def damaged(self, links, message, direction, call):
        """Make a call with the first bit of one body changed on its way over one of the links."""
        for link in links:
            flip = BitFlip(link, message=message, field="body", bit=0, direction=direction)
            toxic = toxic_of(flip, self.cluster.topology)
            self.cluster.proxy.add_toxic(
                link, toxic.kind, toxic.attributes, stream=toxic.stream, name=f"cell-{self.key}"
            )
        try:
            return call()
        finally:
            applied = [len(self.cluster.proxy.receipts(link, toxic=f"cell-{self.key}")) for link in links]
            for link in links:
                self.cluster.proxy.remove_toxic(link, f"cell-{self.key}")
            assert sum(applied) == 1, "the fault was not felt exactly once"

    def put(self):
        return self.client.put(BUCKET, self.key, BODY)

    def get(self):
        return self.client.get(BUCKET, self.key)


def changed(body):
    return bytes([body[0] ^ 1]) + body[1:]


PLACES = {"client-balancer": NEAR, "balancer-storage": FAR}


@pytest.mark.parametrize("defended", [True, False], ids=["on", "off"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("mode", MODES)
def test_a_put_damaged_on_its_way(clusters, mode, place, defended):
    """Refused, and nothing stored, where the client sent a digest and it is looked at; else wrong for ever."""
    cell = Cell(clusters[defended], mode, f"put-{mode}-{place}")
    reply = cell.damaged(PLACES[place], "request", "up", cell.put)
    if defended and mode in REFUSED:
        assert (reply.status, reply.code) == (400, REFUSED[mode])
        assert cell.get().code == "NoSuchKey"
        assert cell.noticed() == {"content-checksum": 1}
    else:
        assert reply.ok
        assert cell.get().body == changed(BODY)
        assert cell.noticed() == {}


@pytest.mark.parametrize("defended", [True, False], ids=["on", "off"])
@pytest.mark.parametrize("mode", MODES)
def test_an_object_damaged_at_rest(clusters, mode, defended):
    """The node that reads it finds it and another copy is served; or it is served as it is, and nobody knows."""
    cell = Cell(clusters[defended], mode, f"rest-{mode}")
    assert cell.put().ok
    first = holders(STORAGE, BUCKET, cell.key)[0]
    cell.cluster.control(first).rot(BUCKET, cell.key, 0, 0)
    reply = cell.get()
    assert reply.ok
    assert reply.body == (BODY if defended else changed(BODY))
    assert cell.noticed() == ({"read-verify": 1} if defended else {})


@pytest.mark.parametrize("defended", [True, False], ids=["on", "off"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("mode", MODES)
def test_a_get_damaged_on_its_way(clusters, mode, place, defended):
    """Caught by the client that compares, where the node kept what it compares with; else it gets another body."""
    cell = Cell(clusters[defended], mode, f"get-{mode}-{place}")
    assert cell.put().ok
    reply = cell.damaged(PLACES[place], "reply", "down", cell.get)
    if defended and mode in LOOKING:
        assert reply.noticed_by == "client:checksum"
    else:
        assert reply.ok
        assert reply.body == changed(BODY)
    assert cell.noticed() == {}
    assert cell.get().body == BODY
