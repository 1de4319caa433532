"""A run whose cluster is a topology, and whose clients talk to a dictionary."""

import pytest

from straybit import driver as driver_module
from straybit.budgets import budgets_with
from straybit.clients import MODES, Reply
from straybit.driver import LIVE
from straybit.journal import Journal
from straybit.run import Run
from straybit_nodes.topology import Topology


class World:
    """What every fake client shares: objects, the calls made, and replies that come before the true one."""

    def __init__(self):
        self.objects = {}
        self.calls = []
        self.scripted = {}
        self.closed = []

    def say(self, key, *replies):
        """The next calls about `key` get these replies."""
        self.scripted[key] = list(replies)

    def answer(self, endpoint, call, bucket, key, true):
        """The scripted reply, or the true one."""
        self.calls.append((call, endpoint, bucket, key))
        return self.scripted[key].pop(0) if self.scripted.get(key) else true()


class FakeCluster:
    """A cluster that nobody started."""

    def __init__(self):
        self.topology = Topology()
        self.driver = LIVE
        self.spec = type("Spec", (), {"seed": 3})()
        self.defences = frozenset()

    def endpoint(self, balancer):
        return f"http://{balancer}"

    def s3(self, balancer, mode="today-default"):
        return self.driver.s3(self.endpoint(balancer), MODES[mode], 1.0, ("", ""))

    def watch_host(self):
        return self.driver.watch_host(0.3)

    def control(self, name):
        return name


@pytest.fixture
def world(monkeypatch):
    """Clients of runs and of trials' traffic keep their objects here."""
    world = World()

    class FakeS3:
        def __init__(self, endpoint, mode=None, deadline_s=1.0, keys=("", "")):
            self.endpoint = endpoint

        def create_bucket(self, bucket):
            return world.answer(self.endpoint, "bucket", bucket, "", lambda: Reply(True))

        def put(self, bucket, key, body):
            def true():
                world.objects[key] = body
                return Reply(True)

            return world.answer(self.endpoint, "put", bucket, key, true)

        def get(self, bucket, key):
            def true():
                known = key in world.objects
                return Reply(True, body=world.objects[key]) if known else Reply(False, 404, "NoSuchKey")

            return world.answer(self.endpoint, "get", bucket, key, true)

        def close(self):
            world.closed.append(self.endpoint)

    monkeypatch.setattr(driver_module, "S3", FakeS3)
    return world


@pytest.fixture
def cluster():
    """The default topology, and nothing that runs."""
    return FakeCluster()


@pytest.fixture
def run(world, cluster, tmp_path):
    """A run on that cluster; `told` is what it has put on record."""
    with Journal(tmp_path / "journal.ndjson") as journal:
        run = Run(cluster, journal, seed=3, budgets=budgets_with())
        run.told = []
        run.record = run.told.append
        yield run
        run.close()
