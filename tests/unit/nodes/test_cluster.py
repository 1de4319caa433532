"""Storage nodes, gossip nodes and a balancer together on loopback."""


def test_what_is_put_through_the_balancer_is_on_two_nodes_at_least(mini):
    """A write is acknowledged by a quorum of holders, and a read through the balancer gives it back."""
    s3 = mini.s3()
    s3.create_bucket(Bucket="photos")
    s3.put_object(Bucket="photos", Key="a key/ü", Body=b"some bytes")
    assert s3.get_object(Bucket="photos", Key="a key/ü")["Body"].read() == b"some bytes"
    held = [mini.control(f"storage-{n}", "GET", "/objects") for n in (1, 2, 3)]
    assert sum([o["key"] for o in objects] == ["a key/ü"] for objects in held) >= 2
    line = mini.events("lb-1", "request")[-1]
    assert line["method"] == "GET"
    assert line["target"] == "/photos/a%20key/%C3%BC"
    assert line["status"] == 200
    assert line["tries"] == 1
