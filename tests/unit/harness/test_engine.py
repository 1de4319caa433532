"""What is said where the engine, the compose plugin or an image is missing: one line, with what to do."""

import os

import pytest

from straybit.backends import _engine
from straybit.backends._engine import EngineError, ask_compose, compose_version, engine_host, find_engine
from straybit.doctor import examine


@pytest.fixture
def client(tmp_path, monkeypatch):
    """A docker client that says and returns what a test wants, and nothing else on the path."""

    def make(said, code=1):
        script = tmp_path / "docker"
        script.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit {code}\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin{os.pathsep}/usr/bin")

    return make


def test_no_engine_is_one_line(monkeypatch, tmp_path):
    """Nobody listens: the line names the place and what to do."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(
        EngineError, match="no Docker engine answers at unix:///.*; start it, or name another in DOCKER"
    ):
        find_engine()


def test_no_permission_is_told_apart(monkeypatch):
    """There is an engine, and this user may not talk to it: another line than for none."""

    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setenv("DOCKER_HOST", "unix:///var/run/docker.sock")
    monkeypatch.setattr(_engine, "_knock", refuse)
    with pytest.raises(EngineError, match="may not talk to it: add yourself to the group"):
        find_engine()


def test_no_compose_plugin_is_one_line(client):
    """The client's own words, and what to install."""
    client("docker: 'compose' is not a docker command.".replace("'", ""))
    with pytest.raises(EngineError, match="is not a docker command.; install the compose plugin"):
        compose_version()


def test_no_client_is_one_line(monkeypatch, tmp_path):
    """Without a docker client there is nothing to ask."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        EngineError, match="no docker client on the path; install Docker, or run with --backend process"
    ):
        compose_version()
    assert [f.what for f in examine() if not f.ok] == ["client"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Error response from daemon: Bind for 127.0.0.1:2008 failed: port is already allocated", "name another port"),
        ("write /var/lib/docker/x: no space left on device", "the disk is full"),
        ("Error response from daemon: No such image: straybit:0.1.0", "make it with `make image`"),
        (
            "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?",
            "start it, or name another",
        ),
    ],
)
def test_what_compose_says_is_told_with_what_to_do(client, tmp_path, said, told):
    """The last line of compose, and help for what users meet."""
    client(said)
    with pytest.raises(EngineError, match=told) as caught:
        ask_compose("p", tmp_path / "compose.yaml", ["up"], env={})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_compose_that_does_not_end_is_given_up(client, tmp_path):
    """Every wait has its limit."""
    client("", 0)
    (tmp_path / "docker").write_text("#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(EngineError, match="docker compose up failed: no end within 0.2 s"):
        ask_compose("p", tmp_path / "compose.yaml", ["up"], env={}, budget_s=0.2)


def test_the_engine_is_where_the_environment_says(monkeypatch):
    """DOCKER_HOST goes before the client's context."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///somewhere.sock")
    assert engine_host() == "unix:///somewhere.sock"
