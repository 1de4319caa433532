"""What is said where the engine, the compose plugin or an image is missing: one line, with what to do."""

import hashlib
import json
import os
import signal
import threading

import docker
import psutil
import pytest

from straybit.backends import _engine
from straybit.backends._engine import EngineError, ask_compose, compose_version, engine_place, find_engine
from straybit.doctor import examine


@pytest.fixture
def client(tmp_path, monkeypatch):
    """A docker client that says and returns what a test wants, or does it, and nothing else on the path."""

    def make(said="", code=1, *, does=""):
        script = tmp_path / "docker"
        script.write_text(f"#!/bin/sh\n{does}\n" if does else f"#!/bin/sh\necho '{said}' >&2\nexit {code}\n")
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


@pytest.mark.parametrize(
    "said",
    ["docker: compose is not a docker command.", "unknown flag: --short\n\nTo get more help with docker, read on"],
)
def test_no_compose_plugin_is_one_line(client, said):
    """What to install; a client's own words about a plugin that it does not know are its whole help."""
    client(said)
    with pytest.raises(
        EngineError, match=r"^there is no compose plugin that answers; install it, version 2.24 or newer$"
    ):
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
        ("write /var/lib/docker/x: no space left on device", "`docker system df` and `docker system prune`$"),
        ("permission denied while trying to connect to the Docker daemon socket at unix:///x", "add yourself to the"),
        ("cannot restrict inter-container communication: no such file", r"br_netfilter \(`modprobe br_netfilter`\)$"),
    ],
)
def test_what_compose_says_is_told_with_what_to_do(client, tmp_path, said, told):
    """The last line of compose, and help for what users meet."""
    client(said)
    with pytest.raises(EngineError, match=told) as caught:
        ask_compose("p", tmp_path / "compose.yaml", ["up"], env={})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_permission_within_a_container_is_no_matter_of_the_socket(client, tmp_path):
    """A file that a container may not open gets no advice about groups."""
    client("exec: /entry.sh: permission denied")
    with pytest.raises(EngineError, match="failed: exec: /entry.sh: permission denied$"):
        ask_compose("p", tmp_path / "compose.yaml", ["up"], env={})


@pytest.mark.parametrize("version", ["v2.40.3", "2.24.0-desktop.1", "5.0.1", "dev"])
def test_a_compose_plugin_of_our_day_will_do(client, version):
    """Also one that has no number, which somebody built."""
    client(does=f"echo {version}")
    assert compose_version() == version


@pytest.mark.parametrize("version", ["2.23.3", "v2.3.4", "1.29.2"])
def test_an_old_compose_plugin_is_refused_with_both_versions(client, version):
    """It would take our file for a mistake."""
    client(does=f"echo {version}")
    with pytest.raises(EngineError, match=f"plugin is version {version}, and 2.24 is the oldest that will do; install"):
        compose_version()


def test_compose_that_does_not_end_is_given_up(client, tmp_path):
    """Every wait has its limit."""
    client("", 0)
    (tmp_path / "docker").write_text("#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(EngineError, match="docker compose up failed: no end within 0.2 s"):
        ask_compose("p", tmp_path / "compose.yaml", ["up"], env={}, budget_s=0.2)


WITH_A_CHILD = """
sh -c 'trap "" INT; exec sleep 60' >/dev/null 2>&1 &
trap 'echo stopped >{folder}/stopped; exit 1' INT
echo $! >{folder}/begun
wait
"""


def test_compose_is_ended_with_all_it_started_before_an_interrupt_goes_on(client, tmp_path):
    """It may stop by itself; a child that hears nothing, as the plugin of a killed client, is killed."""
    os.mkfifo(tmp_path / "begun")
    client(does=WITH_A_CHILD.format(folder=tmp_path))
    children = []

    def interrupt():
        children.append(int((tmp_path / "begun").read_text()))
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    aside = threading.Thread(target=interrupt)
    aside.start()
    with pytest.raises(KeyboardInterrupt):
        ask_compose("p", tmp_path / "compose.yaml", ["up"], env={})
    aside.join()
    assert (tmp_path / "stopped").read_text() == "stopped\n"
    assert not runs(children[0])


def test_compose_that_will_not_stop_is_killed_with_its_children(client, tmp_path, monkeypatch):
    """Neither the end of its time nor SIGINT impresses it."""
    monkeypatch.setattr(_engine, "STOP_S", 0.1)
    client(does=f"trap '' INT; sleep 60 & echo $! >{tmp_path}/child; echo $$ >{tmp_path}/self; wait; wait; sleep 60")
    with pytest.raises(EngineError, match="no end within 1 s"):
        ask_compose("p", tmp_path / "compose.yaml", ["up"], env={}, budget_s=1.0)
    assert [runs(int((tmp_path / name).read_text())) for name in ("child", "self")] == [False, False]


def runs(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_terminals_interrupt_does_not_reach_compose(client, tmp_path):
    """It has a session of its own: a `down` that cleans up is not hit by Ctrl-C."""
    client(does='read -r _ _ _ _ _ session _ <"/proc/$$/stat"; echo $$ $session')
    own, session = ask_compose("p", tmp_path / "compose.yaml", ["down"], env={}).split()
    assert own == session


@pytest.mark.parametrize(("what", "left"), [("down", "containers of the run p"), ("up", "")])
def test_a_down_that_failed_says_what_is_left(client, tmp_path, what, left):
    """Whoever tells the user how it ended needs to know."""
    client("no")
    with pytest.raises(EngineError) as caught:
        ask_compose("p", tmp_path / "compose.yaml", [what], env={})
    assert caught.value.left == left


# -- where the engine is -----------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path, monkeypatch):
    """The docker client's folder, with a current context `here`, and `away`, which has certificates."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "config"
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    for name, host in (("here", "unix:///here.sock"), ("away", "tcp://away:2376")):
        hashed = hashlib.sha256(name.encode()).hexdigest()
        (folder / "contexts/meta" / hashed).mkdir(parents=True)
        meta = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": False}}}
        (folder / "contexts/meta" / hashed / "meta.json").write_text(json.dumps(meta))
        if name == "away":
            certificates(folder / "contexts/tls" / hashed / "docker")
    (folder / "config.json").write_text('{"currentContext": "here"}')
    return folder


def certificates(folder):
    folder.mkdir(parents=True)
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (folder / name).write_text("")
    return folder


def told(client, tmp_path):
    """What the docker client is told of DOCKER_HOST and DOCKER_CONTEXT."""
    client(does='echo "${DOCKER_HOST-none} ${DOCKER_CONTEXT-none}"')
    return ask_compose("p", tmp_path / "compose.yaml", ["ps"], env={}).strip()


def test_the_engine_is_where_the_current_context_says(config, client, tmp_path):
    """As for the docker client, which is told the same place."""
    assert (engine_place().host, engine_place().tls) == ("unix:///here.sock", None)
    assert told(client, tmp_path) == "none here"


def test_a_context_that_is_named_goes_before_the_current_one(config, client, tmp_path, monkeypatch):
    """DOCKER_CONTEXT, with the context's certificates."""
    monkeypatch.setenv("DOCKER_CONTEXT", "away")
    place = engine_place()
    assert place.host == "tcp://away:2376"
    assert place.tls.verify is True
    assert place.tls.ca_cert.endswith("docker/ca.pem")
    assert told(client, tmp_path) == "none away"


def test_certificates_are_shown_to_the_engine(config, monkeypatch):
    """To the one that was found."""
    asked = []

    def refuse(**how):
        asked.append(how)
        raise docker.errors.DockerException("it is a test")

    monkeypatch.setenv("DOCKER_CONTEXT", "away")
    monkeypatch.setattr(docker, "APIClient", refuse)
    with pytest.raises(EngineError, match="no Docker engine answers at tcp://away:2376"):
        find_engine()
    assert asked[0]["base_url"] == "tcp://away:2376"
    assert asked[0]["tls"].cert == engine_place().tls.cert


def test_a_host_that_is_named_goes_before_any_context(config, client, tmp_path, monkeypatch):
    """DOCKER_HOST, without certificates unless they are asked for."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://there:2375")
    monkeypatch.setenv("DOCKER_CONTEXT", "away")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(certificates(tmp_path / "certificates")))
    assert (engine_place().host, engine_place().tls) == ("tcp://there:2375", None)
    assert told(client, tmp_path) == "tcp://there:2375 none"


@pytest.mark.parametrize(("variable", "verify"), [("DOCKER_TLS_VERIFY", True), ("DOCKER_TLS", False)])
def test_a_hosts_certificates_are_used(config, tmp_path, monkeypatch, variable, verify):
    """DOCKER_TLS_VERIFY looks whose they are, DOCKER_TLS does not; both show ours."""
    folder = certificates(tmp_path / "certificates")
    monkeypatch.setenv("DOCKER_HOST", "tcp://there:2376")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(folder))
    monkeypatch.setenv(variable, "1")
    tls = engine_place().tls
    assert (tls.verify, tls.cert) == (verify, (str(folder / "cert.pem"), str(folder / "key.pem")))


def test_certificates_that_are_missing_are_one_line(config, monkeypatch):
    """It says where they were looked for."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://there:2376")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    with pytest.raises(EngineError, match=f"^TLS needs ca.pem, cert.pem and key.pem in {config} .DOCKER_CERT_PATH"):
        find_engine()


def test_a_context_that_is_not_there_is_one_line(config, monkeypatch):
    """It is no reason to use another engine."""
    monkeypatch.setenv("DOCKER_CONTEXT", "gone")
    with pytest.raises(EngineError, match="^the docker context gone is not there; `docker context ls` shows"):
        find_engine()


def test_without_any_word_it_is_the_usual_socket(config, client, tmp_path):
    """Nobody chose a context."""
    (config / "config.json").write_text("{}")
    assert engine_place().host == "unix:///var/run/docker.sock"
    assert told(client, tmp_path) == "none default"
