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

from straybit import BitFlip
from straybit.backends._engine import find_engine
from straybit.network import network_toxic
from straybit.rollout import staged_plan
from straybit.standing import NoClusterError, attach, end, read_card
from straybit.sweep import leftovers, remove
from straybit_nodes.topology import GENERATION, Topology

pytestmark = pytest.mark.proof

LINK = "gossip-1:gossip-2"
START = """
import sys
from pathlib import Path
from straybit.standing import start
from straybit.standing.card import Wanted
from straybit_nodes.topology import Topology

start(Wanted(backend=sys.argv[1], topology=Topology.gossip_only(3), defences=("gossip-crc",)), Path(sys.argv[2]))
"""
"""As `straybit cluster up`, which starts no fewer than 16 containers."""
STAY = """
import os

print("up", flush=True)
os.wait()
"""
"""So that the keeper's end is taken note of where the first process of a machine does not care."""
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


@pytest.fixture(scope="module")
def small(backend, tmp_path_factory):
    """Commands in a folder where three gossip nodes run, on each backend in turn."""
    with commands_in(tmp_path_factory.mktemp(backend.name)) as run:
        subprocess.run([sys.executable, "-c", START, backend.name, run.folder], check=True, timeout=120)
        yield run


@contextlib.contextmanager
def left_of(run):
    """Asks for names of a run's containers, networks and volumes; none of processes, which have no run."""
    if not run:
        yield list
        return
    engine = find_engine()

    def found():
        return [left for left in leftovers(engine) if left.run == run]

    try:
        yield lambda: [name for left in found() for name in (*left.containers, *left.networks, *left.volumes)]
    finally:
        for left in found():
            remove(engine, left)
        engine.close()


def test_a_trial_from_another_process(small, until):
    """Who attaches flips and sees who noticed; a second one on the same link has receipts of its own."""
    for _ in range(2):
        with attach(small.folder) as cluster:
            until(cluster.prove_clean)
            with cluster.trial(BitFlip(LINK, message="state", field="version", bit=62)) as trial:
                trial.expect_detected(by="gossip-crc", within_s=5)
            assert len(trial.record.receipts) == 1
            with cluster.trial(BitFlip(LINK, message="state", field="version", bit=62, direction="down")) as down:
                pass
            assert down.record.receipts[0].delivered is not None
    assert json.loads(small("cluster", "status", "--json"))["ok"]


def test_toxics_of_the_network_are_where_the_backend_has_them(small):
    """On real Toxiproxy where it stands in front, and there they are a doubt as well."""
    with attach(small.folder) as cluster:
        assert cluster.fronted == bool(cluster.run) == (cluster.backend == "docker")
        with network_toxic(cluster, "latency", {"latency": 1}, [LINK]):
            assert any(line.startswith(f"proxy {LINK} has the toxic network-") for line in cluster.doubts())


def test_a_node_that_was_started_again_is_reached(small):
    """Wherever its control port is then: by who started it, by who attaches later, and by a restore."""
    with attach(small.folder) as cluster:
        before = cluster.pid("gossip-1")
        cluster.restart("gossip-1")
        assert cluster.control("gossip-1").healthz().state == "running"
        cluster.kill("gossip-2")
    with attach(small.folder) as cluster:
        assert cluster.pid("gossip-1") != before
        assert cluster.control("gossip-1").view().name == "gossip-1"
        assert [service.name for service in cluster.services()] == ["gossip-1", "gossip-3"]
    done = json.loads(small("restore", "--json"))
    assert done["stages"][0]["note"] == "restarted first: gossip-2"
    assert json.loads(small("cluster", "status", "--json"))["ok"]


def test_a_small_one_ends_when_it_is_told_to(small):
    """Keeper, proxies and nodes are gone when `down` returns."""
    card = read_card(small.folder)
    family = [psutil.Process(card.pid), *psutil.Process(card.pid).children(recursive=True)]
    with left_of(card.run) as left:
        assert len(left()) == (5 + 2 + 1 if card.run else 0)
        small("cluster", "down")
        assert psutil.wait_procs(family, timeout=10)[1] == []
        assert left() == []
    assert "there is no cluster" in small("cluster", "status", code=2)


@pytest.mark.docker
def test_containers_outlive_a_keeper_that_was_killed(docker_engine, tmp_path):
    """Then status and down do not say that they are gone, but what removes them."""
    with commands_in(tmp_path) as straybit:
        words = [sys.executable, "-c", START + STAY, "docker", straybit.folder]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as parent:
            assert parent.stdout.readline() == b"up\n"
            card = read_card(straybit.folder)
            os.kill(card.pid, signal.SIGKILL)
        with left_of(card.run) as left:
            for command in ("status", "down"):
                said = straybit("cluster", command, code=2)
                assert f"`straybit sweep` removes its containers ({card.run})" in said
            assert len(left()) == 5 + 2 + 1
            swept = json.loads(straybit("sweep", "--dry-run", "--json"))
            assert [run["alive"] for run in swept if run["run"] == card.run] == [False]


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
