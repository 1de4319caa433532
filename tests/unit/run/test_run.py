"""What a scenario does to the world through its run: clients, the ledger, scans, samples."""

import pytest

from straybit import run as run_module
from straybit.clients import Reply
from straybit.ledger import digest
from straybit.ledger_client import BUCKET
from straybit.load import Sample

GONE = Reply(False, 0, "ReadTimeoutError")
BUSY = Reply(False, 503, "SlowDown")


def test_acknowledged_write_is_read_back_right(run, world):
    """What was written is right when it is read, and wrong when it comes back as something else."""
    assert run.put("k", b"body", balancer="lb-1").ok
    assert run.get("k", balancer="lb-1").verdict == "right"
    world.objects["k"] = b"Body"
    assert run.get("k", balancer="lb-1").verdict == "wrong"
    del world.objects["k"]
    assert run.get("k", balancer="lb-1").verdict == "lost"
    assert {bucket for _, _, bucket, _ in world.calls} == {BUCKET}


def test_4xx_refuses_the_write(run, world):
    """A write that was refused must not be there."""
    world.say("k", Reply(False, 400, "BadDigest"))
    run.put("k", b"body", balancer="lb-1")
    assert run.ledger.expected("k") == {None}
    world.objects["k"] = b"body"
    assert run.get("k", balancer="lb-1").verdict == "wrong"


@pytest.mark.parametrize("reply", [BUSY, GONE])
def test_unanswered_write_stays_open(run, world, reply):
    """After a 5xx or no reply at all the value may be there or not."""
    world.say("k", reply)
    run.put("k", b"body", balancer="lb-1")
    assert run.ledger.expected("k") == {None, digest(b"body")}


def test_home_is_the_region_of_the_write(run):
    """The region that a key was written in is noted when it is written, whatever came of it."""
    run.put("near", b"x", balancer="lb-1")
    run.put("far", b"x", balancer="lb-3")
    assert (run.home("near"), run.home("far")) == ("eu", "us")
    with pytest.raises(KeyError):
        run.home("never")


def test_scan_tries_errors_again_and_nothing_else(run, world):
    """An error is read again until there is an answer; right, wrong and lost are answers at once."""
    for key in ("right", "wrong", "lost", "slow"):
        run.put(key, b"body", balancer="lb-1")
    world.objects["wrong"] = b"other"
    del world.objects["lost"]
    world.say("slow", BUSY, GONE)
    world.calls.clear()
    found = run.scan((key, "lb-1") for key in ("right", "wrong", "lost", "slow"))
    assert [(s.key, s.verdict) for s in found] == [
        ("right", "right"),
        ("wrong", "wrong"),
        ("lost", "lost"),
        ("slow", "right"),
    ]
    asked = [key for _, _, _, key in world.calls]
    assert {key: asked.count(key) for key in asked} == {"right": 1, "wrong": 1, "lost": 1, "slow": 3}


def test_scan_gives_up_in_time(run, world, monkeypatch):
    """A key that cannot be read is an error when its time is over, and keeps nobody waiting for ever."""
    monkeypatch.setattr(run_module, "SCAN_S", 0.25)
    world.say("k", *[BUSY] * 100)
    (found,) = run.scan([("k", "lb-1")])
    assert (found.verdict, found.reply) == ("error", BUSY)
    assert 2 <= len(world.calls) <= 4


def test_samples_are_put_into_their_bins(run):
    """Half-second bins by region, each sample in the bin that holds its second."""
    seconds = [("eu", 0.0, True), ("eu", 0.499, False), ("eu", 0.5, True), ("us", 0.7, True), ("us", 2.0, False)]
    run.record_samples(Sample(region, at_s, ok) for region, at_s, ok in seconds)
    assert [(s.region, s.at_s, s.ok, s.total) for s in run.told] == [
        ("eu", 0.0, 1, 2),
        ("eu", 0.5, 1, 1),
        ("us", 0.5, 1, 1),
        ("us", 2.0, 0, 1),
    ]


def test_bucket_that_a_region_does_not_take_ends_the_run(run, world, monkeypatch):
    """Each region is asked through one of its balancers, again for a while, and one that refuses on is named."""
    monkeypatch.setattr("straybit.run.SCAN_S", 0.12)
    run.create_buckets()
    assert [(call, endpoint) for call, endpoint, _, _ in world.calls] == [
        ("bucket", "http://lb-1"),
        ("bucket", "http://lb-2"),
    ]
    world.say("", Reply(True), BUSY, Reply(True))
    run.create_buckets()
    world.say("", Reply(True), *[BUSY] * 100)
    with pytest.raises(RuntimeError, match="region us did not take the bucket straybit within 0.12 s"):
        run.create_buckets()


def test_clients_are_made_once_and_closed(run, world):
    """One client for each balancer and mode, shared, and closed with the run."""
    assert run.client("lb-1") is run.client("lb-1")
    assert run.client("lb-1") is not run.client("lb-1", "2008-md5")
    run.close()
    assert world.closed == ["http://lb-1"] * 2
