"""Storage nodes, gossip nodes and a balancer together on loopback."""

import pytest
from botocore.exceptions import ClientError

from .conftest import mini_cluster


@pytest.fixture
def s3(mini):
    client = mini.s3()
    client.create_bucket(Bucket="photos")
    return client


def holders_of(mini, key):
    """The storage nodes that have `key`, and the etags they have it under."""
    found = {}
    for name in filter(lambda name: name.startswith("storage"), mini.running):
        found.update((name, o["etag"]) for o in mini.control(name, "GET", "/objects") if o["key"] == key)
    return found


def all_hold(mini, key, count=3):
    return lambda: len(holders_of(mini, key)) == count


def test_what_is_put_through_the_balancer_is_on_every_holder(mini, s3):
    """A write reaches three nodes, a read gives it back, and the balancer logs one line for each."""
    s3.put_object(Bucket="photos", Key="a key/ü", Body=b"some bytes")
    assert s3.get_object(Bucket="photos", Key="a key/ü")["Body"].read() == b"some bytes"
    mini.wait_until(all_hold(mini, "a key/ü"))
    assert len(set(holders_of(mini, "a key/ü").values())) == 1
    put, get = mini.events("lb-1", "request")[-2:]
    assert (put["method"], put["target"], put["status"]) == ("PUT", "/photos/a%20key/%C3%BC", 200)
    assert put["checksum"] == "x-amz-checksum-crc32"
    assert (get["method"], get["checksum"], get["tries"]) == ("GET", "", 1)


def test_a_rotten_copy_is_passed_over_for_a_good_one(mini, s3):
    """Whichever holder rots, the client gets the right bytes, and the damage is counted once."""
    s3.put_object(Bucket="photos", Key="k", Body=b"some bytes")
    mini.wait_until(all_hold(mini, "k"))
    for number in (1, 2):
        mini.control(f"storage-{number}", "POST", "/rot", {"bucket": "photos", "key": "k", "offset": 0, "bit": 0})
    for number in (1, 2, 3):
        got = mini.s3(f"storage-{number}").get_object(Bucket="photos", Key="k")
        assert got["Body"].read() == b"some bytes"
    logged = [len(mini.events(f"storage-{number}", "refused")) for number in (1, 2, 3)]
    assert logged[0] >= 1
    assert logged[1] >= 1
    assert logged[2] == 0


def test_a_crashed_server_loses_nothing(mini, s3):
    """With one storage and gossip node gone every object is still read, written, listed and deleted."""
    keys = [f"k{n}" for n in range(6)]
    for key in keys:
        s3.put_object(Bucket="photos", Key=key, Body=key.encode())
    mini.kill("storage-2")
    mini.kill("gossip-2")
    mini.wait_until(lambda: "gossip-2" in mini.control("lb-1", "GET", "/view")["marked"])
    for key in keys:
        assert s3.get_object(Bucket="photos", Key=key)["Body"].read() == key.encode()
        s3.put_object(Bucket="photos", Key=key, Body=b"new " + key.encode())
    s3.delete_object(Bucket="photos", Key="k0")
    assert [item["Key"] for item in s3.list_objects_v2(Bucket="photos")["Contents"]] == keys[1:]
    mini.start("gossip-2", "storage-2")
    mini.wait_known()
    mini.wait_until(lambda: not mini.control("gossip-1", "GET", "/view")["marked"])
    stale = mini.s3("storage-2")
    mini.wait_until(lambda: stale.list_objects_v2(Bucket="photos")["KeyCount"] == 5)
    assert stale.get_object(Bucket="photos", Key="k1")["Body"].read() == b"new k1"
    with pytest.raises(ClientError, match="NoSuchKey"):
        stale.get_object(Bucket="photos", Key="k0")


def test_two_crashed_servers_are_an_error_and_never_an_old_value(mini, s3):
    """Without a quorum a request fails: nobody is told that an object is absent."""
    s3.put_object(Bucket="photos", Key="k", Body=b"data")
    for number in (2, 3):
        mini.kill(f"storage-{number}")
        mini.kill(f"gossip-{number}")
    for call in (
        lambda: s3.get_object(Bucket="photos", Key="k"),
        lambda: s3.put_object(Bucket="photos", Key="k", Body=b""),
    ):
        with pytest.raises(ClientError) as failed:
            call()
        assert failed.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503


def test_a_stopped_cluster_is_silent_and_comes_back_whole(mini, s3):
    """Stop, clear and resume of every node: requests get 503 in between, and no object is lost."""
    s3.put_object(Bucket="photos", Key="k", Body=b"data")
    for name in mini.running:
        assert mini.control(name, "POST", "/stop") == {"state": "stopped"}
    assert mini.request("lb-1", "GET", "/photos/k").status == 503
    assert mini.request("storage-1", "GET", "/photos/k").status == 503
    for name in mini.running:
        mini.control(name, "POST", "/clear")
    assert mini.control("storage-1", "GET", "/view")["entries"] == {}
    for name in mini.running:
        mini.control(name, "POST", "/resume", {})
    mini.wait_known()
    assert s3.get_object(Bucket="photos", Key="k")["Body"].read() == b"data"


def test_writes_survive_a_restart_of_everything(tmp_path):
    """What was acknowledged is on disk: a cluster started again over the same folders has it."""
    with mini_cluster(tmp_path) as mini:
        s3 = mini.s3()
        s3.create_bucket(Bucket="photos")
        s3.put_object(Bucket="photos", Key="k", Body=b"data", Metadata={"a": "b"})
        names = list(mini.running)
        for name in names:
            mini.kill(name)
        mini.start(*names)
        mini.wait_known()
        got = s3.get_object(Bucket="photos", Key="k")
        assert (got["Body"].read(), got["Metadata"]) == (b"data", {"a": "b"})


def test_more_servers_than_holders_share_the_keys(tmp_path):
    """With five servers each object is on three, and any node answers for any key."""
    with mini_cluster(tmp_path, servers=5) as mini:
        s3 = mini.s3()
        s3.create_bucket(Bucket="photos")
        for n in range(8):
            s3.put_object(Bucket="photos", Key=f"k{n}", Body=b"data %d" % n)
        for n in range(8):
            mini.wait_until(all_hold(mini, f"k{n}"))
        for number in range(1, 6):
            near = mini.s3(f"storage-{number}")
            assert [near.get_object(Bucket="photos", Key=f"k{n}")["Body"].read() for n in range(8)] == [
                b"data %d" % n for n in range(8)
            ]
            assert near.list_objects_v2(Bucket="photos")["KeyCount"] == 8


def test_rubbish_at_the_balancer_costs_nobody_else(mini, s3):
    """A client that sends rubbish gets a 400 of its own; others are served on."""
    assert mini.request("lb-1", "PUT", "/UPPER/k", body=b"x").status == 400
    assert mini.request("lb-1", "PUT", "/photos/%FF", body=b"x").status == 400
    assert mini.request("lb-1", "PATCH", "/photos/k").status == 405
    s3.put_object(Bucket="photos", Key="k", Body=b"fine")
    assert s3.get_object(Bucket="photos", Key="k")["Body"].read() == b"fine"
