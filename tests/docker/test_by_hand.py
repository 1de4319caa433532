"""What a new user does: `docker compose up --wait`, S3 clients, `docker compose down -v`, and nothing is left."""

import json
import os
import re
import subprocess

import pytest

from straybit.clients import MODES, S3
from straybit.compose import compose_yaml
from straybit_nodes.topology import Topology

pytestmark = [pytest.mark.docker, pytest.mark.alone]

PROJECT = "straybit-test-by-hand"
ADDED = 40e6
"""Bytes of straybit and the four packages that its nodes import, with what those need."""
CLIENTS = os.environ.get("STRAYBIT_S3_CLIENTS")
KEYS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "will do", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def compose_of(docker_engine, tmp_path_factory):
    """Makes functions that run compose on a project; each project is taken down at the end."""
    made = []

    def project_of(project, topology):
        file = tmp_path_factory.mktemp(project) / "compose.yaml"
        file.write_text(compose_yaml(topology))
        net = f"10.207.{7 + len(made)}"
        environment = {**os.environ, "STRAYBIT_S3_PORT": "0", "STRAYBIT_NET": net, "STRAYBIT_RUN": project}

        def compose(*words, timeout=120):
            command = ["docker", "compose", "--project-name", project, "--file", str(file), *words]
            return subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=timeout, check=False
            )

        made.append(compose)
        return compose

    yield project_of
    for compose in made:
        compose("down", "--volumes", "--timeout", "0")


@pytest.fixture(scope="module")
def by_hand(compose_of):
    """The default cluster, started and ended by compose alone; hands out a function that runs compose."""
    compose = compose_of(PROJECT, Topology())
    up = compose("up", "--wait", "--no-build")
    assert up.returncode == 0, up.stderr
    return compose


def published(by_hand, service, port):
    return by_hand("port", service, str(port)).stdout.strip()


def test_unmodified_clients_can_use_it(by_hand):
    """boto3 writes through one balancer and reads through another; what is read is what was written."""
    topology = Topology()
    ports = [20_000 + n for n, link in enumerate(topology.links()) if link.caller == "client"]
    addresses = [published(by_hand, "toxiproxy", port) for port in ports]
    assert len(set(addresses)) == 3
    assert all(address.startswith("127.0.0.1:") for address in addresses)
    _, near, far = (S3(f"http://{address}", MODES["today-default"]) for address in addresses)
    assert near.create_bucket("by-hand").ok
    assert near.put("by-hand", "key", b"a body").ok
    assert far.get("by-hand", "key").body == b"a body"


@pytest.mark.fetched
@pytest.mark.skipif(CLIENTS is None, reason="say make s3-clients, and with STRAYBIT_S3_CLIENTS where they are")
def test_aws_s3_can_use_it(by_hand, tmp_path):
    """The command line that the file's own head shows, and a folder there and back."""
    endpoint = f"http://{published(by_hand, 'toxiproxy', 20_000)}"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **KEYS}

    def aws(*words):
        command = [f"{CLIENTS}/aws", "--endpoint-url", endpoint, "s3", *map(str, words)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "large").write_bytes(bytes(range(256)) * 40_000)
    aws("mb", "s3://bucket")
    aws("cp", "--recursive", tmp_path / "there", "s3://bucket/folder")
    assert "folder/large" in aws("ls", "--recursive", "s3://bucket")
    aws("cp", "--recursive", "s3://bucket/folder", tmp_path / "back")
    assert (tmp_path / "back" / "large").read_bytes() == (tmp_path / "there" / "large").read_bytes()


def test_every_container_is_bound_and_fenced(by_hand, engine):
    """Memory, processes, capabilities, root file system and user are limited; nothing is published beyond loopback."""
    for summary in engine.containers(f"straybit.run={PROJECT}"):
        container = engine.api.inspect_container(summary["Id"])
        host, name = container["HostConfig"], summary["Labels"]["com.docker.compose.service"]
        assert host["Memory"] > 0, name
        assert host["PidsLimit"] > 0, name
        assert host["CapDrop"] == ["ALL"], name
        assert host["Init"] is True, name
        assert host["ReadonlyRootfs"] is (name != "toxiproxy"), name
        assert container["Config"]["User"] not in {"", "root", "0"}, name
        bindings = [at for ports in container["NetworkSettings"]["Ports"].values() for at in ports or []]
        assert {at["HostIp"] for at in bindings} == {"127.0.0.1"}, name


def test_cluster_traffic_has_no_way_out(by_hand, engine):
    """The network of the cluster is internal, and that of the control ports neither routes nor joins containers."""
    cluster, control = (engine.api.inspect_network(f"{PROJECT}_{name}") for name in ("cluster", "control"))
    assert cluster["Internal"] is True
    assert control["Options"]["com.docker.network.bridge.enable_ip_masquerade"] == "false"
    assert control["Options"]["com.docker.network.bridge.enable_icc"] == "false"


def test_the_control_ports_are_closed(by_hand):
    """By hand nobody has the token: a control port answers 401."""
    address = published(by_hand, "gossip-1", 8002)
    import urllib3

    reply = urllib3.PoolManager(retries=False).request("GET", f"http://{address}/view")
    assert reply.status == 401


def test_the_image_is_small_and_holds_no_compiler(by_hand, engine):
    """The image holds the wheel, starts as an unprivileged user, and adds little to its base."""
    script = "for each in cc gcc make; do command -v $each; done; id -u; python3 -c 'import straybit'"
    ran = by_hand("exec", "-T", "gossip-1", "sh", "-c", script)
    assert ran.stdout.split() == ["10001"], ran.stdout + ran.stderr
    (ours,) = {c["ImageID"] for c in engine.containers(f"straybit.run={PROJECT}") if "toxiproxy" not in c["Names"][0]}
    layers = engine.api.history(ours)
    added = sum(layer["Size"] for layer in layers if "straybit" in layer["CreatedBy"])
    assert 1e6 < added < ADDED, layers


def test_nothing_is_left(compose_of, things):
    """After `down -v` no container, network or volume of it is there."""
    project = f"{PROJECT}-small"
    compose = compose_of(project, Topology.gossip_only(2))
    up = compose("up", "--wait", "--no-build")
    assert up.returncode == 0, up.stderr
    assert len(things(project)) == 2 + 2 + 2 + 1
    down = compose("down", "--volumes")
    assert down.returncode == 0, down.stderr
    assert things(project) == []


def test_json_of_the_file_is_what_compose_reads(by_hand):
    """Compose itself finds the file sound, with every limit on every service."""
    config = json.loads(by_hand("config", "--format", "json").stdout)
    assert len(config["services"]) == 21
    for name, service in config["services"].items():
        assert service["init"] is True, name
        assert service["mem_limit"], name
        assert re.fullmatch(r"\d+", str(service["pids_limit"])), name
