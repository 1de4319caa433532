"""The load generator: its rates, its deadline and its arithmetic."""

import threading
import time

import tenacity

from straybit.load import LiveLoad


def settle(load, count):
    """Wait until so many requests have ended."""
    tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda done: not done),
        wait=tenacity.wait_fixed(0.005),
        stop=tenacity.stop_after_delay(10),
    )(lambda: len(load.samples()) >= count)


def test_every_region_gets_its_requests():
    """Each region is asked by itself, and success is counted by region and by when a request began."""
    with LiveLoad(
        lambda region, _: region == "eu", rates={"eu": 200, "us": 200}, deadline_s=1, clock=time.monotonic
    ) as load:
        settle(load, 20)
    now = time.monotonic()
    assert load.success("eu", 0, now).share == 1
    assert load.success("us", 0, now).share == 0
    assert load.worst(0, now) == 0
    assert load.best(0, now) == 1
    assert load.success("eu", now, now + 1).total == 0


def test_a_slow_cluster_does_not_slow_the_clients():
    """Requests begin on time while earlier ones hang; those that find no client left have failed."""
    release = threading.Event()
    with LiveLoad(lambda *_: release.wait(10), rates={"eu": 500}, deadline_s=0.001, clock=time.monotonic) as load:
        settle(load, 50)
        assert {s.ok for s in load.samples()} == {False}
        release.set()


def test_a_request_that_raises_has_failed_and_is_counted():
    """An exception in a request is a failure of that request and of nothing else."""

    def explode(*_):
        raise RuntimeError("boom")

    with LiveLoad(explode, rates={"eu": 200}, deadline_s=1, clock=time.monotonic) as load:
        settle(load, 5)
    assert load.success("eu", 0, time.monotonic()).ok == 0
