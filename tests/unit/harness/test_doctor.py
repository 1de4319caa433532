"""What the doctor says of engines: one that will do, and each way in which one will not, with what to do."""

import os
import sys

import docker
import pytest

from straybit.backends import _engine
from straybit.backends._engine import EngineError, find_engine
from straybit.backends.docker import DockerBackend
from straybit.cli import main
from straybit.doctor import examine

HERE = os.uname().release
ABROAD = "6.10.14-linuxkit"


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """An engine of ours on the path and in the SDK, with images in it, of which a test says what it says of itself."""
    script = tmp_path / "docker"
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", "unix:///somewhere.sock")
    monkeypatch.setattr(_engine, "_knock", lambda _: None)
    monkeypatch.setattr("straybit.doctor.image_doubts", lambda _: {})

    def make(*, compose="2.40.3", api="1.41", **info):
        script.write_text(f"#!/bin/sh\necho {compose}\n")
        script.chmod(0o755)
        said = {"ServerVersion": "20.10.24", "KernelVersion": HERE, "OperatingSystem": "Debian GNU/Linux 12", **info}
        monkeypatch.setattr(docker, "APIClient", lambda **_: Api(said, api))

    return make


class Api:
    """As much of the SDK's client as is asked."""

    def __init__(self, info, api):
        self.info = lambda: info
        self.version = lambda: {"ApiVersion": api}

    def ping(self):
        return True

    def networks(self, **_):
        return []

    def containers(self, **_):
        return []

    def volumes(self, **_):
        return {"Volumes": None}

    def close(self):
        pass


def missing():
    """What the doctor finds amiss: for each what it saw and what helps."""
    return {found.what: f"{found.seen}; {found.help}" for found in examine() if not found.ok}


def test_an_engine_that_will_do_lacks_nothing(engine):
    """Its version and its place are shown."""
    engine()
    assert missing() == {}
    assert "20.10.24 at unix:///somewhere.sock" in [found.seen for found in examine()]


def test_an_engine_on_another_kernel_is_told_with_both(engine):
    """Docker Desktop's machine has a clock of its own."""
    engine(KernelVersion=ABROAD, OperatingSystem="Docker Desktop")
    assert missing() == {
        "clock": f"the engine (Docker Desktop) runs on the kernel {ABROAD}, straybit on {HERE}, "
        "and times of two kernels cannot be compared; "
        "use an engine on this machine's own kernel, or --backend process"
    }


def test_docker_desktop_on_our_own_kernel_will_do(engine):
    """As on WSL: what counts is the clock, and not the name."""
    engine(OperatingSystem="Docker Desktop")
    assert missing() == {}


def test_an_engine_that_does_not_name_its_kernel_is_believed(engine):
    """Not to know is no reason to refuse."""
    engine(KernelVersion="")
    assert missing() == {}


def test_a_cluster_is_not_started_on_another_kernel(engine):
    """Its times would be wrong, and nobody would see that they are: refused in the doctor's own words."""
    engine(KernelVersion=ABROAD, OperatingSystem="Docker Desktop")
    with pytest.raises(EngineError) as caught:
        find_engine()
    assert str(caught.value) == missing()["clock"]
    with DockerBackend() as backend, pytest.raises(EngineError, match=f"kernel {ABROAD}, straybit on {HERE}"):
        _ = backend.engine


def test_what_is_left_on_another_kernel_can_be_removed(engine, monkeypatch, capsys):
    """`straybit sweep` compares no times."""
    engine(KernelVersion=ABROAD)
    monkeypatch.setattr(sys, "argv", ["straybit", "sweep"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().out) == (0, "nothing of any run is there\n")


@pytest.mark.parametrize("limits", [{"MemoryLimit": True}, {"PidsLimit": True}, {}])
def test_an_engine_without_root_needs_limits(engine, limits):
    """Without both controllers a container's bounds are none."""
    engine(SecurityOptions=["name=seccomp", "name=rootless"], **limits)
    help_ = "delegate the cgroup controllers memory and pids to your user, or run it as root"
    assert missing() == {"rootless": f"the engine runs without root; {help_}"}


def test_an_engine_without_root_that_has_limits_will_do(engine):
    """It is said all the same."""
    engine(SecurityOptions=["name=rootless"], MemoryLimit=True, PidsLimit=True)
    assert missing() == {}
    assert ("rootless", "the engine runs without root") in [(found.what, found.seen) for found in examine()]


def test_an_old_compose_plugin_is_told_with_the_oldest_that_will_do(engine):
    """In the words in which a cluster is refused."""
    engine(compose="2.21.0")
    told = missing()["compose plugin"]
    assert told.startswith("the compose plugin is version 2.21.0, and 2.24 is the oldest that will do; ")
    assert told.endswith("; install the compose plugin, version 2.24 or newer")


@pytest.mark.parametrize(("api", "old"), [("1.40", True), ("1.9", True), ("1.41", False), ("2.0", False), ("", False)])
def test_an_old_engine_is_told_with_the_oldest_that_will_do(engine, api, old):
    """By the API that it speaks."""
    engine(api=api)
    help_ = "API 1.41 is the oldest that will do: install engine 20.10 or newer"
    told = {"engine": f"20.10.24 at unix:///somewhere.sock speaks API {api}; {help_}"}
    assert missing() == (told if old else {})


@pytest.mark.parametrize(
    ("error", "begins", "help_"),
    [
        (
            PermissionError(13, "Permission denied"),
            "there is a Docker engine at unix:///somewhere.sock, and this user may not talk to it",
            "add yourself to the group that owns the socket",
        ),
        (
            FileNotFoundError(2, "No such file or directory"),
            "no Docker engine answers at unix:///somewhere.sock",
            "start it, or name another",
        ),
    ],
    ids=["no permission", "no engine"],
)
def test_a_door_that_does_not_open_is_told_with_what_to_do(engine, monkeypatch, error, begins, help_):
    """An engine that this user may not talk to is another thing than none."""

    def knock(_):
        raise error

    engine()
    monkeypatch.setattr(_engine, "_knock", knock)
    told = missing()["engine"]
    assert told.startswith(begins)
    assert help_ in told


def test_an_engine_that_falls_silent_is_told(engine, monkeypatch):
    """It answered a moment ago."""

    def silent(_):
        raise EngineError("the image straybit cannot be looked at: timed out")

    engine()
    monkeypatch.setattr("straybit.doctor.image_doubts", silent)
    assert missing() == {"engine": "the image straybit cannot be looked at: timed out; restart the engine"}
