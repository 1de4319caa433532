"""A cluster that stays: up, status, a poisoned view, restore in stages, interrupted and run again, down."""

import contextlib
import json
import os
import signal
import subprocess
import sys

import boto3
import psutil
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from straybit.rollout import staged_plan
from straybit.standing import NoClusterError, attach, end, read_card
from straybit_nodes.topology import GENERATION, Topology

pytestmark = pytest.mark.proof

COMMAND = [sys.executable, "-c", "from straybit.cli import main; main()"]


@contextlib.contextmanager
def commands_in(home):
    """What runs a command in this folder; whatever cluster is left in it is ended."""

    def run(*args, code=0):
        done = subprocess.run([*COMMAND, *args], capture_output=True, text=True, timeout=120, check=False, cwd=home)
        assert done.returncode == code, (done.stdout, done.stderr)
        return done.stdout or done.stderr

    run.home = home
    run.folder = home / "straybit-out" / "cluster"
    try:
        yield run
    finally:
        with contextlib.suppress(NoClusterError):
            end(run.folder)


@pytest.fixture(scope="module")
def straybit(tmp_path_factory):
    """Commands in a folder of the module's own, where a cluster may run already."""
    home = tmp_path_factory.mktemp("home")

    with commands_in(home) as run:
        yield run


@pytest.fixture(scope="module")
def up(straybit):
    """What `straybit cluster up --json` says of the cluster that it left running."""
    return json.loads(straybit("cluster", "up", "--defences", "gossip-crc", "--json"))


@pytest.fixture(scope="module")
def folder(straybit):
    return straybit.folder


@pytest.fixture
def alone(tmp_path):
    """Commands in a folder of the test's own, for what ends its cluster."""
    with commands_in(tmp_path) as run:
        run("cluster", "up", "--json")
        yield run


def test_a_client_can_use_what_up_says(up):
    """Endpoint and credentials are those of a working S3, long after the command has ended."""
    config = Config(s3={"addressing_style": "path"})
    s3 = boto3.client(
        "s3",
        endpoint_url=up["endpoint"],
        aws_access_key_id=up["access_key"],
        aws_secret_access_key=up["secret_key"],
        region_name="us-east-1",
        config=config,
    )
    s3.create_bucket(Bucket="photos")
    s3.put_object(Bucket="photos", Key="a", Body=b"bytes")
    assert s3.get_object(Bucket="photos", Key="a")["Body"].read() == b"bytes"
    s3.close()
    off_by_one = up["secret_key"][:-1] + "x"
    stranger = boto3.session.Session(up["access_key"], off_by_one, region_name="us-east-1")
    s3 = stranger.client("s3", endpoint_url=up["endpoint"], config=config)
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        s3.list_objects_v2(Bucket="photos")
    s3.close()
    assert up["endpoints"].keys() == {"lb-1", "lb-2", "lb-3"}
    assert [node["name"] for node in up["nodes"]] == [s.name for s in Topology().services()]


def test_a_second_one_is_not_started_over_it(straybit, up):
    """Up in the same folder says what runs there, and how to end it."""
    assert "`straybit cluster down` ends it" in straybit("cluster", "up", code=2)


def test_status_of_a_sound_cluster(straybit, up, until):
    """Every node runs and nothing disagrees: exit 0, in words and as JSON."""
    until(lambda: json.loads(straybit("cluster", "status", "--json"))["ok"])
    assert "All is well." in straybit("cluster", "status")
    found = json.loads(straybit("cluster", "status", "--json"))
    assert {(node["state"], node["wrong"]) for node in found["nodes"]} == {("running", 0)}
    assert found["alarms"] == found["disagreements"] == []


def test_the_plan_is_printed_and_nothing_is_touched(straybit, up, folder):
    """The stages and their gates, in the order in which they would be gone through."""
    with attach(folder) as cluster:
        before = {name: view.exchanges for name, view in cluster.views().items()}
        text = straybit("restore", "--plan")
        plan = json.loads(straybit("restore", "--plan", "--json"))["plan"]
        assert [step["name"] for step in plan] == [step.name for step in staged_plan(Topology(), 2)]
        assert all(step["gate"] in text for step in plan)
        assert {view.state for view in cluster.views().values()} == {"running"}
        assert before.keys() == {s.name for s in cluster.services()}


def test_poison_and_absence_are_shown_and_restored(straybit, up, folder, until):
    """A value that nobody originated and a dead node are named with exit 1; a restore, interrupted once, ends both."""
    with attach(folder) as cluster:
        flip = {"wire": "gossip", "message": "state", "every": 1, "field": "gossip-3.generation", "bits": [0]}
        for link in (name for name in cluster.proxy.proxies() if name.endswith(":gossip-2")):
            cluster.proxy.add_toxic(link, "bitflip", flip | {"repair": True}, stream="upstream", name="poison")
        cluster.kill("gossip-7")
        poison = f"gossip-3.generation = {GENERATION + 1}, which nobody originated"
        until(lambda: any(poison in line for line in cluster.disagreements()))
        found = json.loads(straybit("cluster", "status", "--json", code=1))
        assert [node["name"] for node in found["nodes"] if node["state"] == "out of service"] == ["gossip-7"]
        assert any(poison in line for line in found["disagreements"])
        cluster.proxy.reset()

    begun = subprocess.Popen([*COMMAND, "restore"], cwd=straybit.home, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while b" clear all: " not in begun.stdout.readline():
        pass
    begun.send_signal(signal.SIGINT)
    _, err = begun.communicate(timeout=30)
    assert begun.returncode == 2
    assert b"run the same command again" in err
    assert json.loads(straybit("cluster", "status", "--json", code=1))["ok"] is False

    done = json.loads(straybit("restore", "--json"))
    assert done["restored"]
    assert [stage["name"] for stage in done["stages"]] == [step.name for step in staged_plan(Topology(), 2)]
    assert all(stage["ok"] and stage["took_s"] >= 0 for stage in done["stages"])
    assert json.loads(straybit("cluster", "status", "--json"))["ok"]


def test_a_gate_that_does_not_open_is_exit_1(straybit, up):
    """Without time for its gates a restore stops at the first and says so; with it, it brings all back."""
    stopped = json.loads(straybit("restore", "--budget", "0", "--json", code=1))
    assert not stopped["restored"]
    assert not stopped["stages"][-1]["ok"]
    straybit("restore")


def test_down_ends_everything(alone):
    """Keeper, services and data are gone; the logs stay; what is not there any more is said with exit 2."""
    straybit, folder = alone, alone.folder
    keeper = psutil.Process(read_card(folder).pid)
    family = [keeper, *keeper.children(recursive=True)]
    assert len(family) > 20
    straybit("cluster", "down")
    assert psutil.wait_procs(family, timeout=10)[1] == []
    assert not (folder / "data").exists()
    assert (folder / "logs" / "gossip-1.ndjson").exists()
    assert "there is no cluster" in straybit("cluster", "status", code=2)
    assert "there is no cluster" in straybit("cluster", "down", code=2)


def test_a_keeper_that_was_killed_leaves_nothing(alone):
    """SIGKILL of the keeper ends every service; status and down say that the cluster is gone, and down forgets it."""
    straybit = alone
    keeper = psutil.Process(read_card(alone.folder).pid)
    family = keeper.children(recursive=True)
    os.kill(keeper.pid, signal.SIGKILL)
    assert psutil.wait_procs(family, timeout=10)[1] == []
    assert "is gone" in straybit("cluster", "status", code=2)
    assert "is gone" in straybit("cluster", "down", code=2)
    assert "there is no cluster" in straybit("cluster", "down", code=2)
