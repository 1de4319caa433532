"""Steering and following containers, with an engine whose answers the test gives."""

import ipaddress
import threading
from types import SimpleNamespace

import pytest

from straybit.backends import BackendError, _containers, docker
from straybit.backends._containers import Containers
from straybit.backends._engine import EngineError
from straybit.backends._followers import LogFollower
from straybit.cluster import Spec
from straybit.compose import RUN
from straybit.control import ControlError
from straybit.interruption import interruption
from straybit_nodes.topology import Topology

NAME = "gossip-1"


class Stream:
    """A container's output: what was written so far, and whether there is more to come."""

    def __init__(self):
        self.chunks = []
        self.over = False
        self.error = None
        self.changed = threading.Condition()

    def write(self, *chunks, over=False, error=None):
        with self.changed:
            self.chunks += chunks
            self.over, self.error = over, error
            self.changed.notify_all()

    def __iter__(self):
        at = 0
        while True:
            with self.changed:
                self.changed.wait_for(lambda at=at: len(self.chunks) > at or self.over or self.error, 30)
                if len(self.chunks) == at:
                    if self.error:
                        raise self.error
                    return
                chunk = self.chunks[at]
            at += 1
            yield chunk


class FakeApi:
    """The calls that containers need; the newest of `streams` is a container's log."""

    def __init__(self):
        self.streams = [Stream()]
        self.refuses = ""
        self.state = {"Running": True, "ExitCode": 0}

    def logs(self, id, stream, follow):
        return iter(self.streams[-1])

    def events(self, **_):
        return NoEvents()

    def inspect_container(self, id):
        return {"State": self.state}

    def __getattr__(self, name):
        def call(*_, **__):
            if self.refuses == name:
                raise EngineError(f"no {name}")

        return call


class NoEvents:
    """A stream of events that has none, until it is closed."""

    def __init__(self):
        self.closed = threading.Event()

    def __iter__(self):
        self.closed.wait(30)
        return iter(())

    def close(self):
        self.closed.set()


class FakeEngine:
    """One running container of one run."""

    def __init__(self):
        self.api = FakeApi()

    def ask(self, call, what):
        return call(self.api)

    def containers(self, label):
        return [{"Id": "1", "State": "running", "Labels": {RUN: "a-run", "com.docker.compose.service": NAME}}]


@pytest.fixture
def engine():
    return FakeEngine()


@pytest.fixture
def exits():
    return []


@pytest.fixture
def containers(engine, exits, tmp_path):
    """One container, followed."""
    made = Containers(engine, "a-run", logs=tmp_path, down=lambda: None)
    made.find()
    made.follow(exits.append)
    yield made
    for stream in engine.api.streams:
        stream.write(over=True)
    made.clean(keep=False)
    made._events.close()


def soon(check):
    """Waits until it is so; polls, as what happens does so on another thread."""
    waiting = threading.Event()
    for _ in range(1000):
        if check():
            return True
        waiting.wait(0.01)
    return False


def test_a_log_that_ends_before_its_container_makes_no_verdict(engine, containers, exits, monkeypatch):
    """What a node noticed is read from its log, so that without it a flip would seem unnoticed."""
    monkeypatch.setattr(_containers, "GONE_S", 0.05)
    engine.api.streams[-1].write(error=OSError("connection reset"))
    assert soon(lambda: exits)
    assert [(exit.service, exit.host) for exit in exits] == [
        (NAME, "its log cannot be followed any more: connection reset")
    ]
    assert containers.running(NAME)


def test_a_log_ends_with_its_container(engine, containers, exits):
    """That is as it should be, whichever of the two is heard of first."""
    engine.api.streams[-1].write(over=True)
    containers._event("die", NAME, {"exitCode": "0"}, float("inf"))
    assert soon(lambda: not containers._followers[NAME]._thread.is_alive())
    assert [exit.host for exit in exits] == [""]


def test_a_log_goes_on_after_a_restart_once_the_last_start_is_told(engine, tmp_path):
    """The engine gives the whole log again; each line is written once, in order, though the first stream is slow."""
    log, errors = tmp_path / "log", tmp_path / "err"
    first, second = engine.api.streams[0], Stream()
    ended = []
    follower = LogFollower(engine, "1", log, errors)
    follower.follow(ended.append)
    first.write(b'{"n":1}\n')
    assert soon(lambda: log.read_bytes() == b'{"n":1}\n')
    engine.api.streams.append(second)
    second.write(b'{"n":1}\n{"n":2}\nwhat', b' else\n{"n":3}\n', over=True)
    follower.follow(ended.append)
    first.write(b'{"n":2}\n', over=True)
    follower.close(10)
    assert log.read_bytes() == b'{"n":1}\n{"n":2}\n{"n":3}\n'
    assert errors.read_bytes() == b"what else\n"
    assert ended == ["it came to its end"] * 2


@pytest.mark.parametrize(("looked", "host"), [(True, "killed for memory"), (False, "")])
def test_an_end_by_kill_is_looked_at_for_want_of_memory(engine, containers, exits, looked, host):
    """Some engines tell of the end before they tell of the memory, or of the end alone."""
    engine.api.state = {"Running": False, "ExitCode": 137, "OOMKilled": looked}
    containers._event("die", NAME, {"exitCode": "137"}, float("inf"))
    assert [exit.host for exit in exits] == [host]


def test_a_pause_that_is_refused_is_none(engine, containers):
    """The container runs on, and counts as running."""
    engine.api.refuses = "pause"
    with pytest.raises(EngineError):
        containers.pause(NAME)
    assert containers.running(NAME)


def test_a_start_that_is_refused_is_none(engine, containers):
    """It still counts as ended, and nobody takes that for news."""
    containers._ends.asked(NAME)
    containers._event("die", NAME, {"exitCode": "0"}, float("inf"))
    engine.api.state, engine.api.refuses = {"Running": False, "ExitCode": 0}, "start"
    with pytest.raises(EngineError):
        containers.start(NAME)
    assert containers.ended(NAME) is not None
    assert containers.exits() == ()


def unremovable():
    """A step of taking down that fails, and says what it leaves."""
    error = BackendError("the engine is silent; `straybit sweep` removes what is left")
    error.left = "containers of the run a-run"
    raise error


@pytest.mark.parametrize("first", [BackendError("gossip-1 ended"), ControlError("gossip-1 is silent")])
def test_a_start_that_fails_is_told_with_what_is_left_of_it(first):
    """What went wrong first comes first; that something could not be taken down does not replace it."""
    taken = []
    with pytest.raises(BackendError, match="gossip-1 .*; the engine is silent; `straybit sweep`") as failed:
        with docker._or_down(unremovable, lambda: taken.append("the rest")):
            raise first
    assert failed.value.left == "containers of the run a-run"
    assert taken == ["the rest"]


def test_a_step_of_taking_down_that_is_a_defect_keeps_none_from_being_taken():
    """Whatever one raises, the next is taken, and both are told."""
    taken = []

    def defect():
        raise KeyError("a name")

    with pytest.raises(BackendError, match="gossip-1 ended; KeyError: 'a name'"):
        with docker._or_down(defect, lambda: taken.append("the rest")):
            raise BackendError("gossip-1 ended")
    assert taken == ["the rest"]


def test_an_interrupted_start_is_an_interruption_unless_something_is_left():
    """Ctrl-C stays behind the error that names what is left, so that the last line can say both."""
    taken = []
    with pytest.raises(KeyboardInterrupt), docker._or_down(lambda: taken.append("all")):
        raise KeyboardInterrupt
    assert taken == ["all"]
    with pytest.raises(BackendError, match="the engine is silent") as failed, docker._or_down(unremovable):
        raise KeyboardInterrupt
    assert interruption(failed.value) is not None


IN_USE = "error while removing network: network a-run_cluster id c25e has active endpoints"


@pytest.fixture
def removal(monkeypatch, tmp_path):
    """Takes down a run whose compose fails so often, with containers that are still there, and counts the tries."""
    monkeypatch.setattr(docker, "AGAIN_S", 0.0)

    def take_down(*, fails, said=IN_USE, containers=()):
        tries = []

        def ask_compose(run, file, arguments, *, env):
            tries.append(arguments[0])
            if len(tries) <= fails:
                raise EngineError(f"docker compose down failed: {said}", said)

        monkeypatch.setattr(docker, "ask_compose", ask_compose)
        project = docker._Project(Spec(topology=Topology()), tmp_path, temporary=False)
        project._down(SimpleNamespace(containers=lambda _: list(containers)))
        return len(tries)

    return take_down


def test_a_network_that_is_still_in_use_is_removed_soon_after(removal, caplog):
    """An engine may need a moment after the last container of a network is gone."""
    assert removal(fails=2) == 3
    assert caplog.text == ""


def test_an_empty_network_that_an_engine_will_not_let_go_is_told(removal, caplog):
    """It miscounts until it is started again; the run has its verdict all the same."""
    assert removal(fails=99) == docker.TRIES
    (line,) = caplog.messages
    assert "the engine keeps an empty network of the run straybit-" in line
    assert "`straybit sweep`" in line


def test_anything_else_that_is_left_is_an_error(removal):
    """A container that is still there, or any other reason."""
    with pytest.raises(EngineError, match="active endpoints"):
        removal(fails=99, containers=["one"])
    with pytest.raises(EngineError, match="no space"):
        removal(fails=1, said="no space left on device")


ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
tun0\t0000DA0A\t00000000\t0001\t0\t0\t0\t0000FEFF\t0\t0\t0
"""


def test_the_hosts_own_routes_are_left_alone(monkeypatch, tmp_path):
    """A network that the host reaches, as behind a VPN, is taken last; what the engine has is never taken."""
    table = tmp_path / "route"
    table.write_text(ROUTES)
    monkeypatch.setattr(docker, "ROUTES", table)
    vpn, engines = ipaddress.ip_network("10.218.0.0/15"), ipaddress.ip_network("10.220.0.0/16")
    assert docker._routes(ROUTES) == [vpn]
    engine = SimpleNamespace(ask=lambda *_: [{"IPAM": {"Config": [{"Subnet": "10.220.0.9/16"}]}}])
    for _ in range(20):
        nets = [ipaddress.ip_network(f"{net}.0/24") for net in docker._free_nets(engine)]
        assert len(nets) == docker.TRIES
        assert not any(net.subnet_of(vpn) or net.subnet_of(engines) for net in nets)
    monkeypatch.setattr(docker, "_routes", lambda _: [ipaddress.ip_network("10.0.0.0/8")])
    assert len(docker._free_nets(engine)) == docker.TRIES
