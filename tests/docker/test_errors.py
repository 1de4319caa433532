"""What goes wrong with engines and images: one clear line, exit 2, and nothing is left of what was started."""

import contextlib
import os
import secrets
import socket
import threading
from importlib.metadata import version
from pathlib import Path

import pytest

from straybit import BitFlip
from straybit.backends import BackendError
from straybit.backends.docker import DockerBackend
from straybit.outcome import Outcome
from straybit_nodes.topology import Topology

pytestmark = pytest.mark.docker

GOSSIP = Topology.gossip_only(2)


class Forwarder:
    """A socket that leads to the engine until it is cut: an engine that dies, as far as anybody can see."""

    def __init__(self, path, target):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(64)
        self.target = target
        self.sockets = []
        self.threads = []
        self._begin(self._accept)

    def _begin(self, work, *args):
        self.threads.append(threading.Thread(target=work, args=args, daemon=True))
        self.threads[-1].start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                here, _ = self.listener.accept()
                there = socket.socket(socket.AF_UNIX)
                there.connect(self.target)
                self.sockets += [here, there]
                for ends in ((here, there), (there, here)):
                    self._begin(self._copy, *ends)

    def _copy(self, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def cut(self):
        """From now on nobody is there."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for end in self.sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(5)
        for end in self.sockets:
            end.close()


@pytest.fixture
def image(engine):
    """Makes an image with given instructions on top of ours, and removes it afterwards."""
    import io

    made = []

    def make(name, *lines):
        ours = os.environ.get("STRAYBIT_IMAGE") or engine.api.images(filters={"label": "straybit.version"})[0]["Id"]
        file = io.BytesIO("\n".join([f"FROM {ours}", *lines]).encode())
        for _ in engine.api.build(fileobj=file, tag=name, rm=True, decode=True):
            pass
        made.append(name)
        return name

    yield make
    for name in made:
        engine.api.remove_image(name, force=True)


def test_an_image_that_is_missing_is_named(straybit, things):
    """The line says which image and how to make it; the exit is 2."""
    before = things()
    ran = straybit("run", "july-2008", "--backend", "docker", env={"STRAYBIT_IMAGE": "straybit:none"})
    assert ran.returncode == 2
    assert "there is no image straybit:none: make it with `make image`" in " ".join((ran.stdout + ran.stderr).split())
    assert things() == before


def test_an_image_of_another_version_is_refused(straybit, image):
    """Nodes of another version would be another system: the line says both versions."""
    name = image("straybit-test:old", "LABEL straybit.version=0.0.9")
    ran = straybit("run", "july-2008", "--backend", "docker", env={"STRAYBIT_IMAGE": name})
    assert ran.returncode == 2
    assert f"the image {name} holds 0.0.9, and this is straybit" in " ".join((ran.stdout + ran.stderr).split())


def test_a_container_that_never_gets_ready_is_told_with_its_last_words(image, monkeypatch, things):
    """The error holds what the container said last, within the budget, and everything is taken down again."""
    name = image("straybit-test:mute", 'ENTRYPOINT ["sh", "-c", "echo I would rather not; exec sleep 60"]')
    monkeypatch.setenv("STRAYBIT_IMAGE", name)
    before = things()
    with DockerBackend() as backend, pytest.raises(BackendError, match=r"(?s)was not ready within 4 s.*rather not"):
        backend.start(GOSSIP, budget_s=4.0)
    assert things() == before


def test_a_container_that_ends_at_once_is_told_with_its_last_words(image, monkeypatch, things):
    """Nobody waits for a budget when the container is gone already."""
    name = image("straybit-test:dead", 'ENTRYPOINT ["sh", "-c", "echo no heart to go on; exit 3"]')
    monkeypatch.setenv("STRAYBIT_IMAGE", name)
    before = things()
    with (
        DockerBackend() as backend,
        pytest.raises(BackendError, match=r"(?s)(ended with 3|publish).*no heart to go on"),
    ):
        backend.start(GOSSIP)
    assert things() == before


def test_an_engine_that_dies_makes_the_trial_invalid(tmp_path, monkeypatch, engine, things, straybit):
    """In mid-run the engine is gone: the trial is INVALID, the end says how to clean up, and sweep does it later."""
    forwarder = Forwarder(tmp_path / "engine.sock", engine.host.removeprefix("unix://"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine.sock")
    backend = DockerBackend()
    cluster = backend.start(GOSSIP)
    trial = cluster.trial(BitFlip("gossip-1:gossip-2", message="state", field="version", bit=62))
    trial.begin()
    forwarder.cut()
    assert cluster.observers.wait_for(lambda o: (o.source, o.kind) == ("docker", "exit"), 5)
    trial.settle()
    trial.revert()
    record = trial.finish()
    assert record.outcome is Outcome.INVALID
    assert "the Docker engine is gone" in record.why
    with pytest.raises(BackendError, match="`straybit sweep` removes it once the engine answers"):
        cluster.close()
    backend.close()
    monkeypatch.undo()
    assert len(things(cluster.run)) == 2 + 2 + 2 + 1
    assert straybit("sweep", "--run", cluster.run).returncode == 0
    assert things(cluster.run) == []


def test_a_network_that_is_taken_is_passed_over(engine, backend, monkeypatch):
    """Addresses that another network has by now are no error: the next ones are tried."""
    from straybit.backends import docker as module

    pool = {"Config": [{"Subnet": "10.206.0.0/24"}]}
    taken = engine.api.create_network(f"users-{secrets.token_hex(4)}", ipam=pool)
    try:
        monkeypatch.setattr(module, "_free_nets", lambda _: ["10.206.0", "10.206.1"])
        with backend.start(GOSSIP) as cluster:
            assert cluster.prove_clean()
    finally:
        engine.api.remove_network(taken["Id"])


def test_what_a_user_runs_beside_is_not_touched(backend, engine, straybit):
    """A running container of the user's own compose project, its network and volume outlive a cluster and a sweep."""
    name = f"users-{secrets.token_hex(4)}"
    labels = {"com.docker.compose.project": name, "com.docker.compose.service": "gossip-1"}
    api = engine.api
    network = api.create_network(name, labels=labels)
    volume = api.create_volume(name, labels=labels)
    host = api.create_host_config(binds=[f"{name}:/mine"], network_mode=name)
    image = f"straybit:{version('straybit')}"
    mine = api.create_container(
        image, ["-c", "read -r _"], entrypoint="sh", stdin_open=True, name=name, labels=labels, host_config=host
    )
    try:
        api.start(mine["Id"])
        with backend.start(GOSSIP):
            pass
        assert straybit("sweep").returncode == 0
        assert api.inspect_container(mine["Id"])["State"]["Running"]
        assert api.inspect_network(network["Id"])["Name"] == name
        assert api.inspect_volume(volume["Name"])["Name"] == name
    finally:
        api.remove_container(mine["Id"], force=True, v=True)
        api.remove_network(network["Id"])
        api.remove_volume(volume["Name"])


def test_no_room_for_the_folder_is_told(backend):
    """A folder that cannot be made is an error that names it, before anything is started."""
    with pytest.raises(BackendError, match="folder cannot be made: .*/proc/"):
        backend.start(GOSSIP, folder=Path("/proc/straybit"))
