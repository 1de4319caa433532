"""A node as a process of its own."""

import signal
import subprocess
import sys
from contextlib import contextmanager

import msgspec
import pytest
import urllib3

from straybit_nodes.config import NodeConfig
from straybit_nodes.topology import Kind, Service

SERVICE = Service("storage-1", Kind.STORAGE, "eu", 1, 0x0A010001)
HEAVY = ("boto3", "botocore", "scipy", "numpy", "docker", "hypothesis", "pytest")


@contextmanager
def process(tmp_path):
    """A storage node started as `python -m straybit_nodes`; gives it, its url and its control port's url."""
    config = NodeConfig(
        service=SERVICE,
        members=(Service("gossip-1", Kind.GOSSIP, "eu", 1, SERVICE.address),),
        dials=(),
        listen=("127.0.0.1", 0),
        control=("127.0.0.1", 0),
        token="t",
        data_dir=str(tmp_path / "data"),
        held=False,
    )
    (tmp_path / "node.json").write_bytes(msgspec.json.encode(config))
    child = subprocess.Popen(
        [sys.executable, "-m", "straybit_nodes", str(tmp_path / "node.json")], stdout=subprocess.PIPE
    )
    try:
        for line in child.stdout:
            event = msgspec.json.decode(line)
            if event["event"] == "started":
                break
        yield child, f"http://127.0.0.1:{event['listen']}", f"http://127.0.0.1:{event['control']}"
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


@pytest.fixture
def http():
    with urllib3.PoolManager(retries=False) as pool:
        yield pool


def test_what_was_acknowledged_survives_sigkill(tmp_path, http):
    """A node that is killed at any moment has every acknowledged object when it is started again."""
    with process(tmp_path) as (child, url, _):
        http.request("PUT", url + "/photos")
        for n in range(20):
            assert http.request("PUT", f"{url}/photos/{n}", body=b"body %d" % n).status == 200
        child.kill()
        child.wait()
    with process(tmp_path) as (_, url, _):
        assert [http.request("GET", f"{url}/photos/{n}").data for n in range(20)] == [b"body %d" % n for n in range(20)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_node_in_order(tmp_path, number):
    """SIGTERM and SIGINT end a node with exit code 0 and a last line in its log."""
    with process(tmp_path) as (child, _, _):
        child.send_signal(number)
        lines = [msgspec.json.decode(line) for line in child.stdout]
        assert child.wait(10) == 0
    assert lines[-1]["event"] == "stopped"


def test_a_node_loads_nothing_heavy(tmp_path):
    """A node's modules leave out what only tests, clients and statistics need."""
    code = (
        "import sys; import straybit_nodes.storage.server, straybit_nodes.balancer.server, straybit_nodes.serve, "
        "straybit_nodes.gossip.server, straybit_nodes.gossip.sibling, straybit_nodes.balancer.alarm; "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_port_in_use_is_one_line(tmp_path):
    """A node whose port is taken says so and ends with exit code 2."""
    with process(tmp_path) as (_, url, _):
        config = msgspec.json.decode((tmp_path / "node.json").read_bytes())
        config["listen"] = ["127.0.0.1", int(url.rpartition(":")[2])]
        config["data_dir"] = str(tmp_path / "other")
        (tmp_path / "second.json").write_bytes(msgspec.json.encode(config))
        done = subprocess.run(
            [sys.executable, "-m", "straybit_nodes", str(tmp_path / "second.json")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=20,
        )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "cannot start" in done.stderr
