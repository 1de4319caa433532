"""Faults at a host, each on a node over real sockets, each with its receipt."""

import time

import pytest
from botocore.exceptions import ClientError

from straybit.control import Control, ControlError
from straybit.host import BitRot, FullDisk, Kill, Pause, Restart, SlowDisk, WrongClock, heal, strike, struck

from .conftest import TOKEN

DELAY_MS = 300


class Here:
    """A cluster of one node, as faults see it."""

    def __init__(self, lone):
        self._control = Control("storage-1", ("127.0.0.1", lone.running.control_port), TOKEN)
        self.done = []

    def control(self, name):
        return self._control

    def __getattr__(self, name):
        return lambda host: self.done.append((name, host))


@pytest.fixture
def s3(lone):
    client = lone.s3()
    client.create_bucket(Bucket="photos")
    client.put_object(Bucket="photos", Key="k", Body=b"data")
    yield client
    client.close()


@pytest.fixture
def hosts(lone):
    here = Here(lone)
    yield here
    here.control("").close()


def test_a_full_disk_refuses_writes_and_keeps_what_it_has(s3, hosts):
    """A write that does not fit is an error, nothing of it is visible, and reads go on; with room again all is well."""
    with struck(hosts, FullDisk("storage-1", free=3)) as receipt:
        assert (receipt.before, receipt.after) == (
            {"delay_ms": 0, "free": None},
            {"delay_ms": 0, "free": 3},
        )
        for key in ("k", "other"):
            with pytest.raises(ClientError, match="ServiceUnavailable"):
                s3.put_object(Bucket="photos", Key=key, Body=b"long body")
        assert s3.get_object(Bucket="photos", Key="k")["Body"].read() == b"data"
        assert s3.list_objects_v2(Bucket="photos")["KeyCount"] == 1
    s3.put_object(Bucket="photos", Key="k", Body=b"long body")
    assert s3.get_object(Bucket="photos", Key="k")["Body"].read() == b"long body"


def test_a_slow_disk_holds_up_whoever_needs_it_and_nobody_else(s3, hosts):
    """A read of a file takes the delay longer; what needs no file does not, also at the same time."""
    with struck(hosts, SlowDisk("storage-1", DELAY_MS)) as receipt:
        assert receipt.after["delay_ms"] == DELAY_MS
        began = time.monotonic()
        assert s3.get_object(Bucket="photos", Key="k")["Body"].read() == b"data"
        assert time.monotonic() - began >= DELAY_MS / 1000
    assert hosts.control("").disk()["before"] == {"delay_ms": 0, "free": None}


@pytest.mark.parametrize("offset_s", [-3600, 3600])
def test_a_wrong_clock_does_not_lose_the_newest_version(s3, hosts, offset_s):
    """A version is newer than the one before it, whatever the clock says then."""
    with struck(hosts, WrongClock("storage-1", offset_s)) as receipt:
        assert (receipt.before, receipt.after) == (0.0, float(offset_s))
        s3.put_object(Bucket="photos", Key="k", Body=b"second")
        assert s3.get_object(Bucket="photos", Key="k")["Body"].read() == b"second"
    s3.put_object(Bucket="photos", Key="k", Body=b"third")
    assert s3.get_object(Bucket="photos", Key="k")["Body"].read() == b"third"


def test_rot_has_a_place_and_a_receipt(s3, hosts, lone):
    """A bit at (object, offset, bit) changes on disk; beside an object there is none to change."""
    receipt = strike(hosts, BitRot("storage-1", "photos", "k", 1, 3))
    assert (receipt.before, receipt.after) == (ord("a"), ord("a") ^ 8)
    assert hosts.control("").scrub().damaged == 1
    assert hosts.control("").health().damaged == 1
    assert lone.detections("scrub") == 1
    for aim in (("k", 0, 0), ("k", 9, 0), ("none", 0, 0)):
        with pytest.raises(ControlError):
            strike(hosts, BitRot("storage-1", "photos", *aim))


def test_processes_are_killed_paused_and_restarted(hosts):
    """What the backend does to a process is a fault like any other, and is taken back like one."""
    for fault in (Kill("storage-1"), Pause("storage-1"), Restart("storage-1")):
        assert strike(hosts, fault).fault == fault
        heal(hosts, fault)
    names = [name for name, _ in hosts.done]
    assert names == ["kill", "restart", "pause", "unpause", "restart"]


@pytest.mark.parametrize("wrong", [{"delay_ms": -1}, {"delay_ms": 60_001}, {"free": -2}, {"delay_ms": "slow"}])
def test_a_fault_that_cannot_be_is_refused(lone, wrong):
    """A delay and a size have limits, and are numbers."""
    assert lone.control("POST", "/disk", wrong).status == 400


def test_without_scrub_nobody_looks(lone_with):
    """Off, rot that no client reads stays unknown; the scrubber looks only when it is asked."""
    lone = lone_with({"content-checksum", "read-verify"})
    lone.request("PUT", "/photos")
    lone.request("PUT", "/photos/k", body=b"data")
    lone.control("POST", "/rot", {"bucket": "photos", "key": "k", "offset": 0, "bit": 0})
    assert lone.running.node._scrubber._task is None
    assert lone.detections("scrub") == 0
