"""Starting and closing clusters, well and badly."""

import socket
from pathlib import Path

import psutil
import pytest

from straybit.backends import BackendError
from straybit.backends._folders import DATA_VARIABLE
from straybit.backends.process import ProcessBackend
from straybit.control import Control
from straybit_nodes.topology import Topology

GOSSIP = Topology.gossip_only(3)
ONLY_PROCESSES = pytest.mark.parametrize("backend", ["process"], indirect=True, scope="session")
"""For what containers have otherwise, or not at all; tests/docker has what holds for them."""


def test_default_cluster_starts_whole(cluster):
    """Every control port of the default cluster answers, every view lists all members as they originated."""
    health = cluster.each(Control.healthz)
    assert {name: h.state for name, h in health.items()} == dict.fromkeys(health, "running")
    assert len(health) == 19
    views = cluster.views()
    members = {member.name for member in cluster.topology.members()}
    assert all(set(view.entries) == members for view in views.values())
    assert cluster.doubts() == ()


def test_every_link_has_a_proxy(cluster):
    """The proxy server has one proxy for each link of the topology, and no other."""
    assert set(cluster.proxy.proxies()) == {link.name for link in cluster.topology.links()}


@pytest.mark.long_in_containers
def test_stepped_cluster_agrees_without_timers(backend):
    """A cluster whose timers are off still knows all members, and is silent from then on."""
    with backend.start(GOSSIP, ticks=False) as cluster:
        assert cluster.prove_clean()
        before = cluster.control("gossip-1").frames().next
        assert cluster.control("gossip-2").exchange("gossip-1").ok
        frames = cluster.control("gossip-1").frames(before).frames
        assert {frame.sender for frame in frames} == {"gossip-2"}


@pytest.mark.long_in_containers
def test_two_clusters_live_side_by_side(backend):
    """Clusters of one backend share nothing: closing one leaves the other clean."""
    with backend.start(GOSSIP) as first:
        with backend.start(GOSSIP, defences=["gossip-crc"]) as second:
            assert second.folder != first.folder
        assert first.prove_clean()


@pytest.mark.long_in_containers
def test_temporary_folder_is_removed(backend):
    """Without a folder of the user's everything is temporary, and gone when the cluster is closed."""
    cluster = backend.start(GOSSIP)
    folder = cluster.folder
    assert (cluster.logs / "gossip-1.ndjson").stat().st_size
    cluster.close()
    cluster.close()
    assert not folder.exists()


@pytest.mark.parametrize("keep", [False, True])
@ONLY_PROCESSES
def test_given_folder_keeps_its_logs(backend, tmp_path, monkeypatch, keep):
    """In a folder of the user's the logs stay, and the data only when asked; else it is elsewhere, and goes."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv(DATA_VARIABLE, str(elsewhere))
    with backend.start(GOSSIP, folder=tmp_path, keep=keep):
        (data,) = [*tmp_path.glob("data/gossip-1"), *elsewhere.glob("*/gossip-1")]
        assert data.is_dir()
    assert (tmp_path / "logs" / "gossip-1.ndjson").stat().st_size
    assert (tmp_path / "data").exists() is keep
    assert list(elsewhere.iterdir()) == []


@ONLY_PROCESSES
def test_closed_cluster_leaves_no_process_and_no_port(backend):
    """After close no process of the cluster runs and its ports are free."""
    cluster = backend.start(GOSSIP)
    pids = [cluster.pid(service.name) for service in cluster.topology.services()]
    ports = [cluster.proxy.port, *(cluster.control(s.name).address[1] for s in cluster.topology.services())]
    cluster.close()
    assert not any(map(psutil.pid_exists, pids))
    for port in ports:
        socket.create_server(("127.0.0.1", port)).close()


@ONLY_PROCESSES
def test_folder_that_cannot_be_made_is_an_error(backend, tmp_path):
    """A folder that cannot be made, or has no room for data, is an error that names it."""
    (tmp_path / "file").touch()
    with pytest.raises(BackendError, match=r"folder cannot be made: .*/file"):
        backend.start(GOSSIP, folder=tmp_path / "file")
    (tmp_path / "data").touch()
    with pytest.raises(BackendError, match=r"folder for data cannot be made: .*/data"):
        backend.start(GOSSIP, folder=tmp_path, keep=True)


@ONLY_PROCESSES
def test_node_that_dies_is_an_error_with_its_last_words(backend, tmp_path):
    """A service that cannot start is named with its last words, and everything is taken down again."""
    (tmp_path / "logs" / "gossip-2.ndjson").mkdir(parents=True)
    with pytest.raises(BackendError, match=r"(?s)gossip-2 ended with 1 before it was ready.*IsADirectoryError"):
        backend.start(GOSSIP, folder=tmp_path)
    assert not (tmp_path / "data").exists()


@ONLY_PROCESSES
def test_warm_parent_has_one_thread(gossip):
    """Whatever the warm parent has imported, no thread exists in it when it forks, and nothing heavy was imported."""
    parent = psutil.Process(gossip.pid("gossip-1")).parent()
    assert parent.num_threads() == 1
    assert not [m.path for m in parent.memory_maps() if "numpy" in m.path or "scipy" in m.path]


def test_backend_outlives_its_warm_parent(until):
    """After the warm parent was killed the old cluster is gone, and a new one starts from a new warm parent."""
    with ProcessBackend() as backend:
        old = backend.start(GOSSIP)
        psutil.Process(old.pid("gossip-1")).parent().kill()
        until(lambda: not old.in_service("gossip-1"))
        with backend.start(GOSSIP) as cluster:
            assert cluster.prove_clean()
        assert not old.prove_clean()


def test_start_that_takes_too_long_is_an_error(backend):
    """A start that exceeds its budget says what was not ready and for how long it was waited."""
    with pytest.raises(BackendError, match=r"within 0\.001 s"):
        backend.start(GOSSIP, budget_s=0.001)


def test_unknown_names_are_refused(gossip):
    """A name that the topology lacks is refused with the names there are."""
    for call in (gossip.control, gossip.kill, gossip.pid, gossip.restart):
        with pytest.raises(ValueError, match="this cluster has gossip-1, gossip-2, gossip-3"):
            call("gossip-9")
    with pytest.raises(ValueError, match="it has none"):
        gossip.endpoint("lb-1")


@ONLY_PROCESSES
def test_start_and_import_are_told_apart(backend):
    """The warm parent's imports are measured apart and done once."""
    assert backend.warm() == backend.warm() > 0


def test_logs_are_where_they_are_said_to_be(gossip):
    """Every service has its log and its error file, which is empty while all is well."""
    assert {path.name for path in Path(gossip.logs).glob("*.ndjson")} == {f"gossip-{n}.ndjson" for n in (1, 2, 3)}
    assert {path.read_text() for path in Path(gossip.logs).glob("*.err")} == {""}
